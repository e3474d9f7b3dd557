// scale_multiplier.sv without a DSP block, of adders only: same ports, same latency, more logic.
module scale_multiplier (
    input  logic        clock,
    input  logic [24:0] significand,
    input  logic [11:0] half,
    output logic [35:0] product
);
    logic [27:0] part0, part1, part2, part3;
    logic [30:0] pair0, pair1;

    function automatic [27:0] times3(input [24:0] factor, input [2:0] bits);
        times3 = (bits[0] ? {3'b0, factor} : 28'b0) + (bits[1] ? {2'b0, factor, 1'b0} : 28'b0)
                 + (bits[2] ? {1'b0, factor, 2'b0} : 28'b0);
    endfunction

    always_ff @(posedge clock) begin
        part0   <= times3(significand, half[2:0]);
        part1   <= times3(significand, half[5:3]);
        part2   <= times3(significand, half[8:6]);
        part3   <= times3(significand, half[11:9]);
        pair0   <= {3'b0, part0} + {part1, 3'b0};
        pair1   <= {3'b0, part2} + {part3, 3'b0};
        product <= 36'({6'b0, pair0} + {pair1, 6'b0});
    end
endmodule
