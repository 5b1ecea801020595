#include "activation.h"

#include "number.h"
#include "spec.h"

namespace ianus {
namespace {

constexpr unsigned kEntries = spec::kRowBytes / 2;

// Table of one function, in BF16 entries: for each sign, 15 octaves of 16 segments of pairs (value, slope), and in the
// place of a sixteenth octave the pair (offset, scale) of the linear zone.
constexpr unsigned kSignStride = 512;
constexpr unsigned kLinear = 480;
constexpr int kOctaves = 15;
constexpr int kSegmentBits = 4;
constexpr int kFractionBits = 8;

// Exponent field of 2^-11: octave k >= 1 starts at 2^(k - 11).
constexpr int kOctaveZero = 127 - 11;

/// start + slope * distance; the product of two eight-bit significands is exact.
float line(float start, float slope, float distance) { return normal(start + normal(slope * distance)); }

}  // namespace

float activate(float x, const std::uint16_t* table) {
    if (x != x) return float_of(kNan);
    const std::uint32_t bits = bits_of(x);
    const unsigned half = (bits >> 31) * kSignStride;
    const auto entry = [table](unsigned index) { return from_bf16(table[index % kEntries]); };
    const int field = static_cast<int>(bits >> 23 & 0xFF);
    int octave = field - kOctaveZero;
    if (octave >= kOctaves) {
        const float offset = entry(half + kLinear), scale = entry(half + kLinear + 1);
        if (scale == 0) return offset;
        return line(offset, scale, float_of(bits & 0xFFFF0000u));
    }
    // Position inside the octave as a fixed-point number: the fraction, or below 2^-10, where octave 0 is linear from
    // zero, the whole significand shifted to its place.
    std::uint32_t position = bits & 0x7FFFFFu;
    if (octave <= 0) {
        position |= field ? 0x800000u : 0;
        const int shift = 1 - octave;
        position = shift < 24 ? position >> shift : 0;
        octave = 0;
    }
    const unsigned segment = position >> (23 - kSegmentBits);
    const unsigned fraction = position >> (23 - kSegmentBits - kFractionBits) & ((1u << kFractionBits) - 1);
    const unsigned pair = half + 2 * ((static_cast<unsigned>(octave) << kSegmentBits) + segment);
    return line(entry(pair), entry(pair + 1), static_cast<float>(fraction) / (1 << kFractionBits));
}

}  // namespace ianus
