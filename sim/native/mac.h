// One multiply-accumulate step of a group of processing units: 16 lanes each, one shared operand.
// Ref: GDDR6-AiM notes, "Numbers"
#pragma once

#include <cstdint>

#include "spec.h"

namespace ianus {

/// The named arithmetics. The numbers are part of the C ABI.
enum class Profile : int { kAligned = 0, kFp32Tree = 1 };

/// accumulators[i] += sum over lanes of weights[i][lane] * inputs[lane], for i < banks, in the profile's arithmetic.
///
/// banks: 1, spec::kBanksPerGroup or spec::kBanks. weights and inputs: BF16, 16 values at each pointer.
void multiply_accumulate(Profile profile, unsigned banks, const std::uint16_t* inputs,
                         const std::uint16_t* const* weights, float* accumulators);

}  // namespace ianus
