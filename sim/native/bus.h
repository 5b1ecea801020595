// Host side of the prototype's two AXI ports: one register access, or one pipelined transfer of a byte range, at a time.
// Ref: AMBA AXI and ACE Protocol Specification, chapters A3 (single interface) and B1 (AXI4-Lite)
#pragma once

#include <cstdint>

#include "clock.h"

namespace ianus {

class Bus {
public:
    explicit Bus(Clock& clock) : clock_(clock), top_(clock.top) { release(); }

    int read_register(std::uint32_t address, std::uint32_t& value);
    int write_register(std::uint32_t address, std::uint32_t value);
    int read(std::uint64_t address, std::uint8_t* data, std::uint64_t size, std::uint64_t& failed);
    int write(std::uint64_t address, const std::uint8_t* data, std::uint64_t size, std::uint64_t& failed);

    /// Reset the design; no transaction is open afterwards.
    void reset();

    std::uint64_t timeout = 100000;

private:
    void release();
    bool stalled(bool progress);
    int give_up();

    Clock& clock_;
    Vtop& top_;
    std::uint64_t idle_ = 0;
    bool hung_ = false;
};

}  // namespace ianus
