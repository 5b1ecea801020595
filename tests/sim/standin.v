// A stand-in for the prototype with its ports, to try the harness on: a register file, a memory, and a way to put any
// command on a channel. It notes every breach of the AXI rules by the host. @...@ is filled in by standin.py.
//
// Registers: 00 scratch, 04 breaches seen, 08 stall at random, 0C interrupt after so many cycles (0: off),
//   10 op0 | bank0 << 8 | column0 << 16 | mode0 << 24, 14 row0 | op1 << 16 | column1 << 24 | mode1 << 30, 18 write mask,
//   1C fire on channel,
//   20-3C write data, 40-5C last read data, 60 reads seen, 64 latency of the last. 400-7FF never answers, 800- DECERR.
// Memory: 16 KB, repeated; SLVERR where address bit 15 is set, and no answer where bit 16 is.
module top(
  input clk, input rst, output irq,
  input [15:0] regs__awaddr, input regs__awvalid, output regs__awready,
  input [31:0] regs__wdata, input [3:0] regs__wstrb, input regs__wvalid, output regs__wready,
  output reg [1:0] regs__bresp, output reg regs__bvalid, input regs__bready,
  input [15:0] regs__araddr, input regs__arvalid, output regs__arready,
  output reg [31:0] regs__rdata, output reg [1:0] regs__rresp, output reg regs__rvalid, input regs__rready,
  input [3:0] mem__awid, input [@TOP@:0] mem__awaddr, input [7:0] mem__awlen, input [2:0] mem__awsize,
  input [1:0] mem__awburst, input mem__awvalid, output mem__awready,
  input [255:0] mem__wdata, input [31:0] mem__wstrb, input mem__wlast, input mem__wvalid, output mem__wready,
  output [3:0] mem__bid, output reg [1:0] mem__bresp, output reg mem__bvalid, input mem__bready,
  input [3:0] mem__arid, input [@TOP@:0] mem__araddr, input [7:0] mem__arlen, input [2:0] mem__arsize,
  input [1:0] mem__arburst, input mem__arvalid, output mem__arready,
  output [3:0] mem__rid, output [255:0] mem__rdata, output [1:0] mem__rresp, output mem__rlast, output mem__rvalid,
  input mem__rready,
  @PINS@
);
  reg [31:0] scratch, breaches, countdown, word0, word1, mask;
  reg [255:0] data, seen;
  reg [31:0] reads, latency, age;
  reg stalling, armed, fire;
  reg [4:0] fire_channel;
  reg [15:0] noise;
  wire stall = stalling & noise[0];
  always @(posedge clk) noise <= rst ? 16'hACE1 : {noise[14:0], noise[15] ^ noise[13] ^ noise[12] ^ noise[10]};

  // ---- registers
  wire write = regs__awvalid & regs__wvalid & ~regs__bvalid & ~stall & ~(regs__awaddr[15:10] == 6'd1);
  assign regs__awready = write;
  assign regs__wready = write;
  assign regs__arready = ~regs__rvalid & ~stall & ~(regs__araddr[15:10] == 6'd1);
  assign irq = armed & (countdown == 0);
  always @(posedge clk) begin
    fire <= 0;
    if (countdown != 0) countdown <= countdown - 1;
    if (regs__bvalid & regs__bready) regs__bvalid <= 0;
    if (write) begin
      regs__bvalid <= 1;
      regs__bresp <= regs__awaddr >= 16'h800 ? 2'd3 : 2'd0;
      casez (regs__awaddr[11:0])
        12'h000: scratch <= regs__wdata;
        12'h008: stalling <= regs__wdata[0];
        12'h00C: begin countdown <= regs__wdata; armed <= regs__wdata != 0; end
        12'h010: word0 <= regs__wdata;
        12'h014: word1 <= regs__wdata;
        12'h018: mask <= regs__wdata;
        12'h01C: begin fire <= 1; fire_channel <= regs__wdata[4:0]; end
        12'b0000_001?_????: data[{regs__awaddr[4:2], 5'd0} +: 32] <= regs__wdata;
        default: ;
      endcase
    end
    if (regs__rvalid & regs__rready) regs__rvalid <= 0;
    if (regs__arvalid & regs__arready) begin
      regs__rvalid <= 1;
      regs__rresp <= regs__araddr >= 16'h800 ? 2'd3 : 2'd0;
      casez (regs__araddr[11:0])
        12'h000: regs__rdata <= scratch;
        12'h004: regs__rdata <= breaches;
        12'b0000_010?_????: regs__rdata <= seen[{regs__araddr[4:2], 5'd0} +: 32];
        12'h060: regs__rdata <= reads;
        12'h064: regs__rdata <= latency;
        default: regs__rdata <= 0;
      endcase
    end
    if (rst) begin
      regs__bvalid <= 0; regs__rvalid <= 0; stalling <= 0; armed <= 0; scratch <= 0; countdown <= 0; mask <= 0;
    end
  end

  // ---- command bus
  @DRIVERS@
  wire [@CHANNELS@-1:0] valids = {@VALIDS@};
  wire [256*@CHANNELS@-1:0] datas = {@DATAS@};
  integer i;
  always @(posedge clk) begin
    age <= fire ? 1 : age + 1;
    for (i = 0; i < @CHANNELS@; i = i + 1) if (valids[i]) begin
      seen <= datas[256 * i +: 256];
      latency <= age;
    end
    if (|valids) reads <= reads + 1;
    if (rst) reads <= 0;
  end

  // ---- memory
  reg [255:0] cells [0:511];
  reg writing, reading;
  reg [@TOP@:0] w_address, r_address;
  reg [7:0] w_left, r_left;
  assign mem__bid = 0;
  assign mem__rid = 0;
  assign mem__awready = ~writing & ~mem__bvalid & ~stall & ~mem__awaddr[16];
  assign mem__wready = writing & ~stall;
  assign mem__arready = (~reading | (mem__rvalid & mem__rlast)) & ~(stalling & noise[3]) & ~mem__araddr[16];
  assign mem__rvalid = reading & ~stall;
  assign mem__rdata = cells[r_address[13:5]];
  assign mem__rresp = r_address[15] ? 2'd2 : 2'd0;
  assign mem__rlast = r_left == 0;
  always @(posedge clk) begin
    if (mem__bvalid & mem__bready) mem__bvalid <= 0;
    if (mem__awvalid & mem__awready) begin writing <= 1; w_address <= mem__awaddr; w_left <= mem__awlen; end
    if (mem__wvalid & mem__wready) begin
      for (i = 0; i < 32; i = i + 1)
        if (mem__wstrb[i] & ~w_address[15]) cells[w_address[13:5]][8 * i +: 8] <= mem__wdata[8 * i +: 8];
      w_address <= w_address + 32;
      w_left <= w_left - 1;
      if (w_left == 0) begin writing <= 0; mem__bvalid <= 1; mem__bresp <= w_address[15] ? 2'd2 : 2'd0; end
    end
    if (mem__rvalid & mem__rready) begin
      r_address <= r_address + 32;
      r_left <= r_left - 1;
      if (mem__rlast) reading <= 0;
    end
    if (mem__arvalid & mem__arready) begin reading <= 1; r_address <= mem__araddr; r_left <= mem__arlen; end
    if (rst) begin writing <= 0; reading <= 0; mem__bvalid <= 0; end
  end

  // ---- breaches of AXI by the host: an offer withdrawn or changed, a burst that is none
  reg was_aw, was_w, was_ar, was_rw, was_rd;
  reg [@TOP@+8:0] old_aw, old_ar;
  reg [288:0] old_w;
  reg [47:0] old_rw;
  reg [15:0] old_rd;
  wire [12:0] aw_end = {1'b0, mem__awaddr[11:0]} + {mem__awlen[7:0], 5'd0} + 32;
  wire [12:0] ar_end = {1'b0, mem__araddr[11:0]} + {mem__arlen[7:0], 5'd0} + 32;
  wire bad_aw = mem__awvalid & (aw_end > 4096 | mem__awsize != 5 | mem__awburst != 1 | mem__awaddr[4:0] != 0);
  wire bad_ar = mem__arvalid & (ar_end > 4096 | mem__arsize != 5 | mem__arburst != 1 | mem__araddr[4:0] != 0);
  wire bad_w = mem__wvalid & ((mem__wready & (mem__wlast != (w_left == 0))) | (~writing & ~mem__awvalid) | mem__wstrb == 0);
  wire changed = (was_aw & {mem__awvalid, mem__awaddr, mem__awlen} != {1'b1, old_aw})
    | (was_ar & {mem__arvalid, mem__araddr, mem__arlen} != {1'b1, old_ar})
    | (was_w & {mem__wvalid, mem__wdata, mem__wstrb, mem__wlast} != {1'b1, old_w})
    | (was_rw & {regs__awvalid, regs__wvalid, regs__awaddr, regs__wdata} != {2'b11, old_rw})
    | (was_rd & {regs__arvalid, regs__araddr} != {1'b1, old_rd});
  always @(posedge clk) begin
    old_aw <= {mem__awaddr, mem__awlen};
    old_ar <= {mem__araddr, mem__arlen};
    old_w <= {mem__wdata, mem__wstrb, mem__wlast};
    old_rw <= {regs__awaddr, regs__wdata};
    old_rd <= regs__araddr;
    was_aw <= ~rst & mem__awvalid & ~mem__awready;
    was_ar <= ~rst & mem__arvalid & ~mem__arready;
    was_w <= ~rst & mem__wvalid & ~mem__wready;
    was_rw <= ~rst & regs__awvalid & regs__wvalid & ~write;
    was_rd <= ~rst & regs__arvalid & ~regs__arready;
    breaches <= rst ? 0 : breaches + {31'd0, bad_aw | bad_ar | bad_w | changed};
  end
endmodule
