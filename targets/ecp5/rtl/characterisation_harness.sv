// The array with four pins, to be placed and routed: no package has as many as it has ports.
//
// Inputs come out of a shift register, outputs go through one into a parity. Both are registers at
// the array's ports, so all paths of the array itself count. The host would set the numbers of a
// layer long before they are used; here they come out of the same register.
module characterisation_harness #(
    parameter int N = 4
) (
    input  logic clock,
    input  logic reset,
    input  logic scan_in,
    output logic parity
);
    localparam int INPUTS = 1 + 11 + 16 + 16 + 8 + 24 + 3 + 16 * N + 64;
    localparam int OUTPUTS = 3 + N + 8 * N + 1;

    logic [INPUTS-1:0] inputs;
    logic [OUTPUTS-1:0] outputs, held;
    logic reset_held;

    always_ff @(posedge clock) begin
        reset_held <= reset;
        inputs     <= {inputs[INPUTS-2:0], scan_in};
        held       <= outputs ^ {held[OUTPUTS-2:0], 1'b0};
        parity     <= held[OUTPUTS-1];
    end

    logic start, a_offered, b_offered, parameter_offered;
    logic [10:0] depth_last;
    logic [15:0] columns_last, rows_last;
    logic [7:0] chunks_last, zero_point, low, high;
    logic [8*N-1:0] a_word, b_word;
    logic [63:0] parameter_word;

    assign {start, depth_last, columns_last, rows_last, chunks_last, zero_point, low, high,
            a_offered, b_offered, parameter_offered, a_word, b_word, parameter_word} = inputs;

    systolic_array #(
        .N(N)
    ) array (
        .clock             (clock),
        .reset             (reset_held),
        .start             (start),
        .depth_last        (depth_last),
        .columns_last      (columns_last),
        .rows_last         (rows_last),
        .chunks_last       (chunks_last),
        .zero_point        (zero_point),
        .low               (low),
        .high              (high),
        .a_offered         (a_offered),
        .a_accepted        (outputs[0]),
        .a_word            (a_word),
        .b_offered         (b_offered),
        .b_accepted        (outputs[1]),
        .b_word            (b_word),
        .parameter_offered (parameter_offered),
        .parameter_accepted(outputs[2]),
        .parameter_word    (parameter_word),
        .value_valid       (outputs[3+:N]),
        .values            (outputs[3+N+:8*N]),
        .busy              (outputs[3+9*N])
    );
endmodule
