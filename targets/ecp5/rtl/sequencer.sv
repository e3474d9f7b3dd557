// Goes through the passes of a layer and reads their operands from the banks.
//
// A layer is `columns` tiles of output channels, for each of them `rows` tiles of pixels, for each
// of these `chunks` pieces of the sum: one pass each, in this order. A pass reads `depth` words a
// side, one a cycle, and takes max(depth, 2 N) cycles, so that the results of the one before have
// left the array. The next follows at once if its operands are there. Blocks of side b are kept for
// all tiles of pixels where the sum has one piece, and read anew otherwise.
module sequencer #(
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
    input  logic                    a_available,
    input  logic                    b_available,
    input  logic                    parameters_available,
    output logic                    a_acquire,
    output logic                    b_acquire,
    output logic                    parameters_acquire,
    output logic                    a_release,
    output logic                    b_release,
    output logic [ADDRESS_BITS-1:0] a_address,
    output logic [ADDRESS_BITS-1:0] b_address,
    output logic                    valid,
    output logic                    first,
    output logic                    last,
    output logic                    busy
);
    localparam int SHORTEST_BUT_TWO = 2 * N - 2;

    // The pass that runs.
    logic running, ends, opens_sum, closes_sum, frees_b;
    logic [ADDRESS_BITS-1:0] step, length_but_two, b_base, b_next;  // b_next: behind the last block
    // The pass that comes next.
    logic pending, new_column, split;
    logic [15:0] column, row;
    logic [ 7:0] chunk;
    logic last_chunk, last_row, last_column, begins, needs_b;

    assign last_chunk  = chunk == chunks_last;
    assign last_row    = row == rows_last;
    assign last_column = column == columns_last;
    assign needs_b     = new_column || split;
    assign begins      = pending && (!running || ends) && a_available
                         && (!needs_b || b_available) && (!new_column || parameters_available);

    assign a_release = valid;
    assign b_release = valid && frees_b;
    assign first     = valid && opens_sum && step == 0;
    assign last      = valid && closes_sum && step == depth_last;
    assign busy      = pending || running;

    // A pass lasts four cycles at least: the streams have counted before the next one asks.
    always_ff @(posedge clock) begin
        a_acquire          <= begins && !reset;
        b_acquire          <= begins && needs_b && !reset;
        parameters_acquire <= begins && new_column && !reset;
    end

    always_ff @(posedge clock) begin
        if (reset) begin
            pending <= 1'b0;
            running <= 1'b0;
            valid   <= 1'b0;
        end else if (start) begin
            pending     <= 1'b1;
            running     <= 1'b0;
            valid       <= 1'b0;
            new_column  <= 1'b1;
            split       <= chunks_last != 0;
            chunk       <= '0;
            row         <= '0;
            column      <= '0;
            a_address   <= '0;
            b_address   <= '0;
            b_base      <= '0;
            b_next      <= '0;
            ends        <= 1'b0;
            length_but_two <= depth_last <= SHORTEST_BUT_TWO[ADDRESS_BITS-1:0]
                              ? SHORTEST_BUT_TWO[ADDRESS_BITS-1:0] : depth_last - 1'b1;
        end else begin
            if (valid) begin
                a_address <= a_address + 1'b1;
                b_address <= b_address + 1'b1;
                if (step == depth_last) valid <= 1'b0;
            end
            step <= step + 1'b1;
            ends <= running && step == length_but_two && !begins;
            if (ends) running <= 1'b0;
            if (begins) begin
                running    <= 1'b1;
                valid      <= 1'b1;
                step       <= '0;
                opens_sum  <= chunk == 0;
                closes_sum <= last_chunk;
                frees_b    <= split || last_row;
                b_address  <= needs_b ? b_next : b_base;
                if (needs_b) begin
                    b_base <= b_next;
                    b_next <= b_next + depth_last + 1'b1;
                end

                chunk      <= last_chunk ? '0 : chunk + 1'b1;
                new_column <= last_chunk && last_row;
                if (last_chunk) row <= last_row ? '0 : row + 1'b1;
                if (last_chunk && last_row) begin
                    column  <= column + 1'b1;
                    pending <= !last_column;
                end
            end
        end
    end
endmodule
