// terms.cuh — the losses of loss.cu: each its value and its two slopes at x and t, with e beside.
//
//   with_loss(which, f)   f(loss) with the loss of that number, as loss.cu lists them
//
//   All in f32 but for squares and the terms of kl and kl_log, which have both signs and nearly
//   cancel: those are f64.

#pragma once

#include <cmath>

#include "common/launch.h"
#include "common/reduce.cuh"

namespace pynn::loss {

struct Slopes {
  float x;
  float t;
};

struct Mse {
  __device__ static double value(float x, float t, float) {
    double const d = x - t;
    return d * d;
  }
  __device__ static Slopes slopes(float x, float t, float) {
    return {2.f * (x - t), -2.f * (x - t)};
  }
};

struct L1 {
  __device__ static float value(float x, float t, float) { return fabsf(x - t); }
  __device__ static Slopes slopes(float x, float t, float) {
    float const d = x - t;
    float const sign = d > 0.f ? 1.f : d < 0.f ? -1.f : d;
    return {sign, -sign};
  }
};

struct Huber {
  __device__ static float value(float x, float t, float delta) {
    float const size = fabsf(x - t);
    float const near = size > delta ? delta : size;
    return near * (size - 0.5f * near);
  }
  __device__ static Slopes slopes(float x, float t, float delta) {
    float const d = x - t;
    float const limited = d > delta ? delta : d < -delta ? -delta : d;
    return {limited, -limited};
  }
};

struct Arctan {
  __device__ static float value(float x, float t, float) { return atanf((x - t) * (x - t)); }
  __device__ static Slopes slopes(float x, float t, float) {
    float const d = x - t;
    if (fabsf(d) > 1e9f) return {2.f / d / d / d, -2.f / d / d / d};  // d^4 would be inf
    float const square = d * d;
    float const slope = 2.f * d / (1.f + square * square);
    return {slope, -slope};
  }
};

struct Rmse : Mse {
  __device__ static Slopes slopes(float x, float t, float root) {
    float const slope = (x - t) / (root == 0.f ? 1.f : root);
    return {slope, -slope};
  }
};

struct Bce {
  __device__ static float yes(float x) { return Max{}(logf(x), -100.f); }
  __device__ static float no(float x) { return Max{}(log1pf(-x), -100.f); }
  __device__ static float value(float x, float t, float) {
    return -(t * yes(x) + (1.f - t) * no(x));
  }
  __device__ static Slopes slopes(float x, float t, float) {
    return {(x - t) / Max{}(x * (1.f - x), 1e-12f), no(x) - yes(x)};
  }
};

struct BceLogits {
  // Infinities as the greatest number: 0 times infinity would be NaN of a limit that is 0.
  __device__ static float finite(float x) {
    constexpr float LIMIT = 3.402823466e38f;
    return x > LIMIT ? LIMIT : x < -LIMIT ? -LIMIT : x;
  }
  __device__ static float softplus(float x) {  // log(1 + e^-x)
    return Max{}(-x, 0.f) + log1pf(expf(-fabsf(x)));
  }
  __device__ static float value(float x, float t, float weight) {
    x = finite(x);
    return (1.f - t) * x + (1.f + (weight - 1.f) * t) * softplus(x);
  }
  __device__ static Slopes slopes(float x, float t, float weight) {
    x = finite(x);
    float const e = expf(-fabsf(x));
    float const rest = (x >= 0.f ? e : 1.f) / (1.f + e);  // 1 - sigmoid(x)
    return {1.f - t - (1.f + (weight - 1.f) * t) * rest, (weight - 1.f) * softplus(x) - x};
  }
};

struct Kl {
  __device__ static double value(double x, double t, float) {
    return t == 0. ? 0. : t * (log(t) - x);
  }
  __device__ static Slopes slopes(float x, float t, float) {
    return {-t, t == 0.f ? 0.f : logf(t) + 1.f - x};
  }
};

struct KlLog {
  __device__ static double value(double x, double t, float) {
    return t == -INFINITY ? 0. : exp(t) * (t - x);
  }
  __device__ static Slopes slopes(float x, float t, float) {
    float const p = expf(t);
    return {-p, t == -INFINITY ? 0.f : p * (t - x + 1.f)};
  }
};

struct Hinge {
  __device__ static float value(float x, float t, float) {
    return fabsf(t) == 1.f ? Max{}(1.f - t * x, 0.f) : NAN;
  }
  __device__ static Slopes slopes(float x, float t, float) {
    if (fabsf(t) != 1.f) return {NAN, NAN};
    bool const flat = 1.f - t * x <= 0.f;
    return {flat ? 0.f : -t, flat ? 0.f : -x};
  }
};

inline constexpr int RMSE = 4;
inline constexpr int LOSSES = 10;

// f(loss) with the loss of that number.
template <typename F>
__device__ inline void with_loss(int which, F f) {
  switch (which) {
    case 0:
      return f(Mse{});
    case 1:
      return f(L1{});
    case 2:
      return f(Huber{});
    case 3:
      return f(Arctan{});
    case RMSE:
      return f(Rmse{});
    case 5:
      return f(Bce{});
    case 6:
      return f(BceLogits{});
    case 7:
      return f(Kl{});
    case 8:
      return f(KlLog{});
    default:
      return f(Hinge{});
  }
}

}  // namespace pynn::loss
