// One place of the array: multiplies what passes by, and adds up where it stands.
//
// Operands go right (a) and down (b), one place a cycle. The flags belong to the product that the
// multiplier shows now, three cycles after its operands entered. When a sum is complete it moves
// into `result`, and from there up, one place a cycle, while the next sum begins.
module processing_element (
    input  logic               clock,
    input  logic signed [ 7:0] a_in,
    input  logic signed [ 7:0] b_in,
    input  logic               valid_in,
    input  logic               first_in,
    input  logic               last_in,
    input  logic signed [31:0] below,
    output logic signed [ 7:0] a_out,
    output logic signed [ 7:0] b_out,
    output logic               valid_out,
    output logic               first_out,
    output logic               last_out,
    output logic signed [31:0] result
);
    logic signed [15:0] product;
    logic signed [31:0] sum;

    int8_multiplier multiplier (
        .clock  (clock),
        .a      (a_in),
        .b      (b_in),
        .product(product)
    );

    always_ff @(posedge clock) begin
        a_out     <= a_in;
        b_out     <= b_in;
        valid_out <= valid_in;
        first_out <= first_in;
        last_out  <= last_in;
        if (valid_in) sum <= (first_in ? 32'sd0 : sum) + 32'(product);
        result <= last_out ? sum : below;
    end
endmodule
