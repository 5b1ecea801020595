// A memory of one port in UltraRAM: a word is read or some of its bytes are written. It starts as zeros.
// Ref: AMD UG901, Vivado Synthesis: UltraRAM coding templates, single port, byte write enable, no change
// Ref: AMD UG573, UltraScale Memory Resources: UltraRAM has no initial contents and powers up as zeros
module ultra_ram #(
    parameter ADDRESS_BITS = 12,
    parameter BYTES = 32
) (
    input  wire                    clk,
    input  wire                    read,     // not together with a write
    input  wire [BYTES-1:0]        write,
    input  wire [ADDRESS_BITS-1:0] address,
    input  wire [8*BYTES-1:0]      data,
    output reg  [8*BYTES-1:0]      q         // what was read last, a cycle later
);
    (* ram_style = "ultra" *)
    reg [8*BYTES-1:0] cells [0:(1 << ADDRESS_BITS)-1];
    integer i;

    always @(posedge clk) begin
        for (i = 0; i < BYTES; i = i + 1)
            if (write[i])
                cells[address][8*i +: 8] <= data[8*i +: 8];
    end

    always @(posedge clk) begin
        if (read && write == 0)
            q <= cells[address];
    end
endmodule
