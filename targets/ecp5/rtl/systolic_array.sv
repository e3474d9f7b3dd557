// N x N output-stationary int8 array: operands in, requantised results out.
//
// Every place of the array makes one output: rows are pixels, columns are output channels. The host
// sets the numbers of a layer, gives `start` for one cycle, and then feeds three streams in the
// order in which the sequencer reads them: words of N pixels (a), words of N channels (b), and the
// parameters of the output channels. A word is taken in a cycle in which `offered` and `accepted`
// are both set. Column j gives its results at output j, pixel by pixel, two or more cycles apart;
// results cannot be made to wait. `reset` must last 4 N + 32 cycles, until no flag is left.
module systolic_array #(
    parameter int N = 4,
    parameter int ADDRESS_BITS = 11
) (
    input  logic                    clock,
    input  logic                    reset,
    input  logic                    start,
    input  logic [ADDRESS_BITS-1:0] depth_last,    // each of these is one less than the number
    input  logic [            15:0] columns_last,
    input  logic [            15:0] rows_last,
    input  logic [             7:0] chunks_last,
    input  logic signed [      7:0] zero_point,
    input  logic signed [      7:0] low,
    input  logic signed [      7:0] high,
    input  logic                    a_offered,
    output logic                    a_accepted,
    input  logic [         8*N-1:0] a_word,
    input  logic                    b_offered,
    output logic                    b_accepted,
    input  logic [         8*N-1:0] b_word,
    input  logic                    parameter_offered,
    output logic                    parameter_accepted,
    input  logic [            63:0] parameter_word,
    output logic [           N-1:0] value_valid,
    output logic [         8*N-1:0] values,
    output logic                    busy
);
    localparam int FLAG_DELAY = 4;  // cycles from an address to its product

    logic a_available, b_available, parameters_available;
    logic a_acquire, b_acquire, parameters_acquire, a_release, b_release;
    logic valid, first, last;
    logic [ADDRESS_BITS-1:0] a_write_address, b_write_address;
    logic [N-1:0] parameter_enable;
    logic [3:0] parameter_slot;
    logic [63:0] parameter_held;

    // Chains: place k is read, and gets its flags, k cycles after place 0. So nothing fans out.
    logic [ADDRESS_BITS-1:0] a_first, b_first;
    logic [N-1:1][ADDRESS_BITS-1:0] a_later, b_later;
    logic [N-1:0][ADDRESS_BITS-1:0] a_address, b_address;
    logic [N+FLAG_DELAY-1:0][2:0] flags;

    sequencer #(
        .N           (N),
        .ADDRESS_BITS(ADDRESS_BITS)
    ) passes (
        .clock               (clock),
        .reset               (reset),
        .start               (start),
        .depth_last          (depth_last),
        .columns_last        (columns_last),
        .rows_last           (rows_last),
        .chunks_last         (chunks_last),
        .a_available         (a_available),
        .b_available         (b_available),
        .parameters_available(parameters_available),
        .a_acquire           (a_acquire),
        .b_acquire           (b_acquire),
        .parameters_acquire  (parameters_acquire),
        .a_release           (a_release),
        .b_release           (b_release),
        .a_address           (a_first),
        .b_address           (b_first),
        .valid               (valid),
        .first               (first),
        .last                (last),
        .busy                (busy)
    );

    operand_stream #(
        .ADDRESS_BITS(ADDRESS_BITS)
    ) a_stream (
        .clock        (clock),
        .start        (start),
        .depth_last   (depth_last),
        .offered      (a_offered),
        .accepted     (a_accepted),
        .acquire      (a_acquire),
        .release_word (a_release),
        .available    (a_available),
        .write_address(a_write_address)
    );

    operand_stream #(
        .ADDRESS_BITS(ADDRESS_BITS)
    ) b_stream (
        .clock        (clock),
        .start        (start),
        .depth_last   (depth_last),
        .offered      (b_offered),
        .accepted     (b_accepted),
        .acquire      (b_acquire),
        .release_word (b_release),
        .available    (b_available),
        .write_address(b_write_address)
    );

    parameter_stream #(
        .N(N)
    ) parameters (
        .clock       (clock),
        .start       (start),
        .offered     (parameter_offered),
        .accepted    (parameter_accepted),
        .word        (parameter_word),
        .acquire     (parameters_acquire),
        .available   (parameters_available),
        .write_enable(parameter_enable),
        .write_slot  (parameter_slot),
        .write_word  (parameter_held)
    );

    assign a_address = {a_later, a_first};
    assign b_address = {b_later, b_first};

    always_ff @(posedge clock) begin
        a_later <= a_address[N-2:0];
        b_later <= b_address[N-2:0];
        flags   <= {flags[N+FLAG_DELAY-2:0], {valid, first, last}};
    end

    // a[i][j], flags and results: what enters place (i, j); column N and row N are the borders.
    logic [N-1:0][N:0][7:0] a;
    logic [N:0][N-1:0][7:0] b;
    logic [N-1:0][N:0][2:0] flag;
    logic [N:0][N-1:0][31:0] results;

    for (genvar k = 0; k < N; k++) begin : side
        operand_bank #(
            .ADDRESS_BITS(ADDRESS_BITS)
        ) a_bank (
            .clock        (clock),
            .write_enable (a_accepted),
            .write_address(a_write_address),
            .write_data   (a_word[8*k+:8]),
            .read_address (a_address[k]),
            .operand      (a[k][0])
        );
        operand_bank #(
            .ADDRESS_BITS(ADDRESS_BITS)
        ) b_bank (
            .clock        (clock),
            .write_enable (b_accepted),
            .write_address(b_write_address),
            .write_data   (b_word[8*k+:8]),
            .read_address (b_address[k]),
            .operand      (b[0][k])
        );
        assign flag[k][0]    = flags[FLAG_DELAY-1+k];
        assign results[N][k] = 32'sd0;
    end

    for (genvar i = 0; i < N; i++) begin : row
        for (genvar j = 0; j < N; j++) begin : column
            processing_element place (
                .clock    (clock),
                .a_in     (a[i][j]),
                .b_in     (b[i][j]),
                .valid_in (flag[i][j][2]),
                .first_in (flag[i][j][1]),
                .last_in  (flag[i][j][0]),
                .below    (results[i+1][j]),
                .a_out    (a[i][j+1]),
                .b_out    (b[i+1][j]),
                .valid_out(flag[i][j+1][2]),
                .first_out(flag[i][j+1][1]),
                .last_out (flag[i][j+1][0]),
                .result   (results[i][j])
            );
        end
    end

    // Results leave column 0 every other cycle, N of them, once its top place has finished; column
    // j does the same j cycles later. `slot` is the one of the tile's parameters.
    logic [2*N-1:0] leaving;
    logic [15:0] tiles_done;
    logic [3:0] next_slot;
    logic [3:0] slot_first;
    logic [N-1:1] valid_later;
    logic [N-1:1][3:0] slot_later;
    logic [N-1:0] result_valid;
    logic [N-1:0][3:0] slot;

    assign result_valid = {valid_later, leaving[2*N-1]};
    assign slot         = {slot_later, slot_first};

    always_ff @(posedge clock) begin
        if (start) begin
            next_slot  <= '0;
            tiles_done <= '0;
        end
        valid_later <= result_valid[N-2:0];
        slot_later  <= slot[N-2:0];
        leaving     <= {leaving[2*N-2:0], 1'b0};
        if (flag[0][1][0]) begin
            leaving    <= {N{2'b10}};
            slot_first <= next_slot;
            tiles_done <= tiles_done == rows_last ? 16'd0 : tiles_done + 1'b1;
            if (tiles_done == rows_last) next_slot <= next_slot + 1'b1;
        end
    end
    for (genvar j = 0; j < N; j++) begin : lane
        requantiser scale (
            .clock       (clock),
            .write_enable(parameter_enable[j]),
            .write_slot  (parameter_slot),
            .write_word  (parameter_held),
            .zero_point  (zero_point),
            .low         (low),
            .high        (high),
            .valid_in    (result_valid[j]),
            .slot_in     (slot[j]),
            .sum_in      (results[0][j]),
            .valid_out   (value_valid[j]),
            .value_out   (values[8*j+:8])
        );
    end
endmodule
