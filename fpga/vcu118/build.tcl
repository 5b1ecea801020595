# vivado -mode batch -source PLAN/build.tcl
# From the plan beside this file to, in the current directory, a bitstream, or to an error that says why there is none.
# Ref: AMD UG892, Design Flows Overview (project mode); UG835, Tcl Command Reference Guide

set plan [file dirname [file normalize [info script]]]
source [file join $plan settings.tcl]
source [file join $plan checks.tcl]
require_release $release

file delete $top.bit
create_project -force $top project -part $part
source [file join $plan ip.tcl]
require_ip {xdma board_clock}
launch_runs $ip_runs -jobs $jobs
wait_on_runs $ip_runs
foreach run $ip_runs {
    require_complete $run
}

foreach name $verilog {
    add_files -norecurse [file join $plan $name]
}
add_files -fileset constrs_1 -norecurse [file join $plan pins.xdc]
add_files -fileset constrs_1 -norecurse [file join $plan timing.xdc]
set late [get_files timing.xdc]
set_property USED_IN_SYNTHESIS false $late
set_property PROCESSING_ORDER LATE $late

# The PHY of an AiM card is its owner's, beside the plan: sources, headers and pins.
if {$variant eq "fmc"} {
    set phy [glob -nocomplain -directory [file join $plan phy] *.v *.sv *.vh *.xci]
    foreach name {aim_phy.v aim_phy.vh} {
        if {[file join $plan phy $name] ni $phy} {
            refuse "phy/$name is missing: the variant fmc needs the PHY of your AiM card; see phy/CONTRACT.md"
        }
    }
    add_files -norecurse $phy
    set_property include_dirs [list [file join $plan phy]] [current_fileset]
    foreach name [glob -nocomplain -directory [file join $plan phy] *.xdc] {
        add_files -fileset constrs_1 -norecurse $name
    }
}
set_property top $top [current_fileset]
update_compile_order -fileset sources_1

launch_runs synth_1 -jobs $jobs
wait_on_runs synth_1
require_complete synth_1
open_run synth_1
require_whole
report_utilization -file utilization_synth.rpt
close_design

launch_runs impl_1 -to_step route_design -jobs $jobs
wait_on_runs impl_1
require_complete impl_1
open_run impl_1
report_timing_summary -max_paths 10 -report_unconstrained -file timing.rpt
report_utilization -hierarchical -file utilization.rpt
report_clock_interaction -file clocks.rpt
report_cdc -details -file cdc.rpt
report_methodology -file methodology.rpt
report_drc -file drc.rpt
require_constrained
require_timing impl_1
write_bitstream -force $top.bit
puts "bitstream: [file normalize $top.bit]"
