#include "commands.h"

#include <algorithm>
#include <new>

namespace ianus {
namespace {

using spec::Op;

unsigned number(Op op) { return static_cast<unsigned>(op); }

bool multiplies(Op op) { return op == Op::MACSB || op == Op::MAC4B || op == Op::MACAB; }

bool of_registers(Op op) { return op == Op::WRGB || op == Op::WRBIAS || op == Op::RDMAC || op == Op::RDAF; }

bool of_all_banks(Op op) {
    switch (op) {
        case Op::ACTAB: case Op::ACTAF: case Op::PREA: case Op::PREP: case Op::REFAB: case Op::MACAB:
        case Op::AF: case Op::EWMUL: case Op::WRBK: case Op::TMOD_IN: case Op::TMOD_OUT:
            return true;
        default:
            return false;
    }
}

/// Commands of one bank are told apart by the bank; all others concern the channel.
bool of_one_bank(unsigned op) { return spec::takes_bank(static_cast<Op>(op)); }

bool works_for_pim(Op op) {
    return multiplies(op) || of_registers(op) || op == Op::ACTAB || op == Op::ACTAF || op == Op::AF || op == Op::EWMUL ||
           op == Op::WRBK || op == Op::RDCP || op == Op::WRCP;
}

}  // namespace

CommandMonitor::Touched CommandMonitor::touched(const ianus_record& record) {
    const auto op = static_cast<Op>(record.op);
    const bool local = (record.mode & spec::kLocal) && (op == Op::MACSB || op == Op::MACAB);
    const bool column = op == Op::WRGB || (multiplies(op) && !local);
    if (of_all_banks(op)) return {0, spec::kBanks, column};
    if (!spec::takes_bank(op)) return {0, 0, column};
    const unsigned bank = record.bank % spec::kBanks;
    if (local) return {bank & ~1u, 2, column};
    return {bank, 1, column};
}

void CommandMonitor::take(const ianus_record& record) {
    Channel& channel = channels_[record.channel];
    const auto op = static_cast<Op>(record.op % kOps);
    const Touched where = touched(record);
    const When now = record.cycle + 1;
    pair(channel, record, where);
    if (op == Op::REFAB || op == Op::REFPB) refresh(channel, record);
    rows(channel, record);
    registers(channel, op);
    if (op == Op::ACTAF) ++counts_.tables[record.row % counts_.tables.size()];

    channel.last[number(op)] = now;
    for (unsigned bank = where.first; bank < where.first + where.count; ++bank) channel.banks[number(op)][bank] = now;
    if (where.column) channel.columns[number(op)][record.column % spec::kColumns] = now;
    if (op == Op::RD) channel.read = now;
    if (op == Op::WR) channel.write = now;
    if (works_for_pim(op)) channel.pim = now;
}

void CommandMonitor::pair(Channel& channel, const ianus_record& record, const Touched& where) {
    const unsigned after = record.op % kOps;
    const When now = record.cycle + 1;
    const auto count = [&](unsigned before, Scope scope, When when) {
        if (when) ++counts_.pairs[before][after][scope][std::min<When>(now - when, kDistances - 1)];
    };
    const unsigned group = where.first / spec::kBanksPerGroup;
    for (unsigned before = 1; before < kOps; ++before) {
        if (!channel.last[before]) continue;
        if (where.column && channel.columns[before][record.column % spec::kColumns])
            count(before, kSameColumn, channel.columns[before][record.column % spec::kColumns]);
        if (!of_one_bank(before) || !of_one_bank(after)) {
            count(before, kChannel, channel.last[before]);
            continue;
        }
        When same = 0, near = 0, far = 0;
        for (unsigned bank = 0; bank < spec::kBanks; ++bank) {
            When& latest = bank - where.first < where.count             ? same
                           : bank / spec::kBanksPerGroup == group ? near
                                                                  : far;
            latest = std::max(latest, channel.banks[before][bank]);
        }
        count(before, kSameBank, same);
        count(before, kSameGroup, near);
        count(before, kOtherGroup, far);
    }
}

void CommandMonitor::refresh(Channel& channel, const ianus_record& record) {
    const bool all = static_cast<Op>(record.op) == Op::REFAB;
    const When now = record.cycle + 1;
    const auto recent = [&](When when) { return when && now - when < kNear ? when : 0; };
    const When pim = recent(channel.pim), read = recent(channel.read), write = recent(channel.write);
    Traffic traffic = kRest;
    if (pim || read || write) traffic = pim >= std::max(read, write) ? kPim : read >= write ? kReads : kWrites;
    const unsigned bank = record.bank % spec::kBanks;
    const When before = channel.refreshed[all ? 0 : bank];
    if (before) {
        const When gap = std::min<When>((now - before) * 4 / spec::kRefreshInterval, kGaps - 1);
        ++counts_.refreshes[all ? spec::kBanks : bank][traffic][gap];
    }
    if (all)
        channel.refreshed.fill(now);
    else
        channel.refreshed[bank] = now;
}

void CommandMonitor::rows(Channel& channel, const ianus_record& record) {
    const auto op = static_cast<Op>(record.op);
    const unsigned bank = record.bank % spec::kBanks;
    Row& row = channel.rows[bank];
    const int kind = op == Op::ACT ? 0 : op == Op::PRE ? 1 : op == Op::RD ? 2 : op == Op::WR ? 3 : -1;
    const bool at_work = channel.pim && record.cycle + 1 - channel.pim < kNear;
    if (spec::kDualRowBuffer && kind >= 0 && at_work)
        ++counts_.beside[kind][channel.pim_open ? 1 + channel.multiplied : 0];
    switch (op) {
        case Op::ACT:
            row = row == Row::kClosedForAnother ? Row::kReopened : Row::kOpened;
            break;
        case Op::PRE:
            row = Row::kClosedForAnother;
            break;
        case Op::REFPB:
            row = Row::kClosed;
            break;
        case Op::RD:
        case Op::WR:
            ++counts_.accesses[op == Op::WR][row == Row::kUsed ? 0 : row == Row::kReopened ? 2 : 1];
            row = Row::kUsed;
            break;
        case Op::PREA:
            channel.rows.fill(Row::kClosed);
            [[fallthrough]];
        case Op::PREP:
            channel.pim_open = channel.multiplied = false;
            break;
        case Op::ACTAB:
        case Op::ACTAF:
            channel.pim_open = true;
            channel.multiplied = false;
            break;
        default:
            channel.multiplied |= multiplies(op);
    }
}

void CommandMonitor::registers(Channel& channel, Op op) {
    if (op == Op::TMOD_IN) {
        channel.in_mode = true;
        channel.visit = 0;
    } else if (op == Op::TMOD_OUT && channel.in_mode) {
        channel.in_mode = false;
        ++counts_.visits[channel.visit];
    } else if (of_registers(op)) {
        channel.visit |= op == Op::WRGB ? 1 : op == Op::WRBIAS ? 2 : op == Op::RDMAC ? 4 : 8;
    }
}

}  // namespace ianus

extern "C" {

/// A monitor alone, for commands that were seen elsewhere; NULL without memory.
ianus::CommandMonitor* ianus_monitor_open() {
    try {
        return new ianus::CommandMonitor;
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void ianus_monitor_close(ianus::CommandMonitor* monitor) { delete monitor; }

void ianus_monitor_take(ianus::CommandMonitor* monitor, const ianus_record* records, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) monitor->take(records[i]);
}

/// Counts, and how many there are.
const std::uint32_t* ianus_monitor_counts(const ianus::CommandMonitor* monitor, std::uint64_t* size) {
    *size = sizeof(ianus::CommandMonitor::Counts) / sizeof(std::uint32_t);
    return reinterpret_cast<const std::uint32_t*>(&monitor->counts());
}

}  // extern "C"
