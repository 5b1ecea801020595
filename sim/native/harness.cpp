// The C ABI over clock, bus and devices. See ianus.h for the contract of each function.

#include <algorithm>
#include <cstring>
#include <new>

#include "bus.h"
#include "clock.h"
#include "coverage.h"
#include "ianus.h"

namespace spec = ianus::spec;

struct ianus_simulation {
    explicit ianus_simulation(ianus::Profile profile) : clock(profile), bus(clock) {}
    ianus::Clock clock;
    ianus::Bus bus;
};

namespace {

constexpr std::uint64_t kMemoryBytes =
    std::uint64_t{spec::kRows} * spec::kChannels * spec::kBanks * spec::kRowBytes;

/// Visit [address, address + size) piece by piece, each inside one row of one bank.
template <typename Visit>
int each_row(std::uint64_t address, std::uint64_t size, Visit visit) {
    if (address > kMemoryBytes || size > kMemoryBytes - address) return IANUS_RANGE;
    while (size) {
        // Address map: row | channel | bank | column, most significant first.
        const std::uint64_t offset = address % spec::kRowBytes, line = address / spec::kRowBytes;
        const auto bank = static_cast<unsigned>(line % spec::kBanks);
        const auto channel = static_cast<unsigned>(line / spec::kBanks % spec::kChannels);
        const auto row = static_cast<unsigned>(line / spec::kBanks / spec::kChannels);
        const std::uint64_t count = std::min(size, spec::kRowBytes - offset);
        visit(channel, bank, row, offset, count);
        address += count;
        size -= count;
    }
    return IANUS_OK;
}

}  // namespace

extern "C" {

ianus_simulation* ianus_open(int profile) {
    try {
        return new ianus_simulation(static_cast<ianus::Profile>(profile));
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void ianus_close(ianus_simulation* s) { delete s; }

void ianus_reset(ianus_simulation* s) { s->bus.reset(); }

int ianus_reg_read(ianus_simulation* s, std::uint32_t address, std::uint32_t* value) {
    return s->bus.read_register(address, *value);
}

int ianus_reg_write(ianus_simulation* s, std::uint32_t address, std::uint32_t value) {
    return s->bus.write_register(address, value);
}

int ianus_mem_read(ianus_simulation* s, std::uint64_t address, void* data, std::uint64_t size, std::uint64_t* failed) {
    return s->bus.read(address, static_cast<std::uint8_t*>(data), size, *failed);
}

int ianus_mem_write(ianus_simulation* s, std::uint64_t address, const void* data, std::uint64_t size,
                    std::uint64_t* failed) {
    return s->bus.write(address, static_cast<const std::uint8_t*>(data), size, *failed);
}

int ianus_preload(ianus_simulation* s, std::uint64_t address, const void* data, std::uint64_t size) {
    auto* from = static_cast<const std::uint8_t*>(data);
    return each_row(address, size, [&](unsigned channel, unsigned bank, unsigned row, auto offset, auto count) {
        std::memcpy(s->clock.memory(channel).writable_row(bank, row) + offset, from, count);
        from += count;
    });
}

int ianus_peek(ianus_simulation* s, std::uint64_t address, void* data, std::uint64_t size) {
    auto* to = static_cast<std::uint8_t*>(data);
    return each_row(address, size, [&](unsigned channel, unsigned bank, unsigned row, auto offset, auto count) {
        std::memcpy(to, s->clock.memory(channel).row(bank, row) + offset, count);
        to += count;
    });
}

int ianus_wait_irq(ianus_simulation* s, std::uint64_t max_cycles) {
    for (std::uint64_t i = 0; i < max_cycles; ++i) {
        s->clock.settle();
        const bool irq = ianus::ports::irq(s->clock.top);
        s->clock.edge();
        if (irq) return 1;
    }
    return 0;
}

void ianus_idle(ianus_simulation* s, std::uint64_t cycles) {
    for (std::uint64_t i = 0; i < cycles; ++i) {
        s->clock.settle();
        s->clock.edge();
    }
}

std::uint64_t ianus_cycles(const ianus_simulation* s) { return s->clock.cycle(); }

void ianus_set_timeout(ianus_simulation* s, std::uint64_t cycles) { s->bus.timeout = cycles; }

int ianus_trace_start(ianus_simulation* s, std::uint64_t capacity) {
    try {
        s->clock.record(capacity);
        return 0;
    } catch (const std::exception&) {
        return -1;
    }
}

const ianus_record* ianus_trace(const ianus_simulation* s, std::uint64_t* count, std::uint64_t* lost) {
    *count = s->clock.trace().size();
    *lost = s->clock.lost();
    return s->clock.trace().data();
}

const std::uint64_t* ianus_counts(const ianus_simulation* s) { return s->clock.counts(); }

void ianus_faults_get(const ianus_simulation* s, ianus_faults* faults) { *faults = s->clock.faults(); }

int ianus_watch(ianus_simulation* s) {
    try {
        s->clock.watch();
        return 0;
    } catch (const std::bad_alloc&) {
        return -1;
    }
}

const void* ianus_monitor(const ianus_simulation* s) { return s->clock.monitor(); }

int ianus_code_counts(ianus_simulation* s, const char* path) { return ianus::write_counts(s->clock.context(), path); }

}  // extern "C"
