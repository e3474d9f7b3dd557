// Operands of one row or column, in block RAM.
//
// The word at `read_address` is at the output two cycles later: the block RAM's own register, and
// one behind it, because the RAM shows its word too late for anything more to be done with it.
module operand_bank #(
    parameter int ADDRESS_BITS = 11
) (
    input  logic                           clock,
    input  logic                           write_enable,
    input  logic        [ADDRESS_BITS-1:0] write_address,
    input  logic signed [             7:0] write_data,
    input  logic        [ADDRESS_BITS-1:0] read_address,
    output logic signed [             7:0] operand
);
    (* ram_style = "block" *)
    logic signed [7:0] words[2**ADDRESS_BITS];
    logic signed [7:0] read_data;

    always_ff @(posedge clock) begin
        if (write_enable) words[write_address] <= write_data;
        read_data <= words[read_address];
        operand   <= read_data;
    end
endmodule
