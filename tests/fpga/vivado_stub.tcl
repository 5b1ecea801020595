# Stands in for Vivado: knows the commands, options and properties of vivado.toml and no others, and enough of a project to
# follow a build. Before it is sourced: `commands`, `properties`, `ips` (tables), `ports`, `pins` (of the top), `fate`.
# What was done is in the list `events`.

set events {}
set catalogue {}
set project ""
set opened ""
set runs {synth_1 impl_1}
array set files {}
array set values {}
array set progress {}

proc unknown {name args} {
    error "unknown command $name"
}

# Options and arguments of a call, by the table.
proc parse {name call} {
    set entry [dict get $::commands $name]
    set flags [concat [dict get $entry flags] quiet verbose]
    set options {}
    set arguments {}
    while {[llength $call] > 0} {
        set call [lassign $call word]
        if {![regexp {^-([a-z_]+)$} $word -> option]} {
            lappend arguments $word
        } elseif {$option in $flags} {
            dict set options $option 1
        } elseif {$option in [dict get $entry values]} {
            if {[llength $call] == 0} {
                error "$name: -$option has no value"
            }
            set call [lassign $call value]
            dict set options $option $value
        } else {
            error "$name has no option -$option"
        }
    }
    lassign [dict get $entry arguments] least most
    set count [llength $arguments]
    if {$count < $least || ($most >= 0 && $count > $most)} {
        error "$name takes $least to $most arguments, not $count: $arguments"
    }
    return [list $options $arguments]
}

foreach name [dict keys $commands] {
    proc $name {args} [format {
        lassign [parse %1$s $args] options arguments
        if {[info commands do_%1$s] ne ""} {
            return [do_%1$s $options $arguments]
        }
        lappend ::events %1$s
        return ""
    } $name]
}

proc need {condition message} {
    if {![uplevel 1 [list expr $condition]]} {
        error $message
    }
}

# Objects are "class:name"; a pattern is a glob, but brackets are those of a bus.
proc found {class names arguments quiet} {
    set pattern [string map {[ \\[ ] \\]} [expr {[llength $arguments] ? [lindex $arguments 0] : "*"}]]
    set result {}
    foreach name $names {
        if {[string match $pattern $name]} {
            lappend result $class:$name
        }
    }
    if {$result eq "" && !$quiet} {
        error "no $class matches $arguments"
    }
    return $result
}

proc allowed {object name} {
    lassign [split $object :] class what
    if {$class eq "ip" && [regexp {^CONFIG\.(.+)$} $name -> parameter]} {
        set table [dict get $::ips [dict get $::catalogue $what] parameters]
        need {[dict exists $table $parameter]} "IP $what has no parameter $parameter"
        return [dict get $table $parameter]
    }
    need {[dict exists $::properties $class $name]} "a $class has no property $name"
    return [dict get $::properties $class $name]
}

proc store {name value objects} {
    need {[llength $objects] > 0} "set_property $name has no object"
    foreach object $objects {
        set choice [allowed $object $name]
        need {$choice eq "" || $value in $choice} "$name of $object may not be $value"
        set ::values($object,$name) $value
    }
}

proc do_version {options arguments} { return [dict get $::fate release] }
proc do_create_project {options arguments} {
    set ::project [lindex $arguments 0]
    lappend ::events create_project
}
proc do_create_ip {options arguments} {
    need {$::project ne ""} "create_ip: no project is open"
    set name [dict get $options name]
    need {[dict exists $::ips $name]} "there is no IP $name in the catalogue of vivado.toml"
    if {$name ni [dict get $::fate catalogue]} {
        error "No IP matching VLNV 'xilinx.com:ip:$name:*' was found"
    }
    dict set ::catalogue [dict get $options module_name] $name
}
proc do_get_ips {options arguments} {
    set names [dict keys $::catalogue]
    return [found ip $names $arguments [dict exists $options quiet]]
}
proc do_add_files {options arguments} {
    foreach name [concat {*}$arguments] {
        need {[file isfile $name]} "add_files: there is no file $name"
        set ::files([file tail $name]) $name
        lappend ::events "add [file tail $name]"
    }
}
proc do_get_files {options arguments} {
    return [found file [array names ::files] $arguments [dict exists $options quiet]]
}
proc do_current_fileset {options arguments} { return fileset:sources_1 }
proc do_current_design {options arguments} { return design:top }
proc do_set_property {options arguments} {
    if {[dict exists $options dict]} {
        foreach {name value} [dict get $options dict] {
            store $name $value [lindex $arguments 0]
        }
        return
    }
    need {[llength $arguments] >= 3} "set_property takes a name, a value and objects"
    store [lindex $arguments 0] [lindex $arguments 1] [concat {*}[lrange $arguments 2 end]]
}
proc do_get_property {options arguments} {
    lassign $arguments name object
    allowed $object $name
    if {[info exists ::values($object,$name)]} {
        return $::values($object,$name)
    }
    lassign [split $object :] class what
    switch -- $class,$name {
        ip,IS_LOCKED { return [expr {$what in [dict get $::fate locked]}] }
        run,PROGRESS { return $::progress($what) }
        run,STATUS { return "$what ERROR" }
        run,STATS.FAILED_NETS { return [dict get $::fate failed_nets] }
        run,STATS.TPWS { return [dict get $::fate pulses] }
        path,SLACK { return [dict get $::fate $what] }
    }
    error "$name of $object is not set"
}
proc do_create_ip_run {options arguments} {
    set name [lindex [split $arguments :] 1]_synth_1
    need {$name ni $::runs} "create_ip_run: there is a run $name"
    lappend ::runs $name
    return $name
}
proc do_launch_runs {options arguments} {
    foreach run [concat {*}$arguments] {
        need {$run in $::runs} "launch_runs: there is no run $run"
        need {$run ne "impl_1" || [info exists ::progress(synth_1)]} "launch_runs: $run before synthesis"
        set ::progress($run) [expr {[dict exists $::fate $run] ? [dict get $::fate $run] : "100%"}]
        lappend ::events "launch $run"
    }
}
proc do_get_runs {options arguments} {
    return [found run $::runs $arguments [dict exists $options quiet]]
}
proc do_open_run {options arguments} {
    set run [lindex $arguments 0]
    need {$::progress($run) eq "100%"} "open_run: $run is not complete"
    set ::opened $run
    if {$run eq "impl_1"} {
        foreach name [lsort -command by_order [array names ::files *.xdc]] {
            source $::files($name)
            lappend ::events "read $name"
        }
    }
}
proc by_order {a b} {
    set order {}
    foreach name [list $a $b] {
        lappend order [expr {[info exists ::values(file:$name,PROCESSING_ORDER)]
            && $::values(file:$name,PROCESSING_ORDER) eq "LATE"}]
    }
    return [expr {[lindex $order 0] - [lindex $order 1]}]
}
proc do_close_design {options arguments} { set ::opened "" }
proc do_get_cells {options arguments} {
    need {$::opened ne ""} "get_cells: no design is open"
    need {[dict get $options filter] eq "IS_BLACKBOX == 1"} "the stub knows no such filter"
    return [dict get $::fate empty]
}
proc do_get_ports {options arguments} {
    return [found port $::ports $arguments [dict exists $options quiet]]
}
proc do_get_pins {options arguments} {
    return [found pin $::pins $arguments [dict exists $options quiet]]
}
proc do_get_clocks {options arguments} {
    set pin [lindex [split [dict get $options of_objects] :] 1]
    lassign [split $pin /] instance name
    set kind [dict get $::catalogue $instance]
    need {$name in [dict get $::ips $kind clocks]} "no clock is on $pin"
    return clock:$pin
}
proc do_create_clock {options arguments} { lappend ::events "clock [lindex $arguments 0]" }
proc do_set_max_delay {options arguments} {
    need {[string is double -strict [lindex $arguments 0]]} "set_max_delay takes a number"
    lappend ::events "bound [dict get $options from] [dict get $options to]"
}
proc do_get_timing_paths {options arguments} {
    need {$::opened eq "impl_1"} "get_timing_paths: no implemented design is open"
    set kind [expr {[dict exists $options hold] ? "hold" : "setup"}]
    return [expr {[dict get $::fate $kind] eq "none" ? "" : "path:$kind"}]
}
proc do_check_timing {options arguments} {
    need {$::opened eq "impl_1"} "check_timing: no implemented design is open"
    need {[dict exists $options return_string]} "check_timing: the stub only returns a string"
    set report "check_timing report\n\nTable of Contents\n-----------------\n"
    set number 0
    foreach {name count} [dict get $::fate checks] {
        append report "[incr number]. checking $name ($count)\n"
    }
    return $report
}
proc do_write_bitstream {options arguments} {
    need {$::opened eq "impl_1"} "write_bitstream: no implemented design is open"
    close [open [lindex $arguments 0] w]
    lappend ::events "write [lindex $arguments 0]"
}
