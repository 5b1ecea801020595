// The cells of one channel, kept only where something was written.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "spec.h"

namespace ianus {

/// Rows of every bank of a channel; a row takes memory from its first write on, and reads as zeros before.
class Memory {
public:
    Memory() : rows_(static_cast<std::uint8_t**>(std::calloc(spec::kBanks * spec::kRows, sizeof(std::uint8_t*)))) {
        if (!rows_) throw std::bad_alloc();
    }

    const std::uint8_t* row(unsigned bank, unsigned row) const {
        const std::uint8_t* cells = rows_[bank * spec::kRows + row];
        return cells ? cells : kZeros;
    }

    std::uint8_t* writable_row(unsigned bank, unsigned row) {
        std::uint8_t*& cells = rows_[bank * spec::kRows + row];
        if (!cells) cells = allocate();
        return cells;
    }

private:
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };

    static constexpr std::size_t kRowsPerBlock = 512;
    alignas(64) static constexpr std::uint8_t kZeros[spec::kRowBytes] = {};

    std::uint8_t* allocate() {
        const std::size_t place = used_ % kRowsPerBlock;
        if (place == 0) {
            void* block = std::aligned_alloc(64, kRowsPerBlock * spec::kRowBytes);
            if (!block) throw std::bad_alloc();
            blocks_.emplace_back(static_cast<std::uint8_t*>(block));
        }
        ++used_;
        std::uint8_t* cells = blocks_.back().get() + place * spec::kRowBytes;
        std::memset(cells, 0, spec::kRowBytes);
        return cells;
    }

    // calloc leaves the pages of a large table to the first touch, so an empty channel costs next to nothing.
    std::unique_ptr<std::uint8_t*[], Free> rows_;
    std::vector<std::unique_ptr<std::uint8_t, Free>> blocks_;
    std::size_t used_ = 0;
};

}  // namespace ianus
