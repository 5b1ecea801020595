// The loops run over plain arrays of banks x lanes, so that the compiler turns each into a few vector instructions;
// pairs (2i, 2i+1) reduce the lanes of all banks at once, and give the balanced tree of `fp32_tree` its order.

#include "mac.h"

#include <algorithm>

#include "number.h"

namespace ianus {
namespace {

constexpr unsigned kLanes = spec::kLanes;
static_assert(kLanes == 16, "the reduction trees have four stages");

// Guard bits of `aligned` below the 16-bit products, and the exponent of the sum's last bit less the operands'
// exponent fields: two biases of 127, two fractions of 7 bits, and the guard bits.
constexpr int kGuardBits = 8;
constexpr int kUnit = 2 * 127 + 2 * 7 + kGuardBits;

int exponent_field(std::uint16_t operand) { return operand >> 7 & 0xFF; }

bool special(std::uint16_t operand) { return exponent_field(operand) == 0xFF; }

/// The operand's significand with its hidden bit; zero stands for subnormals too.
int significand(std::uint16_t operand) { return exponent_field(operand) ? 0x80 | (operand & 0x7F) : 0; }

template <unsigned Count, typename T, typename Combine>
void reduce_lanes(const T* from, T* to, Combine combine) {
    T half[Count / 2], quarter[Count / 4], eighth[Count / 8];
    for (unsigned i = 0; i < Count / 2; ++i) half[i] = combine(from[2 * i], from[2 * i + 1]);
    for (unsigned i = 0; i < Count / 4; ++i) quarter[i] = combine(half[2 * i], half[2 * i + 1]);
    for (unsigned i = 0; i < Count / 8; ++i) eighth[i] = combine(quarter[2 * i], quarter[2 * i + 1]);
    for (unsigned i = 0; i < Count / 16; ++i) to[i] = combine(eighth[2 * i], eighth[2 * i + 1]);
}

/// Sum of a group in which some operand is infinite or NaN: the IEEE result, which no finite lane changes.
float special_sum(const std::uint16_t* inputs, const std::uint16_t* weights) {
    bool positive = false, negative = false;
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        if (!special(inputs[lane]) && !special(weights[lane])) continue;
        const float product = from_bf16(inputs[lane]) * from_bf16(weights[lane]);
        if (product != product) return float_of(kNan);
        (product > 0 ? positive : negative) = true;
    }
    if (positive && negative) return float_of(kNan);
    return float_of(positive ? kInfinity : kInfinity | kSignBit);
}

/// Whether every product is a negative zero, given that every product is zero.
bool all_negative(const std::uint16_t* inputs, const std::uint16_t* weights) {
    return std::all_of(inputs, inputs + kLanes,
                       [&](const std::uint16_t& input) { return (input ^ weights[&input - inputs]) & 0x8000; });
}

/// sum * 2^(exponent - kUnit), rounded to 24 bits, flushed below the least normal number, infinite beyond the largest.
float scaled(int sum, int exponent) {
    const std::uint32_t bits = bits_of(static_cast<float>(sum));
    const int field = static_cast<int>(bits >> 23 & 0xFF) + exponent - kUnit;
    const std::uint32_t moved = bits + (static_cast<std::uint32_t>(exponent - kUnit) << 23);
    std::uint32_t result = field > 0 ? moved : bits & kSignBit;
    result = field >= 0xFF ? (bits & kSignBit) | kInfinity : result;
    return float_of(sum ? result : 0);
}

template <unsigned Banks>
void aligned(const std::uint16_t* inputs, const std::uint16_t* const* weights, float* accumulators) {
    constexpr unsigned kAll = Banks * kLanes;
    using Word = std::uint16_t;  // products and exponents fit; narrow lanes make wide vectors
    constexpr Word kSpecial = 0x4000;  // in place of an exponent: above every finite one
    alignas(64) Word input_exponent[kLanes], input_significand[kLanes];
    bool special_inputs = false;
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        input_exponent[lane] = static_cast<Word>(exponent_field(inputs[lane]));
        input_significand[lane] = static_cast<Word>(significand(inputs[lane]));
        special_inputs |= special(inputs[lane]);
    }

    alignas(64) Word exponent[kAll], product[kAll], sign[kAll], largest[Banks];
    for (unsigned bank = 0; bank < Banks; ++bank) {
        const std::uint16_t* row = weights[bank];
        for (unsigned lane = 0; lane < kLanes; ++lane) {
            const unsigned i = bank * kLanes + lane;
            const Word field = static_cast<Word>(row[lane] >> 7 & 0xFF);
            const Word multiplier = static_cast<Word>(field ? 0x80 | (row[lane] & 0x7F) : 0);
            product[i] = static_cast<Word>(static_cast<unsigned>(multiplier) * input_significand[lane]);
            const Word total = static_cast<Word>(product[i] ? field + input_exponent[lane] : 0);
            exponent[i] = field == 0xFF ? kSpecial : total;
            sign[i] = static_cast<Word>((row[lane] ^ inputs[lane]) >> 15);
        }
    }
    reduce_lanes<kAll>(exponent, largest, [](Word a, Word b) { return std::max(a, b); });

    alignas(64) int shifted[kAll], sum[Banks];
    for (unsigned bank = 0; bank < Banks; ++bank) {
        for (unsigned lane = 0; lane < kLanes; ++lane) {
            const unsigned i = bank * kLanes + lane;
            const int magnitude = (product[i] << kGuardBits) >> std::min(largest[bank] - exponent[i], 31);
            shifted[i] = sign[i] ? -magnitude : magnitude;
        }
    }
    reduce_lanes<kAll>(shifted, sum, [](int a, int b) { return a + b; });

    alignas(64) float group[Banks];
    for (unsigned bank = 0; bank < Banks; ++bank) group[bank] = scaled(sum[bank], largest[bank]);
    for (unsigned bank = 0; bank < Banks; ++bank) {
        if (special_inputs || largest[bank] == kSpecial) [[unlikely]] {
            group[bank] = special_sum(inputs, weights[bank]);
        } else if (bits_of(accumulators[bank]) == kSignBit && !largest[bank] && all_negative(inputs, weights[bank])) {
            group[bank] = -0.0f;  // the one case in which the sign of a zero sum can be seen
        }
    }
    for (unsigned bank = 0; bank < Banks; ++bank) accumulators[bank] = normal(accumulators[bank] + group[bank]);
}

template <unsigned Banks>
void fp32_tree(const std::uint16_t* inputs, const std::uint16_t* const* weights, float* accumulators) {
    constexpr unsigned kAll = Banks * kLanes;
    alignas(64) float input[kLanes], product[kAll], sum[Banks];
    for (unsigned lane = 0; lane < kLanes; ++lane) input[lane] = from_bf16(inputs[lane]);
    for (unsigned bank = 0; bank < Banks; ++bank)
        for (unsigned lane = 0; lane < kLanes; ++lane)
            product[bank * kLanes + lane] = normal(input[lane] * from_bf16(weights[bank][lane]));
    reduce_lanes<kAll>(product, sum, [](float a, float b) { return normal(a + b); });
    // A special operand gives the exact sum's result, but the tree may meet an infinity of its own making and turn to NaN.
    // An infinity or NaN stays one on its way down the tree, so finite sums need no second look.
    for (unsigned bank = 0; bank < Banks; ++bank) {
        if ((bits_of(sum[bank]) & ~kSignBit) < kInfinity) [[likely]] continue;
        const std::uint16_t* row = weights[bank];
        if (std::any_of(inputs, inputs + kLanes, special) || std::any_of(row, row + kLanes, special))
            sum[bank] = special_sum(inputs, row);
    }
    for (unsigned bank = 0; bank < Banks; ++bank) accumulators[bank] = normal(accumulators[bank] + sum[bank]);
}

template <unsigned Banks>
void step(Profile profile, const std::uint16_t* inputs, const std::uint16_t* const* weights, float* accumulators) {
    if (profile == Profile::kAligned)
        aligned<Banks>(inputs, weights, accumulators);
    else
        fp32_tree<Banks>(inputs, weights, accumulators);
}

}  // namespace

void multiply_accumulate(Profile profile, unsigned banks, const std::uint16_t* inputs,
                         const std::uint16_t* const* weights, float* accumulators) {
    if (banks == spec::kBanks)
        step<spec::kBanks>(profile, inputs, weights, accumulators);
    else if (banks == spec::kBanksPerGroup)
        step<spec::kBanksPerGroup>(profile, inputs, weights, accumulators);
    else
        step<1>(profile, inputs, weights, accumulators);
}

}  // namespace ianus
