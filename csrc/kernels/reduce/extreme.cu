// extreme.cu — max, min, argmax and argmin over one axis, and the gradient of max and min.
//
//   y[o, c] = max_i x[o, i, c]              dx = dy / ties where x = y, else 0
//   argmax: the first i with x[o, i, c] = y[o, c], int64
//
//   x, dx (outer, n, inner), y, dy, ties (outer, inner), n > 0;  T = f32 | f16 | bf16
//   ties  f32: how many elements equal y, counted in the same pass; exact up to 2^24
//   workspace  f32, any size, as in sum.cu
//
//   NaN is greater than everything for max and argmax, less than everything for min and argmin, and
//   equal to NaN. A minimum is the maximum of -x, whose sign costs a product and no second kernel.
//
//   layout, picture, splits: reduce.cuh;  gradient: spread.cuh
//   bytes  forward (sizeof(T) (n + 1) + 4) outer inner, gradient twice that      bound: memory
//   deterministic

#include <cmath>

#include "kernels/reduce/reduce.cuh"

#include "common/export.h"
#include "kernels/reduce/spread.cuh"

namespace pynn::reduce {

template <typename T>
struct ExtremeOf {
  struct Part {
    float value = -INFINITY;
    unsigned ties = 0;
    __device__ Part operator+(Part b) const {
      bool const equal = value == b.value || (value != value && b.value != b.value);
      if (equal) return {value, ties + b.ties};
      return value > b.value || value != value ? *this : b;
    }
  };
  using State = Part;
  float sign;
  T* y;
  float* ties;

  __device__ Part term(float x, int64_t) const { return {sign * x, 1}; }
  __device__ void finish(int64_t output, State const& state) const {
    y[output] = static_cast<T>(sign * state.value);
    ties[output] = static_cast<float>(state.ties);
  }
};

struct IndexOf {
  struct Part {
    int64_t index = INT64_MAX;
    float value = -INFINITY;
    int nothing = 0;  // a shuffle moves whole words
    __device__ Part operator+(Part b) const {
      bool const equal = value == b.value || (value != value && b.value != b.value);
      if (equal) return index < b.index ? *this : b;
      return value > b.value || value != value ? *this : b;
    }
  };
  using State = Part;
  float sign;
  int64_t* y;

  __device__ Part term(float x, int64_t i) const { return {i, sign * x, 0}; }
  __device__ void finish(int64_t output, State const& state) const { y[output] = state.index; }
};

// dx = dy / ties where x = y
template <typename T>
struct Hit {
  T const* x;
  T const* y;
  float const* ties;
  T const* dy;
  Vec<T, VEC_BYTES / sizeof(T)> rx;

  struct Output {
    float y;
    float share;
  };
  __device__ Output output(int64_t o) const {
    return {static_cast<float>(y[o]), static_cast<float>(dy[o]) / ties[o]};
  }
  template <int WIDTH>
  __device__ void load(int64_t i) {
    Vec<T, WIDTH> const vec = load_vec<WIDTH>(x + i);
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) rx.at[k] = vec.at[k];
  }
  __device__ float dx(int k, Output const& output) const {
    float const value = static_cast<float>(rx.at[k]);
    bool const hit = value == output.y || (value != value && output.y != output.y);
    return hit ? output.share : 0.f;
  }
};

void extreme(char const* op, cudaStream_t stream, float sign, Array x, Out y, Out ties,
             Out workspace) {
  check(op, x, y, workspace);
  expect_dtype(op, "y", y, x.dtype);
  expect_shape(op, "ties", ties, y.shape());
  expect_dtype(op, "ties", ties, DType::f32);
  expect(x.dims[1] > 0, op, "x", "at least one element along the middle axis", x.shape());
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    choose<ExtremeOf<T>, T>(op, stream, x, workspace,
                            ExtremeOf<T>{sign, y.data<T>(), ties.data<float>()});
  });
}

void index(char const* op, cudaStream_t stream, float sign, Array x, Out y, Out workspace) {
  check(op, x, y, workspace);
  expect_dtype(op, "y", y, DType::i64);
  expect(x.dims[1] > 0, op, "x", "at least one element along the middle axis", x.shape());
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    choose<IndexOf, T>(op, stream, x, workspace, IndexOf{sign, y.data<int64_t>()});
  });
}

void max_fwd(cudaStream_t stream, Array x, Out y, Out ties, Out workspace) {
  extreme("max_fwd", stream, 1.f, x, y, ties, workspace);
}
PYNN_EXPORT(max_fwd, "(x, y, ties, workspace)  y = max of x over its middle axis, ties its number");

void min_fwd(cudaStream_t stream, Array x, Out y, Out ties, Out workspace) {
  extreme("min_fwd", stream, -1.f, x, y, ties, workspace);
}
PYNN_EXPORT(min_fwd, "(x, y, ties, workspace)  y = min of x over its middle axis, ties its number");

void argmax_fwd(cudaStream_t stream, Array x, Out y, Out workspace) {
  index("argmax_fwd", stream, 1.f, x, y, workspace);
}
PYNN_EXPORT(argmax_fwd, "(x, y, workspace)  y = index of the first greatest over the middle axis");

void argmin_fwd(cudaStream_t stream, Array x, Out y, Out workspace) {
  index("argmin_fwd", stream, -1.f, x, y, workspace);
}
PYNN_EXPORT(argmin_fwd, "(x, y, workspace)  y = index of the first least over the middle axis");

void extreme_bwd(cudaStream_t stream, Array x, Array y, Array ties, Array dy, Out dx) {
  expect_ndim("extreme_bwd", "x", x, 3);
  expect_like("extreme_bwd", "dx", dx, x);
  expect_shape("extreme_bwd", "y", y, {x.dims[0], x.dims[2]});
  expect_dtype("extreme_bwd", "y", y, x.dtype);
  expect_like("extreme_bwd", "dy", dy, y);
  expect_shape("extreme_bwd", "ties", ties, y.shape());
  expect_dtype("extreme_bwd", "ties", ties, DType::f32);
  dispatch_float("extreme_bwd", "x", x.dtype, [&]<typename T>() {
    spread<T>("extreme_bwd", stream, dx,
              Hit<T>{x.data<T>(), y.data<T>(), ties.data<float>(), dy.data<T>(), {}},
              is_vec_aligned(x.ptr));
  });
}
PYNN_EXPORT(extreme_bwd, "(x, y, ties, dy, dx)  dx = dy / ties where x = y, else 0");

}  // namespace pynn::reduce
