// C ABI of a board that is reached by a serial line: bytes in, bytes out, some cycles at a time.

#include <cstdint>
#include <new>

#include <verilated.h>

#include "coverage.h"
#include "ports.h"

namespace ports = ianus::ports;

/// Until a board that waits for its clock has started.
constexpr int kStartCycles = 64;

struct ianus_serial {
    explicit ianus_serial(unsigned cycles_a_bit) : divisor(cycles_a_bit), top((context.threads(1), &context), "top") {
        ports::rx(top) = 1;
        for (int i = 0; i < kStartCycles; ++i) cycle();
    }
    ~ianus_serial() { top.final(); }

    void cycle() {
        ports::clk(top) = 0;
        top.eval();
        ports::clk(top) = 1;
        top.eval();
        ++cycles;
    }

    const unsigned divisor;
    VerilatedContext context;
    Vtop top;
    std::uint64_t cycles = 0;
    // What is being sent and received: bits, least significant first, and cycles to the next one.
    std::uint32_t sending = 0, receiving = 0;
    unsigned bits_to_send = 0, bits_to_receive = 0, send_timer = 0, receive_timer = 0;
};

extern "C" {

ianus_serial* ianus_serial_open(unsigned divisor) {
    try {
        return new ianus_serial(divisor);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void ianus_serial_close(ianus_serial* line) { delete line; }

int ianus_serial_counts(ianus_serial* line, const char* path) { return ianus::write_counts(line->context, path); }

std::uint64_t ianus_serial_cycles(const ianus_serial* line) { return line->cycles; }

/// Run for `cycles`, or until `room` bytes have come. *taken: bytes of `in` that are on their way. Returns the bytes that
/// have come into `out`; one without a stop bit is given as 0xFF00.
std::uint64_t ianus_serial_run(ianus_serial* line, const std::uint8_t* in, std::uint64_t size, std::uint64_t* taken,
                               std::uint16_t* out, std::uint64_t room, std::uint64_t cycles) {
    std::uint64_t come = 0;
    *taken = 0;
    for (std::uint64_t i = 0; i < cycles && come < room; ++i) {
        if (line->send_timer) {
            --line->send_timer;
        } else if (line->bits_to_send || *taken < size) {
            if (!line->bits_to_send) {
                line->sending = 0x200u | in[(*taken)++] << 1;  // start bit, data, stop bit
                line->bits_to_send = 10;
            }
            ports::rx(line->top) = line->sending & 1;
            line->sending >>= 1;
            --line->bits_to_send;
            line->send_timer = line->divisor - 1;
        } else {
            ports::rx(line->top) = 1;
        }
        line->cycle();
        const bool level = ports::tx(line->top);
        if (line->receive_timer) {
            --line->receive_timer;
        } else if (line->bits_to_receive) {
            line->receiving |= static_cast<std::uint32_t>(level) << (10 - line->bits_to_receive);
            line->receive_timer = line->divisor - 1;
            if (--line->bits_to_receive == 0) {
                line->receive_timer = 0;  // the next start bit may follow at once
                out[come++] = line->receiving & 0x200 ? line->receiving >> 1 & 0xFF : 0xFF00;
            }
        } else if (!level) {
            line->receiving = 0;
            line->bits_to_receive = 10;
            line->receive_timer = line->divisor / 2 - 1;
        }
    }
    return come;
}

}  // extern "C"
