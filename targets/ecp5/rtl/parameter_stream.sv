// Hands the parameters of output channels, one word each, to the requantisers of the columns.
//
// N words make a slot: those of one tile of output channels. At most four slots wait for their
// pass. With sixteen in the memories of the requantisers, none is overwritten that is still read.
module parameter_stream #(
    parameter int N = 4
) (
    input  logic         clock,
    input  logic         start,
    input  logic         offered,
    output logic         accepted,
    input  logic [ 63:0] word,
    input  logic         acquire,
    output logic         available,
    output logic [N-1:0] write_enable,
    output logic [  3:0] write_slot,
    output logic [ 63:0] write_word
);
    logic [2:0] waiting;
    logic [3:0] slot;
    logic [N-1:0] lane;  // one of them is set

    assign accepted = offered && !start && !waiting[2];

    always_ff @(posedge clock) begin
        write_word   <= word;
        write_slot   <= slot;
        write_enable <= accepted ? lane : '0;
        available    <= waiting != 0 && !start;
        if (start) begin
            waiting <= '0;
            slot    <= '0;
            lane    <= N'(1);
        end else begin
            waiting <= waiting + 3'(accepted && lane[N-1]) - 3'(acquire);
            if (accepted) begin
                lane <= {lane[N-2:0], lane[N-1]};
                if (lane[N-1]) slot <= slot + 1'b1;
            end
        end
    end
endmodule
