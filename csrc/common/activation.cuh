// activation.cuh — the activations that other kernels fuse: relu, gelu, gelu_tanh, silu, in f32.
//
//   fwd(x) -> y;  bwd(saved, dy) -> dx, where saved is x, or for relu x or y
//
//   Exponentials are of -|z|, so none overflows, and a 1 - f that would cancel is written out in
//   positive terms. So the left tails keep relative precision: gelu(-10) = -7.6e-23, where
//   x/2 (1 + erf) in f32 gives 0.
//
//   Quotients with a divisor known to lie in [1, 5] are __fdividef: 2 ulp, and a quarter of the
//   instructions of an exact division, which would make issue the bound in 16 bits.

#pragma once

#include <cmath>

#include "common/launch.h"

namespace pynn::activation {

// |x| e^-|x| is 0 in f32 beyond this, subnormals included; there f and f' are their limits.
inline constexpr float EXP_TAIL = 110.f;
// The same for x Phi(-x) of gelu and for x / (1 + exp(2 u(x))) of gelu_tanh.
inline constexpr float GELU_TAIL = 15.f;

// s(x) = 1 / (1 + e^-x) for x >= 0,  e^x / (1 + e^x) for x < 0
__device__ inline float logistic(float x) {
  float const e = expf(-fabsf(x));
  return __fdividef(x < 0.f ? e : 1.f, 1.f + e);
}

// y = max(x, 0);  dy/dx = [y > 0]
struct Relu {
  __device__ static float fwd(float x) { return x <= 0.f ? 0.f : x; }
  __device__ static float bwd(float y, float dy) { return y <= 0.f ? 0.f : dy; }
};

// y = x s(x);  dy/dx = s (1 + x (1 - s)) = s (1 + x s(-x))
struct Silu {
  __device__ static float fwd(float x) { return x < -EXP_TAIL ? -0.f : x * logistic(x); }
  __device__ static float bwd(float x, float dy) {
    if (fabsf(x) > EXP_TAIL) return x > 0.f ? dy : 0.f;
    float const e = expf(-fabsf(x));
    float const larger = __fdividef(1.f, 1.f + e);  // s(|x|)
    float const smaller = e * larger;               // s(-|x|)
    return x < 0.f ? dy * smaller * (1.f + x * larger) : dy * larger * (1.f + x * smaller);
  }
};

// Mills' ratio Phi(-a) / phi(a) for a in [0, 15] = t P(t),  t = 1 / (1 + 0.35 a).  P was fitted for
// the least relative error, 3e-8; in f32 it is 3e-7. An element of bf16 takes 49 instructions in
// gelu_fwd and 53 in gelu_bwd; with erfcf it would be 64 and 83.
__device__ inline float mills_ratio(float a) {
  float const t = __fdividef(1.f, 1.f + 0.35f * a);
  float p = -0.0731031393f;
  p = p * t + 0.361106967f;
  p = p * t - 0.641451022f;
  p = p * t + 0.399538974f;
  p = p * t - 0.0583139164f;
  p = p * t + 0.264636835f;
  p = p * t + 0.300332903f;
  p = p * t + 0.350587901f;
  p = p * t + 0.349978594f;
  return t * p;
}

// y = x Phi(x);  dy/dx = Phi(x) + x phi(x);  phi(x) = e^(-x^2/2) / sqrt(2 pi),  Phi its integral
struct Gelu {
  static constexpr float RSQRT_2PI = 0.39894228040143268f;
  __device__ static float fwd(float x) {
    if (fabsf(x) > GELU_TAIL) return x > 0.f ? x : -0.f;
    float const phi = RSQRT_2PI * expf(-0.5f * x * x);
    float const left = phi * mills_ratio(fabsf(x));  // Phi(-|x|)
    return x < 0.f ? x * left : x - x * left;
  }
  __device__ static float bwd(float x, float dy) {
    if (fabsf(x) > GELU_TAIL) return x > 0.f ? dy : 0.f;
    float const phi = RSQRT_2PI * expf(-0.5f * x * x);
    float const left = phi * mills_ratio(fabsf(x));  // Phi(-|x|)
    return dy * ((x < 0.f ? left : 1.f - left) + x * phi);
  }
};

// y = x/2 (1 + tanh u) = x s(z),  z = 2u = a x + b x^3,  a = 2 sqrt(2/pi),  b = 0.044715 a
// dy/dx = s(z) + x s(z) s(-z) (a + 3 b x^2)
struct GeluTanh {
  static constexpr float A = 1.5957691216057308f;
  static constexpr float B = 0.044715f * A;
  __device__ static float fwd(float x) {
    return x < -GELU_TAIL ? -0.f : x * logistic(x * (A + B * x * x));
  }
  __device__ static float bwd(float x, float dy) {
    if (fabsf(x) > GELU_TAIL) return x > 0.f ? dy : 0.f;
    float const e = expf(-fabsf(x * (A + B * x * x)));
    float const larger = __fdividef(1.f, 1.f + e);  // s(|z|)
    float const smaller = e * larger;               // s(-|z|)
    float const s = x < 0.f ? smaller : larger;
    return dy * (s + x * larger * smaller * (A + 3.f * B * x * x));
  }
};

}  // namespace pynn::activation
