// reduce.cuh — sums, maxima and (max, sum) pairs over the threads that share a row.
//
//   Team<1..32>        a warp or a power-of-two part of one, by butterfly shuffles
//   Team<64..1024>     a whole CTA: warps by shuffles, then their results through shared memory
//
//   Team<256>           lane  0  1  2  3      butterfly: every lane ends with the same bits, since
//   warp 0  ─┐                ╳     ╳         each operation below commutes bit for bit
//   ...      ├─► slots[8]     0  1  2  3
//   warp 7  ─┘       │        ╲╱ ╲╱           log2(32) shuffles, a barrier, log2(warps) shuffles
//                    └─► every warp reduces the slots again: no second barrier, no broadcast
//
//   The order is fixed, so the same inputs give the same bits in every run. Sums over threads carry
//   what rounding lost: the error is that of one thread's own sum, however many threads there are.
//
//   Knuth, The Art of Computer Programming 4.2.2 (two-sum);  Milakov, Gimelshein 2018,
//   arXiv:1805.02867 (online max and sum)

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/launch.h"
#include "common/shared.cuh"

namespace pynn {

struct Add {
  template <typename V>
  __device__ V operator()(V a, V b) const {
    return a + b;
  }
};

// The greater; NaN if one is there, which fmaxf would drop.
struct Max {
  __device__ float operator()(float a, float b) const { return a > b || a != a ? a : b; }
};

// The lesser; NaN if one is there.
struct Min {
  __device__ float operator()(float a, float b) const { return a < b || a != a ? a : b; }
};

// A sum and what its roundings lost (Knuth's two-sum), so that joining threads costs no digits.
struct Sum {
  float high;
  float low;
  __device__ Sum(float value = 0.f) : high(value), low(0.f) {}
  __device__ explicit Sum(double value)
      : high(static_cast<float>(value)), low(static_cast<float>(value - high)) {}
  // a b without a rounding
  __device__ static Sum product(float a, float b) {
    Sum exact(a * b);
    exact.low = fmaf(a, b, -exact.high);
    return exact;
  }
  __device__ Sum operator+(Sum b) const {
    Sum sum;
    sum.high = high + b.high;
    float const part = sum.high - high;
    float const lost = (high - (sum.high - part)) + (b.high - part);
    sum.low = (low + b.low) + lost;
    return sum;
  }
  // inf - inf in `low` would make NaN of a sum that is inf
  __device__ float value() const { return fabsf(high) == INFINITY ? high : high + low; }
  __device__ double wide() const {
    return fabsf(high) == INFINITY ? double{high} : double{high} + low;
  }
};

// What an exponent is taken relative to: the greatest element, but 0 for a row of -inf, where
// x - max would be NaN.
__device__ inline float finite_peak(float max) {
  return max == -INFINITY ? 0.f : max;
}

// max of x and sum of e^(x - max) over a part of a row. Starts at {-inf, 0}.
struct MaxSum {
  float max;
  Sum sum;

  // The sum relative to a greater maximum.
  __device__ Sum relative_to(float greater) const {
    if (max == greater) return sum;
    float const scale = expf(max - greater);
    Sum scaled;
    scaled.high = __fmul_rn(sum.high, scale);  // no fused product and sum: a + b must be b + a
    scaled.low = __fmul_rn(sum.low, scale);
    return scaled;
  }
  __device__ MaxSum operator+(MaxSum b) const {
    float const greater = Max{}(max, b.max);
    return {greater, relative_to(greater) + b.relative_to(greater)};
  }
};

// __shfl_xor_sync of any struct of 32-bit words.
template <typename V>
__device__ inline V shuffle_xor(unsigned mask, V value, int lanes) {
  static_assert(sizeof(V) % 4 == 0, "a shuffle moves 32-bit words");
  constexpr int WORDS = sizeof(V) / 4;
  unsigned words[WORDS];
  std::memcpy(words, &value, sizeof value);
#pragma unroll
  for (int i = 0; i < WORDS; ++i) words[i] = __shfl_xor_sync(mask, words[i], lanes);
  std::memcpy(&value, words, sizeof value);
  return value;
}

template <int THREADS>
struct Team {
  static_assert(THREADS >= 1 && THREADS <= 1024 && (THREADS & (THREADS - 1)) == 0,
                "a team has 1, 2, 4, ... 1024 threads");
  static constexpr int LANES = THREADS < 32 ? THREADS : 32;
  static constexpr int WARPS = THREADS / LANES;

  // Shared memory of one reduction. Two reductions on one set of slots need a barrier between.
  template <typename V>
  using Slots = V[WARPS];

  __device__ static int rank() { return static_cast<int>(threadIdx.x) % THREADS; }

  // The lanes of this team: another team of the warp may have gone.
  __device__ static unsigned mask() {
    if constexpr (LANES == 32) return ~0u;
    return ((1u << (LANES % 32)) - 1) << (threadIdx.x % 32 / LANES * LANES);
  }

  template <int WIDTH, typename V, typename Op>
  __device__ static V butterfly(V value, Op op) {
#pragma unroll
    for (int lanes = WIDTH / 2; lanes > 0; lanes /= 2) {
      value = op(value, shuffle_xor(mask(), value, lanes));
    }
    return value;
  }

  // The whole team's value, in every thread of it; every thread of the team must call.
  template <typename V, typename Op>
  __device__ static V reduce(V value, Op op, Slots<V>& slots) {
    value = butterfly<LANES>(value, op);
    if constexpr (WARPS > 1) {
      if (threadIdx.x % 32 == 0) slots[threadIdx.x / 32] = value;
      __syncthreads();
      value = butterfly<WARPS>(slots[threadIdx.x % WARPS], op);
    }
    return value;
  }
};

}  // namespace pynn
