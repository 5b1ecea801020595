// Ref: GDDR6-AiM notes, "Numbers"
//
// Matrix-vector products in both MAC profiles, SIMD over 32 matrix rows. Python (kernels.py) loads this
// through ctypes, decides for which (token, row) pairs the result is valid, and computes the others by the
// numpy definition.
//
// Why no flush, overflow or special value can occur for a valid pair
// ------------------------------------------------------------------
// Write e for an unbiased exponent sum of a non-zero weight of the row and a non-zero input of the token.
// Valid means: all operands finite, -104 <= e <= 80 for the smallest and the largest possible e, and a bias
// that is zero or has an exponent in [-119, 110]. (Subnormal operands were replaced by signed zeros before.)
//
// 1. Let u = 2^-126. Every quantity below that is not zero is a multiple of u, so at least u in magnitude:
//    - a product is s * 2^(e-14) with an integer s < 2^16: a multiple of 2^-118;
//    - an aligned sum is an integer * 2^(E-22): a multiple of 2^-126;
//    - a bias is an integer * 2^(b-7): a multiple of 2^-126;
//    - FP32 rounding of a multiple of u gives a multiple of u: either it is exact, or the unit in the last
//      place of the result is a larger power of two than u; sums and differences of multiples of u are
//      multiples of u. This holds however much cancels. So no result is subnormal, and the flush rule never
//      acts.
// 2. A group is less than 2^28 * 2^(E-22) <= 2^86 (aligned: 16 terms below 2^24 units) or 16 * 2^82 = 2^86
//    (tree). Once |acc| >= 2^112, half of its unit in the last place is at least 2^87 on either side, so
//    adding a group returns acc itself; below that one add stays below 2^113. Hence |acc| <= 2^113 after any
//    number of groups: no overflow.
// 3. aligned: weight * input is exact in FP32 (16 bits). Scaling by 2^(22-E) gives significand * 2^8 /
//    2^(E-e), exact unless it is below 2^-126, where it truncates to 0 exact or not; conversion to integer
//    truncates towards zero, which is "shift the magnitude right and drop". The scale has an exponent in
//    [22-80, 22+104] and its inverse one in [-126, 58]: both normal. The integer sum is below 2^28 in
//    magnitude; converting it to FP32 is the one rounding, and scaling it back by 2^(E-22) is exact by 1 and
//    2. An all-zero group has the sentinel E, clamped to -104: 0 * 2^126.
// 4. fp32_tree: fma(w1, x1, w0 * x0) is one rounding of the exact w0*x0 + w1*x1, as the inner product is
//    exact; so is an add of two exact products. Every add is IEEE nearest even, with its signs of zero.
//
// The one thing the aligned path does not reproduce is a group of sixteen -0 products on an accumulator of -0
// (it adds +0): only a bias of -0 can lead there, and kernels.py looks at those results again.
//
// Compile with -ffp-contract=off: the only fused operations are those written here.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include <omp.h>

namespace {

constexpr int kLanes = 16;        // columns of one group
constexpr int kRows = 32;         // rows of one block: one 64-byte vector of BF16
constexpr int kTileTokens = 64;   // tokens that share one pass over a block's weights
constexpr int16_t kZero = -8192;  // exponent of a zero operand: one is below any sum, two still fit int16
constexpr int16_t kMinTop = -104;
constexpr int kSpecial = 10000;   // exponent_high of a token with an infinity or NaN: never valid
constexpr int kNothing = 1000;    // exponent_low, and minus exponent_high, of a token of zeros: always valid
// Below this (1 to 3 ms alone) one thread: on a busy machine the last of several may wait for a time slice.
constexpr int64_t kParallelMacs = 1 << 25;

typedef float f32x16 __attribute__((vector_size(64)));
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef int16_t i16x32 __attribute__((vector_size(64)));
typedef uint16_t u16x32 __attribute__((vector_size(64)));
typedef int16_t i16x16 __attribute__((vector_size(32)));
typedef uint16_t u16x16 __attribute__((vector_size(32)));

template <typename T>
inline T load(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline f32x16 weights_as_f32(const uint16_t* from) {
  return (f32x16)(__builtin_convertvector(load<u16x16>(from), u32x16) << 16);
}

inline f32x16 power_of_two(i32x16 exponent) { return (f32x16)((u32x16)(exponent + 127) << 23); }

inline f32x16 fma(f32x16 a, float b, f32x16 c) {
  for (int i = 0; i < 16; ++i) c[i] = __builtin_fmaf(a[i], b, c[i]);
  return c;
}

// The inputs, prepared once and read by every block of rows: groups x tokens x 16 lanes.
struct Inputs {
  std::vector<float> value;
  std::vector<int32_t> exponent;  // as a pair of int16: unbiased - 127, so that the weight's may stay biased

  Inputs(const uint16_t* x, int tokens, int cols, int groups, bool with_exponent, int32_t* low, int32_t* high)
      : value(size_t(groups) * tokens * kLanes), exponent(with_exponent ? value.size() : 0) {
    for (int t = 0; t < tokens; ++t) {
      int32_t smallest = kNothing, largest = -kNothing;
      for (int g = 0; g < groups; ++g) {
        const size_t at = (size_t(g) * tokens + t) * kLanes;
        for (int k = 0; k < kLanes; ++k) {
          const int c = g * kLanes + k;
          uint32_t bits = c < cols ? x[size_t(t) * cols + c] : 0;
          const int32_t biased = (bits >> 7) & 0xFF;
          if (biased == 0) bits &= 0x8000;  // a subnormal operand is zero
          const uint32_t wide = bits << 16;
          std::memcpy(&value[at + k], &wide, sizeof wide);
          smallest = std::min(smallest, biased == 0 ? kNothing : biased - 127);
          largest = std::max(largest, biased == 0 ? -kNothing : biased == 255 ? kSpecial : biased - 127);
          if (with_exponent) {
            const uint16_t half = uint16_t(biased == 0 ? kZero : biased - 254);
            exponent[at + k] = int32_t(uint32_t(half) << 16 | half);
          }
        }
      }
      low[t] = smallest;
      high[t] = largest;
    }
  }
};

struct Tile {
  f32x16 acc[kTileTokens][2];  // 32 rows as two vectors
};

// One group of 16 columns of one block, for `tokens` tokens. w: 16 columns x 32 rows. x, e: tokens x 16
// lanes.
void aligned_group(Tile& tile, const uint16_t* w, const float* x, const int32_t* e, int tokens) {
  alignas(64) int16_t top[kTileTokens][kRows];
  i16x32 weight_exponent[kLanes];
  for (int k = 0; k < kLanes; ++k) {
    const i16x32 biased = (i16x32)((load<u16x32>(w + k * kRows) >> 7) & 0xFF);
    weight_exponent[k] = biased == 0 ? (i16x32{} + kZero) : biased;
  }
  for (int t = 0; t < tokens; ++t) {
    i16x32 largest = i16x32{} + kMinTop;
#pragma GCC unroll 16
    for (int k = 0; k < kLanes; ++k) {
      const i16x32 sum = weight_exponent[k] + (i16x32)(i32x16{} + e[t * kLanes + k]);
      largest = sum > largest ? sum : largest;
    }
    std::memcpy(top[t], &largest, sizeof largest);
  }
  for (int half = 0; half < 2; ++half) {
    f32x16 weight[kLanes];
    for (int k = 0; k < kLanes; ++k) weight[k] = weights_as_f32(w + k * kRows + half * 16);
    for (int t = 0; t < tokens; ++t) {
      const i32x16 largest = __builtin_convertvector(load<i16x16>(top[t] + half * 16), i32x16);
      const f32x16 scale = power_of_two(22 - largest);
      i32x16 even{}, odd{};
#pragma GCC unroll 8
      for (int k = 0; k < kLanes; k += 2) {
        even += __builtin_convertvector(weight[k] * x[t * kLanes + k] * scale, i32x16);
        odd += __builtin_convertvector(weight[k + 1] * x[t * kLanes + k + 1] * scale, i32x16);
      }
      tile.acc[t][half] += __builtin_convertvector(even + odd, f32x16) * power_of_two(largest - 22);
    }
  }
}

void tree_group(Tile& tile, const uint16_t* w, const float* x, const int32_t*, int tokens) {
  for (int half = 0; half < 2; ++half) {
    f32x16 weight[kLanes];
    for (int k = 0; k < kLanes; ++k) weight[k] = weights_as_f32(w + k * kRows + half * 16);
    for (int t = 0; t < tokens; ++t) {
      const float* in = x + t * kLanes;
      f32x16 pair[8];
#pragma GCC unroll 8
      for (int k = 0; k < 8; ++k)
        pair[k] = fma(weight[2 * k + 1], in[2 * k + 1], weight[2 * k] * in[2 * k]);
      const f32x16 lower = (pair[0] + pair[1]) + (pair[2] + pair[3]);
      const f32x16 upper = (pair[4] + pair[5]) + (pair[6] + pair[7]);
      tile.acc[t][half] += lower + upper;
    }
  }
}

using GroupKernel = void (*)(Tile&, const uint16_t*, const float*, const int32_t*, int);

void run_tile(GroupKernel kernel, const uint16_t* block, const Inputs& in, int groups, int all_tokens,
              int first_token, int tokens, const float* bias, int rows, float* out, int out_stride) {
  Tile tile;
  alignas(64) float start[kRows] = {};
  if (bias) std::memcpy(start, bias, rows * sizeof(float));
  for (int t = 0; t < tokens; ++t) std::memcpy(tile.acc[t], start, sizeof start);
  for (int g = 0; g < groups; ++g) {
    const size_t at = (size_t(g) * all_tokens + first_token) * kLanes;
    const int32_t* exponent = in.exponent.empty() ? nullptr : in.exponent.data() + at;
    kernel(tile, block + size_t(g) * kLanes * kRows, in.value.data() + at, exponent, tokens);
  }
  for (int t = 0; t < tokens; ++t)
    std::memcpy(out + size_t(t) * out_stride, tile.acc[t], rows * sizeof(float));
}

}  // namespace

// profile: 0 aligned, 1 fp32_tree. blocks: BF16, (rows / 32 rounded up) x (cols rounded up to 16) x 32 rows.
// x: tokens x cols. bias: `rows` FP32 values or null. out: tokens x rows. low, high: for each token the
// unbiased exponent range of its non-zero inputs, written. threads: 0 for OpenMP's default.
extern "C" void ianus_matvec(int32_t profile, const uint16_t* blocks, int32_t rows, int32_t cols,
                             const uint16_t* x, int32_t tokens, const float* bias, float* out, int32_t* low,
                             int32_t* high, int32_t threads) {
  const int groups = (cols + kLanes - 1) / kLanes;
  const int row_blocks = (rows + kRows - 1) / kRows;
  const int token_tiles = (tokens + kTileTokens - 1) / kTileTokens;
  const Inputs in(x, tokens, cols, groups, profile == 0, low, high);
  const GroupKernel kernel = profile == 0 ? aligned_group : tree_group;
  const bool parallel = int64_t(rows) * cols * tokens >= kParallelMacs;
  const int team = !parallel ? 1 : threads > 0 ? threads : omp_get_max_threads();
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(team) if (team > 1)
  for (int b = 0; b < row_blocks; ++b) {
    for (int tile = 0; tile < token_tiles; ++tile) {
      const int row = b * kRows, token = tile * kTileTokens;
      run_tile(kernel, blocks + size_t(b) * groups * kLanes * kRows, in, groups, tokens, token,
               std::min(kTileTokens, tokens - token), bias ? bias + row : nullptr,
               std::min(kRows, rows - row), out + size_t(token) * rows + row, rows);
    }
  }
}
