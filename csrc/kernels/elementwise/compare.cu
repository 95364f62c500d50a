// compare.cu — questions with the answers true or false, and numbers to integers near them.
//
//   compare   y = a ? b,  ? the one of ==, !=, <, <=, >, >=, and, or with that number
//   classify  y = whether x is 0, NaN, infinite or finite, by number
//   rounded   y = the sign of x, floor, ceil, or the nearest integer, ties to even, by number
//
//   compare: a and b broadcast to y;  a, b, x of T = f32 | f16 | bf16 | bool, y bool, of rounded T
//   A comparison with NaN is false, but for !=; NaN is true to and and or; rounded keeps NaN, and
//   -0 but for its sign, which is 0.
//
//   layout and tile picture: common/broadcast.cuh, common/map.cuh    bound: memory
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
  __device__ float operator()(float a, float b) const {
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
        return a != 0.f && b != 0.f;
      default:
        return a != 0.f || b != 0.f;
    }
  }
};

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
