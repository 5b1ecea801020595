#include "bus.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace ianus {
namespace {

constexpr std::uint64_t kBeat = spec::kColumnBytes;
constexpr std::uint64_t kBoundary = 4096;  // no burst crosses it
constexpr unsigned kSize = 5;              // log2 of the bytes of a beat
constexpr unsigned kIncrementing = 1;

/// Reads a slave may hold accepted but unanswered; more would only fill its queues.
constexpr std::uint64_t kReadsAhead = 4;

/// A byte range cut into bursts of whole beats, none across 4 KB.
class Bursts {
public:
    Bursts(std::uint64_t address, std::uint64_t size) : next_(address / kBeat * kBeat), end_(address + size) {}

    bool done() const { return next_ >= end_; }
    std::uint64_t address() const { return next_; }
    std::uint64_t beats() const {
        const std::uint64_t end = std::min(end_, (next_ / kBoundary + 1) * kBoundary);
        return (end - next_ + kBeat - 1) / kBeat;
    }
    void advance() { next_ += beats() * kBeat; }

private:
    std::uint64_t next_, end_;
};

/// The part of the beat at `beat` that lies in [address, address + size).
struct Overlap {
    Overlap(std::uint64_t beat, std::uint64_t address, std::uint64_t size)
        : first(beat < address ? address - beat : 0), count(std::min(kBeat, address + size - beat) - first) {}
    std::uint64_t first, count;
};

}  // namespace

void Bus::release() {
    ports::regs_awvalid(top_) = ports::regs_wvalid(top_) = ports::regs_bready(top_) = 0;
    ports::regs_arvalid(top_) = ports::regs_rready(top_) = 0;
    ports::mem_awvalid(top_) = ports::mem_wvalid(top_) = ports::mem_bready(top_) = 0;
    ports::mem_arvalid(top_) = ports::mem_rready(top_) = 0;
    idle_ = 0;
}

void Bus::reset() {
    release();
    hung_ = false;
    clock_.reset();
}

/// Note whether a handshake took place in this cycle; true once there was none for the time-out.
bool Bus::stalled(bool progress) {
    idle_ = progress ? 0 : idle_ + 1;
    return idle_ > timeout;
}

int Bus::give_up() {
    release();
    hung_ = true;
    return IANUS_TIMEOUT;
}

int Bus::read_register(std::uint32_t address, std::uint32_t& value) {
    if (hung_) return IANUS_HUNG;
    ports::regs_araddr(top_) = static_cast<std::uint16_t>(address);
    ports::regs_arvalid(top_) = ports::regs_rready(top_) = 1;
    for (;;) {
        clock_.settle();
        const bool asked = ports::regs_arvalid(top_) && ports::regs_arready(top_);
        const bool answered = ports::regs_rvalid(top_);
        const int response = ports::regs_rresp(top_);
        if (answered) value = ports::regs_rdata(top_);
        clock_.edge();
        if (asked) ports::regs_arvalid(top_) = 0;
        if (answered) {
            const bool early = ports::regs_arvalid(top_);
            release();
            return early ? IANUS_PROTOCOL : response;
        }
        if (stalled(asked)) return give_up();
    }
}

int Bus::write_register(std::uint32_t address, std::uint32_t value) {
    if (hung_) return IANUS_HUNG;
    ports::regs_awaddr(top_) = static_cast<std::uint16_t>(address);
    ports::regs_wdata(top_) = value;
    ports::regs_wstrb(top_) = 0xF;
    ports::regs_awvalid(top_) = ports::regs_wvalid(top_) = ports::regs_bready(top_) = 1;
    for (;;) {
        clock_.settle();
        const bool addressed = ports::regs_awvalid(top_) && ports::regs_awready(top_);
        const bool written = ports::regs_wvalid(top_) && ports::regs_wready(top_);
        const bool answered = ports::regs_bvalid(top_);
        const int response = ports::regs_bresp(top_);
        clock_.edge();
        if (addressed) ports::regs_awvalid(top_) = 0;
        if (written) ports::regs_wvalid(top_) = 0;
        if (answered) {
            const bool early = ports::regs_awvalid(top_) || ports::regs_wvalid(top_);
            release();
            return early ? IANUS_PROTOCOL : response;
        }
        if (stalled(addressed || written)) return give_up();
    }
}

int Bus::read(std::uint64_t address, std::uint8_t* data, std::uint64_t size, std::uint64_t& failed) {
    if (hung_) return IANUS_HUNG;
    if (size == 0) return IANUS_OK;
    Bursts asked(address, size), answered(address, size);
    std::uint64_t ahead = 0, beat = 0;
    int code = IANUS_OK;
    ports::mem_arid(top_) = 0;
    ports::mem_arsize(top_) = kSize;
    ports::mem_arburst(top_) = kIncrementing;
    ports::mem_rready(top_) = 1;
    while (!answered.done()) {
        const bool ask = !asked.done() && ahead < kReadsAhead;
        ports::mem_arvalid(top_) = ask;
        if (ask) {
            ports::mem_araddr(top_) = asked.address();
            ports::mem_arlen(top_) = static_cast<std::uint8_t>(asked.beats() - 1);
        }
        clock_.settle();
        const bool accepted = ask && ports::mem_arready(top_);
        const bool arrived = ports::mem_rvalid(top_);
        if (arrived) {
            const std::uint64_t place = answered.address() + beat * kBeat;
            const bool last = beat + 1 == answered.beats();
            if (ahead == 0 || last != static_cast<bool>(ports::mem_rlast(top_))) {
                code = IANUS_PROTOCOL;
                failed = answered.address();
                clock_.edge();
                give_up();
                return code;
            }
            const Overlap part(place, address, size);
            std::memcpy(data + (place + part.first - address),
                        reinterpret_cast<const std::uint8_t*>(ports::mem_rdata(top_).data()) + part.first, part.count);
            if (ports::mem_rresp(top_) && code == IANUS_OK) {
                code = ports::mem_rresp(top_);
                failed = answered.address();
            }
            ++beat;
            if (last) {
                answered.advance();
                beat = 0;
                --ahead;
            }
        }
        clock_.edge();
        if (accepted) {
            asked.advance();
            ++ahead;
        }
        if (stalled(accepted || arrived)) {
            failed = answered.address();
            return give_up();
        }
    }
    release();
    return code;
}

int Bus::write(std::uint64_t address, const std::uint8_t* data, std::uint64_t size, std::uint64_t& failed) {
    if (hung_) return IANUS_HUNG;
    if (size == 0) return IANUS_OK;
    Bursts addressed(address, size), sent(address, size), answered(address, size);
    std::uint64_t beat = 0;
    int code = IANUS_OK;
    ports::mem_awid(top_) = 0;
    ports::mem_awsize(top_) = kSize;
    ports::mem_awburst(top_) = kIncrementing;
    ports::mem_bready(top_) = 1;
    bool loaded = false;
    while (!answered.done()) {
        const bool ask = !addressed.done();
        ports::mem_awvalid(top_) = ask;
        if (ask) {
            ports::mem_awaddr(top_) = addressed.address();
            ports::mem_awlen(top_) = static_cast<std::uint8_t>(addressed.beats() - 1);
        }
        // Data never runs ahead of the address on offer, so a slave may couple the two channels.
        const bool send = !sent.done() && sent.address() <= addressed.address();
        ports::mem_wvalid(top_) = send;
        if (send && !loaded) {
            const std::uint64_t place = sent.address() + beat * kBeat;
            const Overlap part(place, address, size);
            std::memcpy(reinterpret_cast<std::uint8_t*>(ports::mem_wdata(top_).data()) + part.first,
                        data + (place + part.first - address), part.count);
            ports::mem_wstrb(top_) = static_cast<std::uint32_t>(((std::uint64_t{1} << part.count) - 1) << part.first);
            ports::mem_wlast(top_) = beat + 1 == sent.beats();
            loaded = true;
        }
        clock_.settle();
        const bool accepted = ask && ports::mem_awready(top_);
        const bool taken = send && ports::mem_wready(top_);
        const bool done = ports::mem_bvalid(top_);
        const int response = ports::mem_bresp(top_);
        clock_.edge();
        if (done) {
            if (answered.address() >= sent.address() || answered.address() >= addressed.address()) {
                failed = answered.address();
                give_up();
                return IANUS_PROTOCOL;
            }
            if (response && code == IANUS_OK) {
                code = response;
                failed = answered.address();
            }
            answered.advance();
        }
        if (accepted) addressed.advance();
        if (taken) {
            loaded = false;
            if (++beat == sent.beats()) {
                sent.advance();
                beat = 0;
            }
        }
        if (stalled(accepted || taken || done)) {
            failed = answered.address();
            return give_up();
        }
    }
    release();
    return code;
}

}  // namespace ianus
