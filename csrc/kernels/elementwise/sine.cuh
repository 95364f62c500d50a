// sine.cuh — sine and cosine in f32 for any x, without local memory.
//
//   x = q pi/2 + r, |r| <= pi/4;  sin x and cos x are a polynomial in r, which one and its sign as q
//   mod 4 says.  Errors: about an ulp.
//
//   |x| < 2^16   r = x - q pi/2, with pi/2 as three f32 and a fused product and sum for each
//   else         x in whole turns: x's 24 bits times those 96 of 1 / (2 pi) that matter after the
//                point leave q mod 4 in two bits and the fraction in 62. CUDA's own sinf does the
//                same through an array on the stack, indexed at run time: local memory.
//
//   Cody, Waite 1980, "Software Manual for the Elementary Functions";  Payne, Hanek 1983,
//   "Radian reduction for trigonometric functions";  coefficients: Moshier, Cephes, sinf.c

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "common/launch.h"

namespace pynn::sine {

struct Angle {
  float r;
  uint32_t quadrant;
};

// Word i of 1 / (2 pi), of 32 bits each: word 0 is what stands before the point.
__device__ inline uint32_t turns(uint32_t i) {
  static constexpr uint32_t WORDS[] = {0u,          0x28be60dbu, 0x9391054au, 0x7f09d5f4u,
                                       0x7d4d3770u, 0x36d8a566u, 0x4f10e410u, 0x7f9458eau};
  return WORDS[i];
}

__device__ inline Angle reduce_large(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  uint32_t const exponent = (bits >> 23 & 255) - 126;  // x = 0.mantissa 2^exponent
  uint32_t const mantissa = bits << 8 | 0x80000000u;
  uint32_t const i = exponent >> 5;
  uint32_t const shift = exponent & 31;
  uint32_t const words[4] = {turns(i), turns(i + 1), turns(i + 2), turns(i + 3)};
  auto const shifted = [&](uint32_t high, uint32_t low) {
    return static_cast<uint32_t>(((uint64_t{high} << 32 | low) << shift) >> 32);
  };
  uint64_t product = uint64_t{mantissa} * shifted(words[2], words[3]) >> 32;
  product += uint64_t{mantissa} * shifted(words[1], words[2]);
  product += uint64_t{mantissa * shifted(words[0], words[1])} << 32;

  // q, then the fraction about 0
  auto quadrant = static_cast<uint32_t>(product >> 62);
  auto fraction = static_cast<int64_t>(product << 2);
  if (fraction < 0) ++quadrant;
  constexpr double UNIT = 1.5707963267948966 / 18446744073709551616.;  // pi/2 2^-64
  auto const r = static_cast<float>(static_cast<double>(fraction) * UNIT);
  return x < 0.f ? Angle{-r, 0u - quadrant} : Angle{r, quadrant};
}

__device__ inline Angle reduce(float x) {
  if (!(fabsf(x) < 65536.f)) {
    if (!(fabsf(x) < INFINITY)) return {NAN, 0};
    return reduce_large(x);
  }
  float const q = rintf(x * 0.63661977f);
  float r = fmaf(q, -1.57079601e+00f, x);
  r = fmaf(q, -3.13916473e-07f, r);
  r = fmaf(q, -5.39030253e-15f, r);
  return {r, static_cast<uint32_t>(static_cast<int32_t>(q))};
}

// sin(r + quadrant pi/2)
__device__ inline float of(Angle angle) {
  float const r = angle.r;
  float const z = r * r;
  float const sine =
      r + r * z * (-1.6666654611e-1f + z * (8.3321608736e-3f + z * -1.9515295891e-4f));
  float const cosine =
      1.f - 0.5f * z +
      z * z * (4.166664568298827e-2f + z * (-1.388731625493765e-3f + z * 2.443315711809948e-5f));
  float const value = angle.quadrant & 1 ? cosine : sine;
  return angle.quadrant & 2 ? -value : value;
}

__device__ inline float sin(float x) {
  return x == 0.f ? x : of(reduce(x));  // -0 stays -0
}

__device__ inline float cos(float x) {
  Angle const angle = reduce(x);
  return of({angle.r, angle.quadrant + 1});
}

}  // namespace pynn::sine
