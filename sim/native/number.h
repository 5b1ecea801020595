// BF16 and FP32 as the processing unit sees them: no subnormals, one NaN.
// Ref: GDDR6-AiM notes, "Numbers"
#pragma once

#include <bit>
#include <cstdint>

namespace ianus {

constexpr std::uint32_t kSignBit = 0x80000000u;
constexpr std::uint32_t kInfinity = 0x7F800000u;
constexpr std::uint32_t kNan = 0x7FC00000u;
constexpr std::uint32_t kLeastNormal = 0x00800000u;

inline std::uint32_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }
inline float float_of(std::uint32_t bits) { return std::bit_cast<float>(bits); }

/// A subnormal becomes zero of its sign, a NaN the canonical one. Branch-free, so that loops over it vectorise.
inline float normal(float value) {
    const std::uint32_t bits = bits_of(value);
    const std::uint32_t magnitude = bits & ~kSignBit;
    std::uint32_t kept = magnitude < kLeastNormal ? bits & kSignBit : bits;
    kept = magnitude > kInfinity ? kNan : kept;
    return float_of(kept);
}

/// FP32 value of a BF16 operand, which may be subnormal.
inline float from_bf16(std::uint16_t operand) { return normal(float_of(std::uint32_t{operand} << 16)); }

/// Nearest BF16, ties to even, of an FP32 value that is not subnormal.
inline std::uint16_t to_bf16(float value) {
    const std::uint32_t bits = bits_of(value);
    if ((bits & ~kSignBit) > kInfinity) return kNan >> 16;
    return static_cast<std::uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace ianus
