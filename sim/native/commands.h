// What a channel's commands looked like: distances of every two kinds, refreshes, accesses, visits to register mode. Only
// counts; what they mean is judged in Python (sim/coverage/commands.py), which also knows the layout of `Counts`.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "ianus.h"
#include "spec.h"

namespace ianus {

constexpr unsigned kOps = 32;

class CommandMonitor {
public:
    enum Scope { kSameBank, kSameGroup, kOtherGroup, kChannel, kSameColumn, kScopes };
    enum Traffic { kRest, kReads, kWrites, kPim, kTraffics };

    static constexpr unsigned kDistances = 256, kGaps = 64, kNear = 256;

    struct Counts {
        /// First and second command, scope, cycles between them (the last one: or more).
        std::array<std::array<std::array<std::array<std::uint32_t, kDistances>, kScopes>, kOps>, kOps> pairs{};
        /// Bank (the last one: all banks), what the channel did before, quarters of tREFI since the bank's last refresh.
        std::array<std::array<std::array<std::uint32_t, kGaps>, kTraffics>, spec::kBanks + 1> refreshes{};
        /// RD or WR; its row was open, was opened for it, another one was closed for it.
        std::array<std::array<std::uint32_t, 3>, 2> accesses{};
        /// ACT, PRE, RD or WR beside a MATVEC: its rows closed, open before the first MACAB, between MACABs.
        std::array<std::array<std::uint32_t, 3>, 4> beside{};
        /// Visits to register mode by what was done there: WRGB, WRBIAS, RDMAC, RDAF by bit.
        std::array<std::uint32_t, 16> visits{};
        /// Activation tables that were opened.
        std::array<std::uint32_t, 8> tables{};
    };

    CommandMonitor() : channels_(spec::kChannels) {}

    void take(const ianus_record& record);
    /// Nothing before counts any more.
    void reset() { channels_.assign(spec::kChannels, {}); }
    const Counts& counts() const { return counts_; }

private:
    /// Cycle of a command plus one; 0 for none yet.
    using When = std::uint64_t;
    enum class Row : std::uint8_t { kClosed, kClosedForAnother, kOpened, kReopened, kUsed };

    struct Channel {
        std::array<When, kOps> last{};
        std::array<std::array<When, spec::kBanks>, kOps> banks{};
        std::array<std::array<When, spec::kColumns>, kOps> columns{};
        std::array<When, spec::kBanks> refreshed{};
        std::array<Row, spec::kBanks> rows{};
        When pim = 0, read = 0, write = 0;
        bool in_mode = false, pim_open = false, multiplied = false;
        unsigned visit = 0;
    };

    struct Touched {
        unsigned first, count;  // banks
        bool column;
    };

    static Touched touched(const ianus_record& record);
    void pair(Channel& channel, const ianus_record& record, const Touched& where);
    void refresh(Channel& channel, const ianus_record& record);
    void rows(Channel& channel, const ianus_record& record);
    void registers(Channel& channel, spec::Op op);

    Counts counts_;
    std::vector<Channel> channels_;
};

}  // namespace ianus
