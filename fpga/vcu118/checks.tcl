# What a good build must show; each procedure ends the build with one sentence if it does not.
# Ref: AMD UG835, Vivado Design Suite Tcl Command Reference Guide; UG906, Design Analysis and Closure Techniques

proc refuse {message} {
    error "no bitstream: $message"
}

# The Vivado that the plan was made for: another release has other IP, and gives other bits.
proc require_release {release} {
    if {[version -short] ne $release} {
        refuse "the plan is for Vivado $release, not [version -short]; make one with --vivado [version -short]"
    }
}

# Each IP is there, not locked by another release or part, and generated.
proc require_ip {names} {
    foreach name $names {
        set ip [get_ips -quiet $name]
        if {$ip eq ""} {
            refuse "IP $name is missing"
        }
        if {[get_property IS_LOCKED $ip]} {
            refuse "IP $name is locked; see ip.rpt"
        }
    }
}

# A run came to its end.
proc require_complete {run} {
    if {[get_property PROGRESS [get_runs $run]] ne "100%"} {
        refuse "$run ended with [get_property STATUS [get_runs $run]]"
    }
}

# Nothing is left empty: a module or IP that was not found.
proc require_whole {} {
    set empty [get_cells -quiet -hierarchical -filter {IS_BLACKBOX == 1}]
    if {[llength $empty] > 0} {
        refuse "nothing is in $empty"
    }
}

# Every register has a clock, and every port a delay, or an exception that says why not.
proc require_constrained {} {
    set report [check_timing -no_header -return_string]
    set wanted {
        no_clock unconstrained_internal_endpoints no_input_delay no_output_delay loops latch_loops
    }
    foreach check $wanted {
        if {![regexp "checking $check \\((\\d+)\\)" $report -> count]} {
            refuse "check_timing does not tell of $check"
        }
        if {$count != 0} {
            refuse "unconstrained paths: check_timing finds $count of $check; see timing.rpt"
        }
    }
}

# Everything is routed, and no path is too slow, too fast, or its pulse too short.
proc require_timing {run} {
    set nets [get_property STATS.FAILED_NETS [get_runs $run]]
    if {$nets ne "0"} {
        refuse "$nets nets are not routed"
    }
    foreach {kind option} {setup -setup hold -hold} {
        set path [get_timing_paths $option -max_paths 1]
        if {$path eq ""} {
            refuse "unconstrained paths: there is no path with a $kind requirement"
        }
        set slack [get_property SLACK $path]
        if {![string is double -strict $slack]} {
            refuse "unconstrained paths: the worst $kind slack is '$slack'"
        }
        if {$slack < 0} {
            refuse "the worst $kind slack is $slack ns; see timing.rpt"
        }
        puts "worst $kind slack: $slack ns"
    }
    set pulses [get_property STATS.TPWS [get_runs $run]]
    if {![string is double -strict $pulses] || $pulses < 0} {
        refuse "pulse widths are violated by '$pulses' ns in all; see timing.rpt"
    }
}
