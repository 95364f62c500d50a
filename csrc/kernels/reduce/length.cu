// length.cu — norms of rows, and logarithms of sums of exponentials, over one axis.
//
//   length_fwd       y[o, c] = sqrt(sum_i x[o, i, c]^2)        length_bwd     dx = dy x / y, 0 where
//                                                                             y = 0
//   logsumexp_fwd    y[o, c] = log sum_i e^x[o, i, c]          logsumexp_bwd  dx = dy e^(x - y), 0
//                                                                             where y = -inf
//   x, dx (outer, n, inner), y, dy (outer, inner), any sizes
//   length: all f32, to which its callers widen;  logsumexp: y f32, the others T = f32 | f16 | bf16
//   workspace  f32, any size; it bounds in how many splits n is cut
//
//   Squares are added in f64, whose range holds those of every f32: no scaling, one pass. The
//   exponentials are taken relative to the greatest element so far (MaxSum).
//   layout, picture, splits: reduce.cuh;  gradients: spread.cuh
//
//   bytes  forward sizeof(T) (n + 1) outer inner;  gradient sizeof(T) (2 n + 2) outer inner
//   bound: memory;  deterministic: the cut and the order depend on the shape alone
//
//   Milakov, Gimelshein 2018, arXiv:1805.02867

#include <cmath>

#include "kernels/reduce/reduce.cuh"

#include "common/export.h"
#include "kernels/reduce/spread.cuh"

namespace pynn::reduce {

struct LengthOf {
  using Part = double;
  using State = double;
  float* y;

  __device__ static double term(float x, int64_t) { return double{x} * x; }
  __device__ void finish(int64_t output, double sum) const {
    y[output] = static_cast<float>(sqrt(sum));
  }
};

struct LogSumExpOf {
  struct Part : MaxSum {  // begins at nothing
    __device__ Part() : MaxSum{-INFINITY, Sum()} {}
    __device__ Part(MaxSum state) : MaxSum(state) {}
  };
  using State = MaxSum;
  float* y;

  __device__ static Part term(float x, int64_t) {
    return MaxSum{x, Sum(x == -INFINITY ? 0.f : 1.f)};
  }
  __device__ void finish(int64_t output, State const& state) const {
    y[output] = state.max == INFINITY ? INFINITY : state.max + logf(state.sum.value());
  }
};

// What a gradient reads: x beside dx, y and dy of the output.
template <typename T>
struct Beside {
  T const* x;
  float const* y;
  T const* dy;
  Vec<T, VEC_BYTES / sizeof(T)> rx;

  struct Output {
    float y;
    float dy;
  };
  __device__ Output output(int64_t o) const { return {y[o], static_cast<float>(dy[o])}; }
  template <int WIDTH>
  __device__ void load(int64_t i) {
    Vec<T, WIDTH> const vec = load_vec<WIDTH>(x + i);
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) rx.at[k] = vec.at[k];
  }
};

struct LengthSlope : Beside<float> {
  __device__ float dx(int k, Output const& output) const {
    return output.dy * (rx.at[k] / (output.y == 0.f ? 1.f : output.y));
  }
};

template <typename T>
struct LogSumExpSlope : Beside<T> {
  __device__ float dx(int k, typename Beside<T>::Output const& output) const {
    float const lse = output.y == -INFINITY ? 0.f : output.y;
    return output.dy * expf(static_cast<float>(this->rx.at[k]) - lse);
  }
};

void length_fwd(cudaStream_t stream, Array x, Out y, Out workspace) {
  check("length_fwd", x, y, workspace);
  expect_dtype("length_fwd", "x", x, DType::f32);
  expect_dtype("length_fwd", "y", y, DType::f32);
  choose<LengthOf, float>("length_fwd", stream, x, workspace, LengthOf{y.data<float>()});
}
PYNN_EXPORT(length_fwd, "(x, y, workspace)  y = sqrt(sum of x^2 over its middle axis)");

void logsumexp_fwd(cudaStream_t stream, Array x, Out y, Out workspace) {
  check("logsumexp_fwd", x, y, workspace);
  expect_dtype("logsumexp_fwd", "y", y, DType::f32);
  dispatch_float("logsumexp_fwd", "x", x.dtype, [&]<typename T>() {
    choose<LogSumExpOf, T>("logsumexp_fwd", stream, x, workspace, LogSumExpOf{y.data<float>()});
  });
}
PYNN_EXPORT(logsumexp_fwd, "(x, y, workspace)  y = log(sum of e^x over its middle axis)");

void check_slope(char const* name, Array x, Array y, Array dy, Array dx) {
  expect_ndim(name, "x", x, 3);
  expect_like(name, "dx", dx, x);
  expect_shape(name, "y", y, {x.dims[0], x.dims[2]});
  expect_dtype(name, "y", y, DType::f32);
  expect_shape(name, "dy", dy, y.shape());
  expect_dtype(name, "dy", dy, x.dtype);
}

void length_bwd(cudaStream_t stream, Array x, Array y, Array dy, Out dx) {
  check_slope("length_bwd", x, y, dy, dx);
  expect_dtype("length_bwd", "x", x, DType::f32);
  LengthSlope const slope{{x.data<float>(), y.data<float>(), dy.data<float>(), {}}};
  spread<float>("length_bwd", stream, dx, slope, is_vec_aligned(x.ptr));
}
PYNN_EXPORT(length_bwd, "(x, y, dy, dx)  dx = dy x / y, 0 where y = 0");

void logsumexp_bwd(cudaStream_t stream, Array x, Array y, Array dy, Out dx) {
  check_slope("logsumexp_bwd", x, y, dy, dx);
  dispatch_float("logsumexp_bwd", "x", x.dtype, [&]<typename T>() {
    LogSumExpSlope<T> const slope{{x.data<T>(), y.data<float>(), dy.data<T>(), {}}};
    spread<T>("logsumexp_bwd", stream, dx, slope, is_vec_aligned(x.ptr));
  });
}
PYNN_EXPORT(logsumexp_bwd, "(x, y, dy, dx)  dx = dy e^(x - y)");

}  // namespace pynn::reduce
