// One channel of GDDR6-AiM: banks with a processing unit each, global buffer, registers. Functional: commands act at
// once and in order; the time of their data is the harness's matter, their spacing the checker's in the RTL.
// Ref: GDDR6-AiM notes, "Commands" and "Numbers"
#pragma once

#include <array>
#include <cstdint>

#include "mac.h"
#include "memory.h"
#include "spec.h"

namespace ianus {

/// Operands as they stand on the command bus.
struct Command {
    spec::Op op;
    std::uint8_t bank;
    std::uint8_t column;
    std::uint16_t row;
    std::uint8_t mode;  ///< spec::kSet1, spec::kLocal
};

/// Commands to which the device can give no meaning. The numbers are part of the C ABI.
enum class Fault : int {
    kNone = 0,
    kOpcode = 1,      ///< no such command
    kOperand = 2,     ///< bank, row or column that the device does not have
    kRowClosed = 3,   ///< column access or MAC on a bank without an open row
    kRowOpen = 4,     ///< activation or refresh of a bank with an open row
    kTableRow = 5,    ///< AF on a row that ACTAF did not open
    kDataClash = 6,   ///< two commands of a cycle with write data, or two reads that return at once
    kDataDiffers = 7, ///< the device in the design returned other data than this model, or at another time
};

class AimDevice {
public:
    using Column = std::array<std::uint8_t, spec::kColumnBytes>;

    explicit AimDevice(Profile profile) : profile_(profile) { reset(); }

    /// Carry out a command. data: 32 bytes of a write command; enables: bit i lets WR change byte i; out: where RD,
    /// RDMAC and RDAF put 32 bytes. A command at fault changes nothing and reads zeros.
    Fault execute(const Command& command, const std::uint8_t* data, std::uint32_t enables, Column& out);

    /// Close all banks, as at power-on; cells, buffer and registers keep their contents.
    void reset() {
        for (Buffer& buffer : buffers_) buffer.row.fill(kClosed);
    }

    Memory& memory() { return memory_; }

private:
    static constexpr int kClosed = -1;

    /// The row buffers of all banks, of one kind: what is open in them.
    struct Buffer {
        std::array<int, spec::kBanks> row;     // or kClosed
        std::array<bool, spec::kBanks> table;  // opened by ACTAF
    };
    /// Normal traffic and PIM have a buffer each, or share the first.
    static constexpr unsigned kBuffers = spec::kDualRowBuffer ? 2 : 1;
    using Registers = std::array<float, spec::kBanks>;

    /// The buffer of a bank that a command works on.
    Buffer& buffer(spec::Op op, unsigned bank);
    Fault open(spec::Op op, unsigned first, unsigned count, unsigned row);
    void close(spec::Op op, unsigned first, unsigned count);
    Fault accumulate(spec::Op op, unsigned first, unsigned count, unsigned column, Registers& accumulators);
    Fault accumulate_neighbours(spec::Op op, unsigned first, unsigned count, unsigned column, Registers& accumulators);
    Fault apply_table(const Registers& accumulators);
    Fault multiply_elements(unsigned banks, unsigned column);
    bool any_closed(spec::Op op, unsigned first, unsigned count);
    bool any_open(unsigned first, unsigned count) const;
    const std::uint8_t* cells(spec::Op op, unsigned bank, unsigned column);
    std::uint8_t* writable_cells(spec::Op op, unsigned bank, unsigned column);
    static void read_results(const Registers& results, Column& out);

    Profile profile_;
    Memory memory_;
    std::array<Buffer, kBuffers> buffers_{};
    alignas(64) std::array<std::uint8_t, spec::kRowBytes> global_{};
    alignas(64) std::array<Registers, spec::kSets> accumulators_{};
    Registers activations_{};
};

}  // namespace ianus
