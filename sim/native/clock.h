// The Verilated design with its clock, and a device model on each channel. Where the design holds a device of its own, the
// model obeys the same commands and judges what that one returns.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include <verilated.h>

#include "aim_device.h"
#include "commands.h"
#include "ianus.h"
#include "ports.h"

namespace ianus {

/// Advances the prototype a cycle at a time: `settle` shows the outputs of this cycle for the inputs as they are set,
/// `edge` ends it. Between them nobody changes an input.
class Clock {
public:
    explicit Clock(Profile profile);
    ~Clock() { top.final(); }

    void settle() {
        if constexpr (!spec::kDeviceInDesign)
            for (auto& channel : channels_) present(channel);
        ports::clk(top) = 0;
        top.eval();
    }

    void edge() {
        ports::each_channel(top, [this](unsigned index, const auto& pins) {
            if constexpr (spec::kDeviceInDesign) judge(channels_[index], pins);
            if (pins.op0 | pins.op1) [[unlikely]] obey(index, pins);
        });
        ports::clk(top) = 1;
        top.eval();
        ++cycle_;
    }

    void reset();
    std::uint64_t cycle() const { return cycle_; }
    Memory& memory(unsigned channel) { return channels_[channel].device.memory(); }

    void record(std::uint64_t capacity);
    const std::vector<ianus_record>& trace() const { return trace_; }
    std::uint64_t lost() const { return lost_; }
    const std::uint64_t* counts() const { return counts_[0].data(); }
    const ianus_faults& faults() const { return faults_; }

    /// From now on, count what commands look like.
    void watch() { monitor_ = std::make_unique<CommandMonitor>(); }
    const CommandMonitor* monitor() const { return monitor_.get(); }
    VerilatedContext& context() { return context_; }

private:
    // Read data on its way, by the cycle in which it is due.
    static constexpr unsigned kInFlight = 64;
    static_assert(spec::kReadLatency < kInFlight && spec::kRegisterLatency < kInFlight);
    static_assert(spec::kReadLatency >= 1 && spec::kRegisterLatency >= 1);

    struct Channel {
        Channel(Profile profile, unsigned number) : device(profile), index(number) {}
        AimDevice device;
        unsigned index;
        unsigned pending = 0;
        bool presenting = false;
        std::array<bool, kInFlight> due{};
        std::array<AimDevice::Column, kInFlight> data{};
    };

    void present(Channel& channel) {
        if (channel.pending | channel.presenting) [[unlikely]] present_data(channel);
    }

    void present_data(Channel& channel);
    void judge(Channel& channel, const ports::ChannelPins& pins);
    void obey(unsigned index, const ports::ChannelPins& pins);
    void execute(Channel& channel, unsigned slot, const Command& command, const ports::ChannelPins& pins);
    void fault(const ianus_record& record, Fault fault);

    VerilatedContext context_;

public:
    Vtop top;

private:
    std::vector<Channel> channels_;
    std::uint64_t cycle_ = 0;
    std::vector<ianus_record> trace_;
    std::uint64_t capacity_ = 0, lost_ = 0;
    std::array<std::array<std::uint64_t, 32>, spec::kChannels> counts_{};
    ianus_faults faults_{};
    std::unique_ptr<CommandMonitor> monitor_;
};

}  // namespace ianus
