// int32 sum of one column to int8: bias, scale, zero point, bounds; a ReLU is a bound.
//
// Computes, bit for bit, what ONNX Runtime computes for quantised convolutions:
//     clamp(round_even(float32(sum + bias) * scale) + zero_point, low, high)
// where the conversion and the product round to float32, ties to even. The scale is a float32: a
// significand of 24 bits with the leading one, and `shift` = -8 - e, where significand * 2^e is its
// value. Bits [31:0] of a parameter word are the bias, [55:32] the significand, [63:56]
// the shift. Values must be at least two cycles apart: the product of the significands is made in
// two halves by the same adders.
module requantiser (
    input  logic               clock,
    input  logic               write_enable,
    input  logic        [ 3:0] write_slot,
    input  logic        [63:0] write_word,
    input  logic signed [ 7:0] zero_point,
    input  logic signed [ 7:0] low,
    input  logic signed [ 7:0] high,
    input  logic               valid_in,
    input  logic        [ 3:0] slot_in,
    input  logic signed [31:0] sum_in,
    output logic               valid_out,
    output logic signed [ 7:0] value_out
);
    localparam int STAGES = 17;

    (* ram_style = "distributed" *) logic signed [31:0] biases[16];
    (* ram_style = "distributed" *) logic [23:0] significands[16];
    (* ram_style = "distributed" *) logic signed [7:0] shifts[16];

    always_ff @(posedge clock) begin
        if (write_enable) begin
            biases[write_slot]       <= write_word[31:0];
            significands[write_slot] <= write_word[55:32];
            shifts[write_slot]       <= write_word[63:56];
        end
    end

    // valid[s], negative[s]: of the value in the registers of stage s.
    logic [STAGES:1] valid, negative;
    logic signed [31:0] total;
    logic [3:0] slot1, slot2, slot3, slot4, slot5;

    always_ff @(posedge clock) begin
        valid    <= {valid[STAGES-1:1], valid_in};
        negative <= {negative[STAGES-1:3], total[31], 2'b00};
        slot1    <= slot_in;
        slot2    <= slot1;
        slot3    <= slot2;
        slot4    <= slot3;
        slot5    <= slot4;
    end

    // 1, 2: add the bias. 3: magnitude.
    logic signed [31:0] sum, bias;
    logic [31:0] magnitude;

    always_ff @(posedge clock) begin
        sum       <= sum_in;
        bias      <= biases[slot_in];
        total     <= sum + bias;
        magnitude <= total[31] ? -total : total;
    end

    // 4, 5: move the leading one to the top.
    logic [31:0] by16, by8, partly, by4, by2, by1, normal;
    logic no16, no8, no4, no2, no1;
    logic [1:0] partly_zeros;
    logic [4:0] zeros;

    assign no16 = magnitude[31:16] == 0;
    assign by16 = no16 ? {magnitude[15:0], 16'b0} : magnitude;
    assign no8  = by16[31:24] == 0;
    assign by8  = no8 ? {by16[23:0], 8'b0} : by16;
    assign no4  = partly[31:28] == 0;
    assign by4  = no4 ? {partly[27:0], 4'b0} : partly;
    assign no2  = by4[31:30] == 0;
    assign by2  = no2 ? {by4[29:0], 2'b0} : by4;
    assign no1  = !by2[31];
    assign by1  = no1 ? {by2[30:0], 1'b0} : by2;

    always_ff @(posedge clock) begin
        partly       <= by8;
        partly_zeros <= {no16, no8};
        normal       <= by1;
        zeros        <= {partly_zeros, no4, no2, no1};
    end

    // 6: round to 24 bits, as int32 to float32 does; a carry makes 2^24. Held for two cycles.
    logic [24:0] significand;
    logic [23:0] scale;
    logic signed [7:0] shift5;
    logic signed [9:0] exponent6, exponent7, exponent8, exponent9, exponent10, exponent11;

    always_ff @(posedge clock) begin
        shift5 <= shifts[slot4];
        if (valid[5]) begin
            significand <= {1'b0, normal[31:8]}
                           + 25'(normal[7] && (normal[6:0] != 0 || normal[8]));
            scale       <= significands[slot5];
            exponent6   <= 10'(shift5) + 10'($signed({1'b0, zeros}));
        end
        exponent7  <= exponent6;
        exponent8  <= exponent7;
        exponent9  <= exponent8;
        exponent10 <= exponent9;
        exponent11 <= exponent10;
    end

    // 7, 8, 9: significand times the lower half of the scale, and a cycle later the upper half.
    logic [35:0] half_product;

    scale_multiplier multiplier (
        .clock      (clock),
        .significand(significand),
        .half       (valid[6] ? scale[11:0] : scale[23:12]),
        .product    (half_product)
    );

    // 10, 11: both halves. 12, 13: round to 24 bits, as a product of float32 does.
    logic [35:0] lower;
    logic [47:0] product;
    logic [23:0] top;
    logic guard, sticky;
    logic [24:0] scaled;
    logic signed [9:0] exponent12;
    logic [3:0] by;
    logic huge, tiny;

    always_ff @(posedge clock) begin
        lower      <= half_product;
        product    <= {half_product + {12'b0, lower[35:12]}, lower[11:0]};
        top        <= product[47] ? product[47:24] : product[46:23];
        guard      <= product[47] ? product[23] : product[22];
        sticky     <= product[21:0] != 0 || (product[47] && product[22]);
        exponent12 <= exponent11 - (product[47] ? 10'sd24 : 10'sd23);
        scaled     <= {1'b0, top} + 25'(guard && (sticky || top[0]));
        huge       <= exponent12 < 10'sd16 && top[23];
        tiny       <= exponent12 > 10'sd24 || !top[23];
        by         <= exponent12[3:0];  // 16 to 24, less 16
    end

    // 14: move the point. What has over 8 bits before it ends at a bound anyhow.
    logic [32:0] aligned;
    logic huge14;

    always_ff @(posedge clock) begin
        huge14  <= huge;
        aligned <= tiny ? 33'd0 : {scaled, 8'b0} >> by;
    end

    // 15: round to an integer, ties to even. 16: its sign. 17: zero point. 18: bounds.
    logic signed [10:0] integer15, integer16, moved;

    always_ff @(posedge clock) begin
        integer15 <= huge14 ? 11'sd511
                     : $signed({2'b0, aligned[32:24]}
                               + 11'(aligned[23] && (aligned[22:0] != 0 || aligned[24])));
        integer16 <= negative[15] ? -integer15 : integer15;
        moved     <= integer16 + 11'(zero_point);
        valid_out <= valid[STAGES];
        value_out <= moved < 11'(low) ? low : moved > 11'(high) ? high : moved[7:0];
    end
endmodule
