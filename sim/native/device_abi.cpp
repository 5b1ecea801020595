// C ABI of the device model alone: one channel, commands one after the other. For agreement tests and measurements.

#include <cstring>
#include <new>

#include "aim_device.h"

namespace {

/// One command with its data, as numpy lays it out; `fault` and, for reads, `data` are filled in.
struct Record {
    std::uint8_t op, bank, column, fault;
    std::uint16_t row;
    std::uint8_t mode, unused;
    std::uint32_t enables;
    std::uint8_t data[ianus::spec::kColumnBytes];
};
static_assert(sizeof(Record) == 44);

}  // namespace

extern "C" {

void* ianus_device_open(int profile) {
    try {
        return new ianus::AimDevice(static_cast<ianus::Profile>(profile));
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void ianus_device_close(void* device) { delete static_cast<ianus::AimDevice*>(device); }

/// Execute `count` records in order, the whole list `times` times.
void ianus_device_run(void* device, Record* records, std::uint64_t count, std::uint64_t times) {
    auto& channel = *static_cast<ianus::AimDevice*>(device);
    ianus::AimDevice::Column out;
    for (std::uint64_t turn = 0; turn < times; ++turn) {
        for (Record* r = records; r != records + count; ++r) {
            const auto op = static_cast<ianus::spec::Op>(r->op);
            const ianus::Command command{op, r->bank, r->column, r->row, r->mode};
            r->fault = static_cast<std::uint8_t>(channel.execute(command, r->data, r->enables, out));
            if (ianus::spec::reads(op)) std::memcpy(r->data, out.data(), out.size());
        }
    }
}

}  // extern "C"
