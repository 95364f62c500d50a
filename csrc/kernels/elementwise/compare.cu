// compare.cu — questions with the answers true or false, and numbers to integers near them.
//
//   compare   y = a ? b,  ? the one of ==, !=, <, <=, >, >=, and, or with that number
//   classify  y = whether x is 0, NaN, infinite or finite, by number
//   rounded   y = the sign of x, floor, ceil, or the nearest integer, ties to even, by number
//
//   compare: a and b broadcast to y;  a, b, x of T = f32 | f16 | bf16 | bool, of compare also i32 |
//   i64, up to 2^31 of them;  y bool, of rounded T
//   A comparison with NaN is false, but for !=; NaN is true to and and or; rounded keeps NaN, and
//   -0 but for its sign, which is 0.
//
//   layout and tile picture: common/broadcast.cuh, common/map.cuh, of integers an element at a time,
//   since those compute in f32    bound: memory
//   bytes  compare n (2 sizeof(T) + 1)    classify n (sizeof(T) + 1)    rounded 2 n sizeof(T)

#include <cmath>
#include <cstdint>

#include "common/array.h"
#include "common/broadcast.cuh"
#include "common/check.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/map.cuh"

namespace pynn::compare {

struct Compare {
  int64_t kind;
  template <typename V>
  __device__ bool operator()(V a, V b) const {
    switch (kind) {
      case 0:
        return a == b;
      case 1:
        return a != b;
      case 2:
        return a < b;
      case 3:
        return a <= b;
      case 4:
        return a > b;
      case 5:
        return a >= b;
      case 6:
        return a != V{0} && b != V{0};
      default:
        return a != V{0} || b != V{0};
    }
  }
};

template <typename T>
__global__ void __launch_bounds__(MAP_THREADS)
    compare_integers_kernel(Compare op, __grid_constant__ AxesOnDevice<2> const axes, int64_t n,
                            T const* a, T const* b, uint8_t* y) {
  Offsets<2> const offsets = find_offsets<1>(axes);
#pragma unroll
  for (int l = 0; l < MAP_LOADS; ++l) {
    int64_t const i = map_index<1>(l);
    if (i < n) y[i] = op(a[offsets.at[l][0]], b[offsets.at[l][1]]);
  }
}

AxesOnDevice<2> on_device(Axes<2> const& axes) {
  AxesOnDevice<2> made{};
  made.ndim = axes.ndim;
  for (int d = 0; d < axes.ndim; ++d) {
    made.lengths[d] = Divisor(static_cast<uint32_t>(axes.lengths[d]));
    for (int k = 0; k < 2; ++k) made.strides[k][d] = static_cast<uint32_t>(axes.strides[k][d]);
  }
  return made;
}

void compare_integers(char const* name, cudaStream_t stream, Compare op, Array a, Array b, Out y) {
  int64_t const n = y.size();
  if (n == 0) return;
  expect(n <= BROADCAST_MAX, name, "y", "at most " + show(BROADCAST_MAX) + " elements", n);
  Axes<2> const axes = merge_axes<2>(y.shape(), {a.shape(), b.shape()});
  constexpr int64_t TILE = int64_t{MAP_THREADS} * MAP_LOADS;
  dispatch_index(name, "a", a.dtype, [&]<typename T>() {
    launch(compare_integers_kernel<T>, static_cast<unsigned>((n + TILE - 1) / TILE), MAP_THREADS, 0,
           stream, op, on_device(axes), n, a.data<T>(), b.data<T>(), y.data<uint8_t>());
  });
}

struct Classify {
  int64_t kind;
  __device__ float operator()(float x) const {
    switch (kind) {
      case 0:
        return x == 0.f;
      case 1:
        return x != x;
      case 2:
        return fabsf(x) == INFINITY;
      default:
        return fabsf(x) < INFINITY;
    }
  }
};

struct Rounded {
  int64_t kind;
  __device__ float operator()(float x) const {
    switch (kind) {
      case 0:
        return x > 0.f ? 1.f : x < 0.f ? -1.f : x == 0.f ? 0.f : x;
      case 1:
        return floorf(x);
      case 2:
        return ceilf(x);
      default:
        return rintf(x);
    }
  }
};

void expect_kind(char const* op, int64_t kind, int64_t kinds) {
  expect(kind >= 0 && kind < kinds, op, "kind", "a number below " + show(kinds), kind);
}

// Floats, and bools as bytes of 0 and 1.
template <typename F>
void dispatch_number(char const* op, char const* what, DType dtype, F&& f) {
  if (dtype == DType::boolean) return f.template operator()<uint8_t>();
  dispatch_float(op, what, dtype, f);
}

void compare(cudaStream_t stream, Array a, Array b, Out y, int64_t kind) {
  char const* const op = "compare";
  expect_kind(op, kind, 8);
  expect_dtype(op, "b", b, a.dtype);
  expect_dtype(op, "y", y, DType::boolean);
  expect_shape(op, "y", y, broadcast_shape(op, {&a, &b}));
  if (a.dtype == DType::i32 || a.dtype == DType::i64) {
    return compare_integers(op, stream, Compare{kind}, a, b, y);
  }
  dispatch_number(op, "a", a.dtype, [&]<typename T>() {
    broadcast(stream, Compare{kind}, view<uint8_t>(y), view<T>(a), view<T>(b));
  });
}
PYNN_EXPORT(compare, "(a, b, y, kind)  y = a ==, !=, <, <=, >, >=, and, or b");

void classify(cudaStream_t stream, Array x, Out y, int64_t kind) {
  char const* const op = "classify";
  expect_kind(op, kind, 4);
  expect_shape(op, "y", y, x.shape());
  expect_dtype(op, "y", y, DType::boolean);
  dispatch_number(op, "x", x.dtype, [&]<typename T>() {
    map(stream, Classify{kind}, x.size(), y.data<uint8_t>(), x.data<T>());
  });
}
PYNN_EXPORT(classify, "(x, y, kind)  y = whether x is 0, NaN, infinite, finite");

void rounded(cudaStream_t stream, Array x, Out y, int64_t kind) {
  char const* const op = "rounded";
  expect_kind(op, kind, 4);
  expect_like(op, "y", y, x);
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    map(stream, Rounded{kind}, x.size(), y.data<T>(), x.data<T>());
  });
}
PYNN_EXPORT(rounded, "(x, y, kind)  y = sign of x, floor, ceil, nearest integer");

}  // namespace pynn::compare
