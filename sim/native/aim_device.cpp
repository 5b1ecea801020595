#include "aim_device.h"

#include <algorithm>
#include <cstring>

#include "activation.h"
#include "number.h"

namespace ianus {
namespace {

using spec::Op;

constexpr unsigned kAll = spec::kBanks;
constexpr unsigned kGroup = spec::kBanksPerGroup;

const std::uint16_t* lanes(const std::uint8_t* column) { return reinterpret_cast<const std::uint16_t*>(column); }

constexpr bool takes_column(Op op) {
    switch (op) {
        case Op::RD:
        case Op::WR:
        case Op::WRBK:
        case Op::WRGB:
        case Op::MACSB:
        case Op::MAC4B:
        case Op::MACAB:
        case Op::EWMUL:
        case Op::RDCP:
        case Op::WRCP:
            return true;
        default:
            return false;
    }
}

}  // namespace

AimDevice::Buffer& AimDevice::buffer(Op op, unsigned bank) {
    if (kBuffers == 1 || spec::of_normal_traffic(op)) return buffers_.front();
    return spec::of_pim(op) || buffers_.back().row[bank] != kClosed ? buffers_.back() : buffers_.front();
}

bool AimDevice::any_closed(Op op, unsigned first, unsigned count) {
    for (unsigned bank = first; bank < first + count; ++bank)
        if (buffer(op, bank).row[bank] == kClosed) return true;
    return false;
}

bool AimDevice::any_open(unsigned first, unsigned count) const {
    for (const Buffer& each : buffers_)
        for (unsigned bank = first; bank < first + count; ++bank)
            if (each.row[bank] != kClosed) return true;
    return false;
}

const std::uint8_t* AimDevice::cells(Op op, unsigned bank, unsigned column) {
    return memory_.row(bank, static_cast<unsigned>(buffer(op, bank).row[bank])) + column * spec::kColumnBytes;
}

std::uint8_t* AimDevice::writable_cells(Op op, unsigned bank, unsigned column) {
    return memory_.writable_row(bank, static_cast<unsigned>(buffer(op, bank).row[bank])) + column * spec::kColumnBytes;
}

Fault AimDevice::open(Op op, unsigned first, unsigned count, unsigned row) {
    if (row >= spec::kRows) return Fault::kOperand;
    Buffer& own = kBuffers == 1 || spec::of_normal_traffic(op) ? buffers_.front() : buffers_.back();
    for (unsigned bank = first; bank < first + count; ++bank)
        if (own.row[bank] != kClosed) return Fault::kRowOpen;
    std::fill_n(own.row.begin() + first, count, static_cast<int>(row));
    std::fill_n(own.table.begin() + first, count, op == Op::ACTAF);
    return Fault::kNone;
}

void AimDevice::close(Op op, unsigned first, unsigned count) {
    const bool one = kBuffers == 1;
    if (one || !spec::of_pim(op)) std::fill_n(buffers_.front().row.begin() + first, count, kClosed);
    if (one || !spec::of_normal_traffic(op)) std::fill_n(buffers_.back().row.begin() + first, count, kClosed);
}

Fault AimDevice::accumulate(Op op, unsigned first, unsigned count, unsigned column, Registers& accumulators) {
    if (any_closed(op, first, count)) return Fault::kRowClosed;
    const std::uint16_t* weights[kAll];
    for (unsigned i = 0; i < count; ++i) weights[i] = lanes(cells(op, first + i, column));
    multiply_accumulate(profile_, count, lanes(global_.data() + column * spec::kColumnBytes), weights,
                        accumulators.data() + first);
    return Fault::kNone;
}

/// As `accumulate`, for the bank `first` or, of several, for every other one; the neighbour's column takes the buffer's
/// place.
Fault AimDevice::accumulate_neighbours(Op op, unsigned first, unsigned count, unsigned column,
                                       Registers& accumulators) {
    if (any_closed(op, first & ~1u, std::max(count, 2u))) return Fault::kRowClosed;
    for (unsigned bank = first; bank < first + count; bank += 2) {
        const std::uint16_t* weights = lanes(cells(op, bank, column));
        multiply_accumulate(profile_, 1, lanes(cells(op, bank ^ 1, column)), &weights, &accumulators[bank]);
    }
    return Fault::kNone;
}

Fault AimDevice::apply_table(const Registers& accumulators) {
    if (any_closed(Op::AF, 0, kAll)) return Fault::kRowClosed;
    const auto& table = buffers_.back().table;
    if (!std::all_of(table.begin(), table.end(), [](bool each) { return each; })) return Fault::kTableRow;
    for (unsigned bank = 0; bank < kAll; ++bank) activations_[bank] = activate(accumulators[bank], lanes(cells(Op::AF, bank, 0)));
    return Fault::kNone;
}

Fault AimDevice::multiply_elements(unsigned banks, unsigned column) {
    if (any_closed(Op::EWMUL, 0, banks)) return Fault::kRowClosed;
    for (unsigned first = 0; first < banks; first += kGroup) {
        const std::uint16_t *a = lanes(cells(Op::EWMUL, first, column)),
                            *b = lanes(cells(Op::EWMUL, first + 1, column));
        std::uint16_t products[spec::kLanes];
        // Flushed first: a product of two 8-bit significands below 2^-126 is too far from it to round up to it.
        for (unsigned lane = 0; lane < spec::kLanes; ++lane)
            products[lane] = to_bf16(normal(from_bf16(a[lane]) * from_bf16(b[lane])));
        std::memcpy(writable_cells(Op::EWMUL, first + 2, column), products, sizeof products);
    }
    return Fault::kNone;
}

void AimDevice::read_results(const Registers& results, Column& out) {
    std::uint16_t rounded[spec::kLanes] = {};
    for (unsigned bank = 0; bank < kAll; ++bank) rounded[bank] = to_bf16(results[bank]);
    std::memcpy(out.data(), rounded, sizeof rounded);
}

Fault AimDevice::execute(const Command& command, const std::uint8_t* data, std::uint32_t enables, Column& out) {
    const unsigned bank = command.bank, column = command.column;
    const unsigned group = bank / kGroup * kGroup;
    const bool local = command.mode & spec::kLocal;
    Registers& accumulators = accumulators_[command.mode & spec::kSet1 ? 1 : 0];
    if ((spec::takes_bank(command.op) && bank >= kAll) || (takes_column(command.op) && column >= spec::kColumns)) {
        out.fill(0);
        return Fault::kOperand;
    }
    const auto missing_row = [&](unsigned first, unsigned count) {
        if (!any_closed(command.op, first, count)) return false;
        out.fill(0);
        return true;
    };

    switch (command.op) {
        case Op::NOP:
        case Op::TMOD_IN:
        case Op::TMOD_OUT:
            return Fault::kNone;
        case Op::ACT:
            return open(command.op, bank, 1, command.row);
        case Op::ACT4:
            return open(command.op, group, kGroup, command.row);
        case Op::ACTAB:
            return open(command.op, 0, kAll, command.row);
        case Op::ACTAF:
            if (command.row >= spec::kTableRows) return Fault::kOperand;
            return open(command.op, 0, kAll, spec::kRows - spec::kTableRows + command.row);
        case Op::PRE:
            close(command.op, bank, 1);
            return Fault::kNone;
        case Op::PREP:
            if (kBuffers == 1) return Fault::kOpcode;
            [[fallthrough]];
        case Op::PREA:
            close(command.op, 0, kAll);
            return Fault::kNone;
        case Op::REFPB:
            return any_open(bank, 1) ? Fault::kRowOpen : Fault::kNone;
        case Op::REFAB:
            return any_open(0, kAll) ? Fault::kRowOpen : Fault::kNone;
        case Op::RD:
            if (missing_row(bank, 1)) return Fault::kRowClosed;
            std::memcpy(out.data(), cells(command.op, bank, column), spec::kColumnBytes);
            return Fault::kNone;
        case Op::WR: {
            if (missing_row(bank, 1)) return Fault::kRowClosed;
            std::uint8_t* to = writable_cells(command.op, bank, column);
            for (unsigned i = 0; i < spec::kColumnBytes; ++i) to[i] = enables >> i & 1 ? data[i] : to[i];
            return Fault::kNone;
        }
        case Op::WRBK:
            if (missing_row(0, kAll)) return Fault::kRowClosed;
            for (unsigned i = 0; i < kAll; ++i) std::memcpy(writable_cells(command.op, i, column), data, spec::kColumnBytes);
            return Fault::kNone;
        case Op::WRGB:
            std::memcpy(global_.data() + column * spec::kColumnBytes, data, spec::kColumnBytes);
            return Fault::kNone;
        case Op::WRBIAS: {
            std::uint16_t bias[spec::kLanes];
            std::memcpy(bias, data, sizeof bias);
            for (unsigned i = 0; i < kAll; ++i) accumulators[i] = from_bf16(bias[i]);
            return Fault::kNone;
        }
        case Op::RDMAC:
            read_results(accumulators, out);
            return Fault::kNone;
        case Op::RDAF:
            read_results(activations_, out);
            return Fault::kNone;
        case Op::MACSB:
            return local ? accumulate_neighbours(command.op, bank, 1, column, accumulators)
                         : accumulate(command.op, bank, 1, column, accumulators);
        case Op::MAC4B:
            return accumulate(command.op, group, kGroup, column, accumulators);
        case Op::MACAB:
            return local ? accumulate_neighbours(command.op, 0, kAll, column, accumulators)
                         : accumulate(command.op, 0, kAll, column, accumulators);
        case Op::AF:
            return apply_table(accumulators);
        case Op::EWMUL:
            return multiply_elements(local ? kGroup : kAll, column);
        case Op::RDCP:
            if (missing_row(bank, 1)) return Fault::kRowClosed;
            std::memcpy(global_.data() + column * spec::kColumnBytes, cells(command.op, bank, column), spec::kColumnBytes);
            return Fault::kNone;
        case Op::WRCP:
            if (missing_row(bank, 1)) return Fault::kRowClosed;
            std::memcpy(writable_cells(command.op, bank, column), global_.data() + column * spec::kColumnBytes, spec::kColumnBytes);
            return Fault::kNone;
    }
    out.fill(0);
    return Fault::kOpcode;
}

}  // namespace ianus
