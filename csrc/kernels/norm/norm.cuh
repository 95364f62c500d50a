// norm.cuh — what the normalizations share: the affine part and the activation after it, and means
// of more digits than f32.
//
//   y = f(z),  z = xhat w + b,  f = identity | relu | gelu of the unrounded z, which the gradient
//   computes again:  dz = dy f'(z)
//
//   A mean of 1e4 beside a spread of 1e-3 needs digits below f32's last. It is stored as f64, and
//   used as high = f32(mean) and low = mean - high:  x - mean = (x - high) - low, whose first
//   difference is exact where x lies near the mean.

#pragma once

#include <cfloat>
#include <cstdint>
#include <type_traits>

#include "common/activation.cuh"
#include "common/array.h"
#include "common/check.h"
#include "common/launch.h"

namespace pynn::norm {

struct Identity {
  __device__ static float fwd(float x) { return x; }
  __device__ static float bwd(float, float dy) { return dy; }
};

// Whether F looks at z.
template <typename F>
inline constexpr bool USES_Z = !std::is_same_v<F, Identity>;

inline void expect_activation(char const* op, int64_t activation) {
  expect(activation >= 0 && activation <= 2, op, "activation", "0 (none), 1 (relu) or 2 (gelu)",
         activation);
}

// f.template operator()<F>() for the activation of that number, as in kernels/gemm/epilogue.cuh.
template <typename F>
void dispatch_activation(char const* op, int64_t activation, F&& f) {
  expect_activation(op, activation);
  if (activation == 0) return f.template operator()<Identity>();
  if (activation == 1) return f.template operator()<activation::Relu>();
  f.template operator()<activation::Gelu>();
}

// Weight and bias of the columns; null where there is none.
template <typename T>
struct Affine {
  T const* weight;
  T const* bias;

  __device__ float w(int64_t c) const { return weight ? static_cast<float>(weight[c]) : 1.f; }
  __device__ float b(int64_t c) const { return bias ? static_cast<float>(bias[c]) : 0.f; }
};

// The power of two at or below a positive x, but not a subnormal one.
__device__ inline float power_of_two(float x) {
  return fmaxf(__int_as_float(__float_as_int(x) & 0x7f800000), FLT_MIN);
}

// xhat = (x - mean) rstd
struct Standardize {
  double exact_rstd;
  float high;
  float low;
  float rstd;
  float shift;
  float scale;  // the power of two at or below rstd

  __device__ Standardize() {}
  __device__ Standardize(double mean, double rstd_of)
      : exact_rstd(rstd_of),
        high(static_cast<float>(mean)),
        low(static_cast<float>(mean - high)),
        rstd(static_cast<float>(rstd_of)),
        shift(static_cast<float>((high - mean) * rstd_of)),
        scale(power_of_two(rstd)) {}
  __device__ float operator()(float x) const { return fmaf(x - high, rstd, shift); }

  // About xhat, but without a rounding where x lies near the mean: what sums are made of. They
  // become sums of xhat by `whole`, whose factor is not rounded either.
  __device__ float rough(float x) const { return (x - high) * scale; }
  __device__ double whole(double sum_g_rough, double sum_g) const {
    return (sum_g_rough - double{low} * scale * sum_g) * (exact_rstd / scale);
  }
};

// dx = rstd (g - mean(g) - xhat mean(g xhat)), written  rstd (g - (x - high) slope - base):  the
// two terms may cancel g nearly whole, so slope is free of the roundings of xhat and of rstd.
struct Slope {
  float high;
  float rstd;
  float slope;
  float base;

  __device__ Slope() {}
  __device__ Slope(Standardize const& xhat, double mean_g, double mean_g_xhat)
      : high(xhat.high),
        rstd(xhat.rstd),
        slope(static_cast<float>(mean_g_xhat * xhat.exact_rstd)),
        base(static_cast<float>(mean_g - double{xhat.low} * slope)) {}
  __device__ float dx(float x, float g) const { return rstd * (fmaf(high - x, slope, g) - base); }
};

// Whether f32 held the squares that made a variance, and holds its inverse; false for NaN.
__device__ inline bool in_range(float variance) {
  return variance > 1e-30f && variance < 1e30f;
}

// Two sums in one go.
template <typename V>
struct TwoSums {
  V first;
  V second;
  __device__ TwoSums operator+(TwoSums b) const { return {first + b.first, second + b.second}; }
};

// An input that may be left out, empty.
template <typename T>
T const* optional(char const* op, char const* what, Array array, Array x, int64_t columns) {
  expect_dtype(op, what, array, x.dtype);
  if (array.size() == 0) return nullptr;
  expect_shape(op, what, array, {columns});
  return array.data<T>();
}

// An output that may be left out, empty.
template <typename T>
T* wanted(char const* op, char const* what, Out out, Array like) {
  expect_dtype(op, what, out, like.dtype);
  if (out.size() == 0) return nullptr;
  return out.data<T>();
}

}  // namespace pynn::norm
