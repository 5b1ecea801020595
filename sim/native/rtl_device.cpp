// The synthesisable device of one channel, Verilated: a list of commands, each at its cycle.

#include <cstdint>
#include <cstring>
#include <deque>
#include <new>

#include <verilated.h>

#include "coverage.h"
#include "ports.h"
#include "spec.h"

namespace spec = ianus::spec;
namespace ports = ianus::ports;

namespace {

/// As in device_abi.cpp; fault is not used.
struct TimedCommand {
    std::uint8_t op, bank, column, fault;
    std::uint16_t row;
    std::uint8_t mode, slot;
    std::uint32_t enables;
    std::uint8_t data[spec::kColumnBytes];
};
static_assert(sizeof(TimedCommand) == 44);

}  // namespace

struct ianus_rtl_device {
    ianus_rtl_device() : top((context.threads(1), &context), "top") {
        ports::rst(top) = 1;
        release();
        for (int i = 0; i < 4; ++i) edge();
        ports::rst(top) = 0;
    }
    ~ianus_rtl_device() { top.final(); }

    void release() {
        const auto pins = ports::channel(top);
        pins.op0 = pins.op1 = 0;
    }

    void settle() {
        ports::clk(top) = 0;
        top.eval();
    }

    void edge() {
        settle();
        ports::clk(top) = 1;
        top.eval();
    }

    VerilatedContext context;
    Vtop top;
};

extern "C" {

ianus_rtl_device* ianus_rtl_device_open() {
    try {
        return new ianus_rtl_device;
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void ianus_rtl_device_close(ianus_rtl_device* device) { delete device; }

int ianus_rtl_device_counts(ianus_rtl_device* device, const char* path) {
    return ianus::write_counts(device->context, path);
}

/// Put each command on the bus in its cycle, counted from the call and never falling, and run until all reads have returned;
/// their data are written into the list. Reads that have not returned 64 cycles after the last command never do.
/// Returns how many words came that nobody waited for, or came not at all.
std::uint64_t ianus_rtl_device_run(ianus_rtl_device* device, TimedCommand* commands, const std::uint64_t* cycles,
                                   std::uint64_t count) {
    std::deque<TimedCommand*> waiting;
    std::uint64_t unasked = 0, next = 0;
    const auto pins = ports::channel(device->top);
    for (std::uint64_t cycle = 0, left = 64; next < count || left; ++cycle) {
        if (next == count) --left;
        device->release();
        for (; next < count && cycles[next] == cycle; ++next) {
            TimedCommand& command = commands[next];
            const auto op = static_cast<spec::Op>(command.op);
            if (command.slot) {
                pins.op1 = command.op;
                pins.column1 = command.column;
                pins.mode1 = command.mode;
            } else {
                pins.op0 = command.op;
                pins.bank0 = command.bank;
                pins.row0 = command.row;
                pins.column0 = command.column;
                pins.mode0 = command.mode;
            }
            if (spec::writes(op)) {
                std::memcpy(pins.wdata.data(), command.data, sizeof command.data);
                pins.wmask = command.enables;
            }
            if (spec::reads(op)) waiting.push_back(&command);
        }
        device->settle();
        if (pins.rvalid) {
            if (waiting.empty()) {
                ++unasked;
            } else {
                std::memcpy(waiting.front()->data, pins.rdata.data(), spec::kColumnBytes);
                waiting.pop_front();
            }
        }
        device->edge();
    }
    return unasked + waiting.size();
}

}  // extern "C"
