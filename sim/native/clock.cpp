#include "clock.h"

#include <cstring>

namespace ianus {
namespace {

constexpr unsigned kResetCycles = 4;

}  // namespace

// The context creates its pool with the model, so the number of threads comes first.
Clock::Clock(Profile profile) : top((context_.threads(1), &context_), "top") {
    channels_.reserve(spec::kChannels);
    for (unsigned index = 0; index < spec::kChannels; ++index) channels_.emplace_back(profile, index);
    reset();
}

void Clock::reset() {
    for (Channel& channel : channels_) {
        channel.device.reset();
        channel.due.fill(false);
        channel.presenting = channel.pending != 0;  // so that rvalid falls
        channel.pending = 0;
    }
    if (monitor_) monitor_->reset();
    ports::rst(top) = 1;
    for (unsigned i = 0; i < kResetCycles; ++i) {
        settle();
        // What stands on the bus while the design is in reset is no command.
        ports::clk(top) = 1;
        top.eval();
        ++cycle_;
    }
    ports::rst(top) = 0;
}

void Clock::present_data(Channel& channel) {
    const auto pins = ports::channel(top, channel.index);
    const std::size_t place = cycle_ % kInFlight;
    channel.presenting = channel.due[place];
    pins.rvalid = channel.presenting;
    if (!channel.presenting) return;
    std::memcpy(pins.rdata.data(), channel.data[place].data(), spec::kColumnBytes);
    channel.due[place] = false;
    --channel.pending;
}

/// Hold what the design's own device returns in this cycle to what the model has for it.
void Clock::judge(Channel& channel, const ports::ChannelPins& pins) {
    const std::size_t place = cycle_ % kInFlight;
    const bool due = channel.due[place];
    if (!due && !pins.rvalid) [[likely]] return;
    if (due != static_cast<bool>(pins.rvalid) ||
        std::memcmp(pins.rdata.data(), channel.data[place].data(), spec::kColumnBytes))
        fault({cycle_, 0, static_cast<std::uint8_t>(channel.index), 0, 0, 0, 0, 0}, Fault::kDataDiffers);
    channel.pending -= due;
    channel.due[place] = false;
}

void Clock::obey(unsigned index, const ports::ChannelPins& pins) {
    const auto op0 = static_cast<spec::Op>(pins.op0), op1 = static_cast<spec::Op>(pins.op1);
    Channel& channel = channels_[index];
    if (op0 != spec::Op::NOP)
        execute(channel, 0, {op0, pins.bank0, pins.column0, pins.row0, pins.mode0}, pins);
    if (op1 != spec::Op::NOP) execute(channel, 1, {op1, 0, pins.column1, 0, pins.mode1}, pins);
    if (spec::writes(op0) && spec::writes(op1))
        fault({cycle_, 0, static_cast<std::uint8_t>(index), 1, pins.op1, 0, pins.column1, pins.mode1}, Fault::kDataClash);
}

void Clock::execute(Channel& channel, unsigned slot, const Command& command, const ports::ChannelPins& pins) {
    const auto number = static_cast<std::uint8_t>(command.op);
    const ianus_record record{cycle_,  command.row,    static_cast<std::uint8_t>(channel.index), static_cast<std::uint8_t>(slot),
                              number, command.bank, command.column, command.mode};
    ++counts_[channel.index][number];
    if (trace_.size() < capacity_)
        trace_.push_back(record);
    else if (capacity_)
        ++lost_;

    if (monitor_) [[unlikely]] monitor_->take(record);

    std::uint8_t data[spec::kColumnBytes];
    std::memcpy(data, pins.wdata.data(), sizeof data);
    AimDevice::Column out;
    const Fault found = channel.device.execute(command, data, pins.wmask, out);
    if (found != Fault::kNone) [[unlikely]] fault(record, found);
    if (!spec::reads(command.op)) return;

    const unsigned latency = command.op == spec::Op::RD ? spec::kReadLatency : spec::kRegisterLatency;
    const std::size_t place = (cycle_ + latency) % kInFlight;
    if (channel.due[place])
        fault(record, Fault::kDataClash);
    else
        ++channel.pending;
    channel.due[place] = true;
    channel.data[place] = out;
}

void Clock::fault(const ianus_record& record, Fault found) {
    if (faults_.count++ == 0) {
        faults_.fault = static_cast<std::int32_t>(found);
        faults_.first = record;
    }
}

void Clock::record(std::uint64_t capacity) {
    trace_ = {};
    trace_.reserve(capacity);
    capacity_ = capacity;
    lost_ = 0;
}

}  // namespace ianus
