// Piecewise linear activation by look-up in a table row of the bank.
// Ref: GDDR6-AiM notes, "Numbers"; table format: pim_model/numerics/activation.py
#pragma once

#include <cstdint>

namespace ianus {

/// The activation of x by the table in a row of the bank, BF16 entries; in a row shorter than a table addresses wrap.
float activate(float x, const std::uint16_t* table);

}  // namespace ianus
