// Keeps account of the words that a feeder writes into the banks of one side, and their place.
//
// The banks are rings. A block of `depth` words is what one pass reads. A pass acquires a block,
// which must be complete, when it begins; words are free again after they were read last. MARGIN
// words stay unused, because the banks are read one after the other, and far ones still hold words
// that the near one has given free. `start` empties the rings.
module operand_stream #(
    parameter int ADDRESS_BITS = 11,
    parameter int MARGIN = 32
) (
    input  logic                    clock,
    input  logic                    start,
    input  logic [ADDRESS_BITS-1:0] depth_last,    // depth - 1; stable from the cycle after start
    input  logic                    offered,       // the feeder has a word
    output logic                    accepted,      // and it is taken now
    input  logic                    acquire,
    input  logic                    release_word,
    output logic                    available,     // a complete block that no pass has acquired
    output logic [ADDRESS_BITS-1:0] write_address
);
    localparam int LIMIT = 2 ** ADDRESS_BITS - MARGIN;

    logic [ADDRESS_BITS:0] words, blocks;
    logic [ADDRESS_BITS-1:0] position;
    logic complete, room;

    assign accepted = offered && !start && room;
    assign complete = accepted && position == depth_last;

    always_ff @(posedge clock) begin
        if (start) begin
            words         <= '0;
            blocks        <= '0;
            position      <= '0;
            write_address <= '0;
            available     <= 1'b0;
            room          <= 1'b1;
        end else begin
            available <= blocks != 0;
            room      <= words < LIMIT[ADDRESS_BITS:0];
            words  <= words + (ADDRESS_BITS + 1)'(accepted) - (ADDRESS_BITS + 1)'(release_word);
            blocks <= blocks + (ADDRESS_BITS + 1)'(complete) - (ADDRESS_BITS + 1)'(acquire);
            if (accepted) begin
                write_address <= write_address + 1'b1;
                position      <= complete ? '0 : position + 1'b1;
            end
        end
    end
endmodule
