// 18 x 18 multiplier with registered operands and a registered product: two cycles.
//
// This is the form that simulators read. Synthesis for ECP5 reads dsp_multiplier_ecp5.sv in its
// place, the only file that is made for one family.
module dsp_multiplier #(
    parameter bit SIGNED = 1
) (
    input  logic        clock,
    input  logic [17:0] a,
    input  logic [17:0] b,
    output logic [35:0] product
);
    logic [17:0] a_held, b_held;
    logic signed [18:0] a_wide, b_wide;  // one bit more holds both kinds

    assign a_wide = $signed({SIGNED && a_held[17], a_held});
    assign b_wide = $signed({SIGNED && b_held[17], b_held});

    always_ff @(posedge clock) begin
        a_held  <= a;
        b_held  <= b;
        product <= 36'(a_wide * b_wide);
    end
endmodule
