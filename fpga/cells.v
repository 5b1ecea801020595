// What the netlist of a board is made of beside LUTs and flip-flops, as it behaves in simulation. Written for the modes
// that fpga/netlist.py lets pass; it refuses the others.
// Ref: ECP5 and ECP5-5G Memory Usage Guide (FPGA-TN-02204); sysDSP Usage Guide (FPGA-TN-02205);
// sysCLOCK PLL/DLL Design and Usage Guide (FPGA-TN-02200)

// 16 x 4 bits of distributed memory: written at the clock, read at any time.
module ram16x4 (input clk, input we, input [3:0] wad, input [3:0] di, input [3:0] rad, output [3:0] dout);
  reg [3:0] words [0:15];
  always @(posedge clk) if (we) words[wad] <= di;
  assign dout = words[rad];
endmodule

// Block RAM as 2048 x 9, one port. WRITEMODE NORMAL: the output keeps its value in a cycle that writes.
module ram2048x9 (input clk, input ce, input we, input [10:0] ad, input [8:0] di, output reg [8:0] dout);
  reg [8:0] words [0:2047];
  always @(posedge clk)
    if (ce) begin
      if (we) words[ad] <= di;
      else dout <= words[ad];
    end
endmodule

// Block RAM as 512 x 36: one port writes, by groups of nine bits, one reads; what a read of the word that is being
// written gives is the word before.
module ram512x36 (input clk, input wce, input [3:0] be, input [8:0] wad, input [35:0] di,
                  input rce, input [8:0] rad, output reg [35:0] dout);
  reg [35:0] words [0:511];
  always @(posedge clk) begin
    if (rce) dout <= words[rad];
    if (wce && be[0]) words[wad][8:0] <= di[8:0];
    if (wce && be[1]) words[wad][17:9] <= di[17:9];
    if (wce && be[2]) words[wad][26:18] <= di[26:18];
    if (wce && be[3]) words[wad][35:27] <= di[35:27];
  end
endmodule

// Two bits of a carry chain.
module carry2 #(parameter [15:0] INIT0 = 0, parameter [15:0] INIT1 = 0)
  (input cin, input [3:0] x0, input [3:0] x1, output [1:0] s, output cout);
  wire p0 = INIT0[x0], p1 = INIT1[x1];
  wire g0 = INIT0[{2'b0, x0[1:0]}], g1 = INIT1[{2'b0, x1[1:0]}];
  wire middle = p0 ? cin : g0;
  assign s = {p1 ^ middle, p0 ^ cin};
  assign cout = p1 ? middle : g1;
endmodule

// A clock that stands while it is not enabled; the enable takes effect while the clock is low.
module clock_gate (input clki, input ce, output clko);
  reg enabled = 0;
  always @(negedge clki) enabled <= ce;
  assign clko = clki & enabled;
endmodule
