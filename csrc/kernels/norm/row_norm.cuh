// row_norm.cuh — what the two directions of the normalization of rows share.

#pragma once

#include <cmath>

#include "kernels/norm/norm.cuh"

#include "common/array.h"
#include "common/row.cuh"

namespace pynn::norm {

inline constexpr int LONG_THREADS = 1024;
inline constexpr int LONG_VECS = 2;  // in f32 they fill the 64 registers of 1024 threads

struct Layer {
  static constexpr bool CENTRED = true;
};
struct Rms {
  static constexpr bool CENTRED = false;
};

// What is added to x, and where the rounded sum goes; null: nothing is added.
template <typename T>
struct Addition {
  T const* residual;
  T* sum;

  __device__ Addition at(int64_t offset) const {
    return residual == nullptr ? *this : Addition{residual + offset, sum + offset};
  }
};

// A row, or the unrounded sum of two, in f32.
template <typename T, int WIDTH, int THREADS, int VECS>
struct Held {
  using Lane = Row<T, WIDTH, THREADS, VECS>;
  float values[VECS][WIDTH];

  __device__ void load(T const* x, T const* residual, int n) {
    Lane rx;
    Lane rr{};
    rx.load(x, n);
    if (residual != nullptr) rr.load(residual, n);
#pragma unroll
    for (int v = 0; v < VECS; ++v) {
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) {
        values[v][k] = residual != nullptr ? rx(v, k) + rr(v, k) : rx(v, k);
      }
    }
  }
  __device__ float operator()(int v, int k) const { return values[v][k]; }
};

struct RowStatistics {
  double* mean;
  double* rstd;
};

// mean and variance of a row from its three sums; in f64 for the caller to round.
struct RowMoments {
  double mean;
  double variance;
};

// The moments of a row; fold(start, f) is this thread's sum of f(x), reduce the team's sum.
template <bool CENTRED, typename Fold, typename Reduce>
__device__ RowMoments row_moments(int64_t n, float eps, Fold fold, Reduce reduce) {
  float const count = static_cast<float>(n);
  float high = 0.f;
  if constexpr (CENTRED) {
    Sum const sum = reduce(Sum(fold(0.f, [](float x) { return x; })));
    high = sum.value() / count;
  }
  TwoSums<float> part{0.f, 0.f};
  part = fold(part, [&](float x) {
    float const d = x - high;
    return TwoSums<float>{d, d * d};
  });
  TwoSums<Sum> const sums = reduce(TwoSums<Sum>{Sum(part.first), Sum(part.second)});
  float const low = CENTRED ? sums.first.value() / count : 0.f;
  float const variance = Max{}(sums.second.value() / count - low * low, 0.f);
  if (in_range(variance + eps)) return {double{high} + low, variance};

  // once more in f64
  double mean = 0.;
  if constexpr (CENTRED) {
    mean = reduce(fold(0., [](float x) { return double{x}; })) / static_cast<double>(n);
  }
  double const squares = reduce(fold(0., [&](float x) { return (x - mean) * (x - mean); }));
  return {mean, squares / static_cast<double>(n)};
}

__device__ inline double inverse_root(double variance, float eps) {
  double const v = variance + eps;
  float const narrow = static_cast<float>(v);
  return in_range(narrow) ? 1.f / sqrtf(narrow) : 1. / sqrt(v);
}

// y of xhat:  f(xhat w + b), f by its number as in norm.cuh.
template <typename T>
struct RowAffine {
  Affine<T> columns;
  int64_t function;

  __device__ float y(int64_t c, float xhat) const {
    float const z = fmaf(xhat, columns.w(c), columns.b(c));
    if (function == 0) return z;
    return function == 1 ? activation::Relu::fwd(z) : activation::Gelu::fwd(z);
  }
};

template <typename T>
struct Gradient {
  T const* x;
  T const* dy;
  T const* dsum;       // null: x was normalized alone
  double const* mean;  // null: rms
  double const* rstd;
  T const* weight;  // null: 1
  T const* bias;    // null: 0; read where f looks at z
  int64_t function;
  int64_t rows;
  int64_t n;
  T* dx;         // null: not wanted
  float* parts;  // (teams, 2, n), or null: dw and db are not wanted

  __device__ Standardize xhat(int64_t row) const {
    return Standardize(mean ? mean[row] : 0., rstd[row]);
  }
  // From the sums of g and of g times rough xhat over the row.
  __device__ Slope slope(Standardize const& xhat, TwoSums<Sum> const& sums) const {
    double const count = static_cast<double>(n);
    double const sum_g = sums.first.wide();
    double const sum_g_xhat = xhat.whole(sums.second.wide(), sum_g);
    return Slope(xhat, mean ? sum_g / count : 0., sum_g_xhat / count);
  }
  __device__ float w(int64_t c) const { return weight ? static_cast<float>(weight[c]) : 1.f; }

  // dy f'(z) at column c
  __device__ float dz(int64_t c, float xhat, float dy) const {
    if (function == 0) return dy;
    float const z = fmaf(xhat, w(c), bias ? static_cast<float>(bias[c]) : 0.f);
    return function == 1 ? activation::Relu::bwd(z, dy) : activation::Gelu::bwd(z, dy);
  }
};

// dy of a part of a row, then dz, in f32.
template <typename T, int WIDTH, int THREADS, int VECS>
struct HeldGradient {
  using Lane = Row<T, WIDTH, THREADS, VECS>;
  float values[VECS][WIDTH];

  __device__ void load(T const* dy, int n) {
    Lane rdy;
    rdy.load(dy, n);
#pragma unroll
    for (int v = 0; v < VECS; ++v) {
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) values[v][k] = rdy(v, k);
    }
  }
  // The part begins at column `first`.
  __device__ void before_f(Gradient<T> const& p, Standardize const& xhat, Lane const& rx,
                           int64_t first, int n) {
    if (p.function == 0) return;
#pragma unroll
    for (int v = 0; v < VECS; ++v) {
      if (Lane::at(v) >= n) continue;
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) {
        values[v][k] = p.dz(first + Lane::at(v) + k, xhat(rx(v, k)), values[v][k]);
      }
    }
  }
  __device__ float operator()(int v, int k) const { return values[v][k]; }
};

// Rows of a cluster of CTAs (row_norm_sm90.cu), in 16-byte steps: at most so long.
inline constexpr int64_t CLUSTER_ROW = 131072;

template <typename Kind, typename T>
void fwd_cluster(char const* op, cudaStream_t stream, T const* x, Addition<T> add, int64_t rows,
                 int64_t n, float eps, RowAffine<T> affine, T* y, RowStatistics statistics);

// dx alone.
template <typename T>
void bwd_cluster(char const* op, cudaStream_t stream, Gradient<T> p);

}  // namespace pynn::norm
