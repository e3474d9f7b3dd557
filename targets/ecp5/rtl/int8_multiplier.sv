// Signed 8 x 8 multiplier in one DSP block: two cycles.
module int8_multiplier (
    input  logic               clock,
    input  logic signed [ 7:0] a,
    input  logic signed [ 7:0] b,
    output logic signed [15:0] product
);
    logic [35:0] wide;

    assign product = wide[15:0];

    dsp_multiplier #(
        .SIGNED(1)
    ) multiplier (
        .clock  (clock),
        .a      ({{10{a[7]}}, a}),
        .b      ({{10{b[7]}}, b}),
        .product(wide)
    );
endmodule
