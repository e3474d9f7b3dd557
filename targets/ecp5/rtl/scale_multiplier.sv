// Significand of a sum times half of a scale's: three cycles.
//
// One DSP block takes the lower 18 bits. `significand` is at most 2^24. Devices that have no block
// left for each column are synthesised with scale_multiplier_adders.sv in place of this.
module scale_multiplier (
    input  logic        clock,
    input  logic [24:0] significand,
    input  logic [11:0] half,
    output logic [35:0] product
);
    logic [35:0] lower;
    logic [14:0] part0, part1;
    logic [11:0] part2;
    logic [17:0] upper;

    function automatic [14:0] times3(input [11:0] factor, input [2:0] bits);
        times3 = (bits[0] ? {3'b0, factor} : 15'b0) + (bits[1] ? {2'b0, factor, 1'b0} : 15'b0)
                 + (bits[2] ? {1'b0, factor, 2'b0} : 15'b0);
    endfunction

    dsp_multiplier #(
        .SIGNED(0)
    ) multiplier (
        .clock  (clock),
        .a      (significand[17:0]),
        .b      ({6'b0, half}),
        .product(lower)
    );

    always_ff @(posedge clock) begin
        part0   <= times3(half, significand[20:18]);
        part1   <= times3(half, significand[23:21]);
        part2   <= significand[24] ? half : 12'b0;
        // Bit 24 is set only if no other bit is, so one of the two is zero.
        upper   <= ({3'b0, part0} + {part1, 3'b0}) | {part2, 6'b0};
        product <= {lower[35:18] + upper, lower[17:0]};
    end
endmodule
