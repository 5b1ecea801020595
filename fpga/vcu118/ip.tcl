# The vendor's blocks: DMA over PCI Express, and the clock of the prototype.
# Ref: AMD PG195, DMA/Bridge Subsystem for PCI Express; PG065, Clocking Wizard; UG896, Designing with IP

# One channel each way, one user interrupt, registers in a BAR of 64 KB. The hard block and the quad are those of the
# board's edge connector. 9038 is the number that the Linux driver knows for eight lanes at 8 GT/s.
create_ip -name xdma -vendor xilinx.com -library ip -module_name xdma
set_property -dict [list \
    CONFIG.mode_selection Advanced \
    CONFIG.functional_mode DMA \
    CONFIG.pcie_blk_locn X1Y2 \
    CONFIG.en_gt_selection true \
    CONFIG.select_quad GTY_Quad_227 \
    CONFIG.pl_link_cap_max_link_width X$lanes \
    CONFIG.pl_link_cap_max_link_speed 8.0_GT/s \
    CONFIG.ref_clk_freq 100_MHz \
    CONFIG.axi_data_width 256_bit \
    CONFIG.axisten_freq 250 \
    CONFIG.xdma_axi_intf_mm AXI_Memory_Mapped \
    CONFIG.axi_id_width 4 \
    CONFIG.xdma_rnum_chnl 1 \
    CONFIG.xdma_wnum_chnl 1 \
    CONFIG.xdma_num_usr_irq 1 \
    CONFIG.axilite_master_en true \
    CONFIG.axilite_master_scale Kilobytes \
    CONFIG.axilite_master_size 64 \
    CONFIG.pciebar2axibar_axil_master 0x00000000 \
    CONFIG.cfg_mgmt_if false \
    CONFIG.pf0_device_id 9038 \
] [get_ips xdma]

create_ip -name clk_wiz -vendor xilinx.com -library ip -module_name board_clock
set_property -dict [list \
    CONFIG.PRIM_SOURCE Differential_clock_capable_pin \
    CONFIG.PRIM_IN_FREQ 250.000 \
    CONFIG.CLKOUT1_REQUESTED_OUT_FREQ $core_mhz \
    CONFIG.USE_RESET false \
    CONFIG.USE_LOCKED true \
] [get_ips board_clock]

# Each is synthesised by itself, so that its pins are there to be named in timing.xdc.
generate_target all [get_ips]
report_ip_status -file ip.rpt
set ip_runs {}
foreach ip [get_ips] {
    lappend ip_runs [create_ip_run $ip]
}
