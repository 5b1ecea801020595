// C ABI of the simulated prototype: the Verilated design, a device model on each channel, and a bus driver.
//
// One handle is one prototype; handles are independent, and one thread at a time may use each. Functions that move the
// simulation return a Code; a call that fails with kTimeout leaves a transaction on the bus, and only ianus_reset may
// follow.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ianus_simulation ianus_simulation;

enum ianus_code {
    IANUS_OK = 0,
    IANUS_SLVERR = 2,   ///< some burst or register access ended with SLVERR; values as in AXI's RESP
    IANUS_DECERR = 3,   ///< some burst or register access ended with DECERR
    IANUS_TIMEOUT = 4,  ///< no progress on the bus for the time-out
    IANUS_RANGE = 5,    ///< back door outside the memory
    IANUS_PROTOCOL = 6, ///< the design broke AXI: RLAST in the wrong place, or a response nobody asked for
    IANUS_HUNG = 7      ///< an earlier call timed out; reset first
};

/// A command as it stood on a channel's bus. 16 bytes.
typedef struct {
    uint64_t cycle;
    uint16_t row;
    uint8_t channel, slot, op, bank, column, mode;
} ianus_record;

/// First command to which a device model could give no meaning, and how many there were. fault: see aim_device.h.
typedef struct {
    uint64_t count;
    int32_t fault;
    uint32_t unused;
    ianus_record first;
} ianus_faults;

/// A prototype after reset, its memory zero; NULL without memory for it. profile: 0 aligned, 1 fp32_tree.
ianus_simulation* ianus_open(int profile);
void ianus_close(ianus_simulation*);

/// Reset the design and close all banks; memory keeps its contents, cycles go on.
void ianus_reset(ianus_simulation*);

int ianus_reg_read(ianus_simulation*, uint32_t address, uint32_t* value);
int ianus_reg_write(ianus_simulation*, uint32_t address, uint32_t value);

/// Any byte range of the data window, through the AXI4 port. After an error response the transfer goes on; the code is
/// that of the first, and *failed the address of its burst.
int ianus_mem_read(ianus_simulation*, uint64_t address, void* data, uint64_t size, uint64_t* failed);
int ianus_mem_write(ianus_simulation*, uint64_t address, const void* data, uint64_t size, uint64_t* failed);

/// Any byte range of the memory, by the back door: no cycle passes.
int ianus_preload(ianus_simulation*, uint64_t address, const void* data, uint64_t size);
int ianus_peek(ianus_simulation*, uint64_t address, void* data, uint64_t size);

/// Run until the interrupt line is high; 1 if it is, 0 after max_cycles.
int ianus_wait_irq(ianus_simulation*, uint64_t max_cycles);
void ianus_idle(ianus_simulation*, uint64_t cycles);
uint64_t ianus_cycles(const ianus_simulation*);

/// Cycles without progress after which a transfer gives up (default 100000).
void ianus_set_timeout(ianus_simulation*, uint64_t cycles);

/// Record commands from now on, up to capacity; an earlier recording is dropped. 0 ends recording. -1 without memory.
int ianus_trace_start(ianus_simulation*, uint64_t capacity);
/// The recorded commands, valid until the next call that moves the simulation. *lost: commands beyond the capacity.
const ianus_record* ianus_trace(const ianus_simulation*, uint64_t* count, uint64_t* lost);

/// Commands seen since open: [channel][op], 32 ops a channel.
const uint64_t* ianus_counts(const ianus_simulation*);
void ianus_faults_get(const ianus_simulation*, ianus_faults*);

/// Coverage: count from now on what the commands look like. -1 without memory.
int ianus_watch(ianus_simulation*);
/// The monitor of these counts, for the functions of commands.cpp; NULL before ianus_watch.
const void* ianus_monitor(const ianus_simulation*);
/// Write what Verilator counted to a file; 0 if the design was not built for it.
int ianus_code_counts(ianus_simulation*, const char* path);

#ifdef __cplusplus
}
#endif
