// arithmetic.cu — add, sub, mul, div, pow, maximum, minimum of two arrays that broadcast.
//
//   y = f(a, b);  a, b of shapes that broadcast to y's, one dtype
//   T = f32 | f16 | bf16, math in f32, one rounding
//   y may be a or b where that has y's shape
//
//   Derivatives, times dy; each is of y's shape, and kernels/elementwise/broadcast_sum.cu sums it
//   over the axes along which its operand was repeated:
//     add   1, 1       mul   b, a       maximum, minimum  1 for the winner, 1/2 each for a tie
//     sub   1, -1      div   1/b, -a/b^2      pow   b a^(b-1), a^b log a
//   so those of add, sub and mul, and that of div by a, are the forward kernels again; both of mul
//   in one pass where shapes are equal, which reads dy once.
//
//   NaN: maximum and minimum give NaN where either operand is, and a NaN operand wins its gradient.
//   pow: the derivative by a is 0 where b = 0, that by b is 0 where a = 0 and b >= 0.
//
//   layout, tile picture and bytes: common/broadcast.cuh
//   bound: memory; by count of instructions, issue for pow in 16 bits

#include <cmath>

#include "common/broadcast.cuh"
#include "common/check.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/map.cuh"
#include "common/row.cuh"

namespace pynn::arithmetic {

struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Sub {
  __device__ float operator()(float a, float b) const { return a - b; }
};
struct Mul {
  __device__ float operator()(float a, float b) const { return a * b; }
};
struct Div {
  __device__ float operator()(float a, float b) const { return a / b; }
};
struct Pow {
  __device__ float operator()(float a, float b) const { return powf(a, b); }
};
struct Maximum {
  __device__ float operator()(float a, float b) const { return a > b || a != a ? a : b; }
};
struct Minimum {
  __device__ float operator()(float a, float b) const { return a < b || a != a ? a : b; }
};

// db = -dy a / b^2, in steps that overflow only where the result does
struct DivByB {
  __device__ float operator()(float dy, float a, float b) const { return -dy * (a / b) / b; }
};
struct PowByA {
  __device__ float operator()(float dy, float a, float b) const {
    return b == 0.f ? dy * 0.f : dy * (b * powf(a, b - 1.f));
  }
};
struct PowByB {
  __device__ float operator()(float dy, float a, float b) const {
    if (a == 0.f) return b >= 0.f ? dy * 0.f : dy * (powf(a, b) * 0.f);
    return dy * (powf(a, b) * logf(a));
  }
};
struct MaximumShare {
  __device__ float operator()(float mine, float other, float dy) const {
    if (mine == other) return 0.5f * dy;
    return mine > other || mine != mine ? dy : 0.f;
  }
};
struct MinimumShare {
  __device__ float operator()(float mine, float other, float dy) const {
    if (mine == other) return 0.5f * dy;
    return mine < other || mine != mine ? dy : 0.f;
  }
};

template <typename Op, typename... Inputs>
void elementwise(char const* name, char const* y_name, cudaStream_t stream, Op op, Out y,
                 Array first, Inputs... others) {
  expect_shape(name, y_name, y, broadcast_shape(name, {&first, &others...}));
  (expect_dtype(name, "inputs", others, first.dtype), ...);
  expect_dtype(name, y_name, y, first.dtype);
  dispatch_float(name, "inputs", first.dtype, [&]<typename T>() {
    broadcast(stream, op, view<T>(y), view<T>(first), view<T>(others)...);
  });
}

// Both gradients of a product of equal shapes: dy is read once.
template <int WIDTH, typename T>
__global__ void __launch_bounds__(MAP_THREADS)
    mul_bwd_kernel(int64_t n, T const* dy, T const* a, T const* b, T* da, T* db) {
  auto const rdy = load_tile<WIDTH>(dy, n);
  auto const ra = load_tile<WIDTH>(a, n);
  auto const rb = load_tile<WIDTH>(b, n);
  map_tile<WIDTH>(Mul{}, n, da, rdy, rb);
  map_tile<WIDTH>(Mul{}, n, db, rdy, ra);

  // tail
  int64_t const i = n / WIDTH * WIDTH + threadIdx.x;
  if (blockIdx.x < gridDim.x - 1 || i >= n) return;
  float const g = static_cast<float>(dy[i]);
  da[i] = static_cast<T>(g * static_cast<float>(b[i]));
  db[i] = static_cast<T>(g * static_cast<float>(a[i]));
}

void mul_bwd(cudaStream_t stream, Array dy, Array a, Array b, Out da, Out db) {
  char const* const name = "mul_bwd";
  expect_like(name, "a", a, dy);
  expect_like(name, "b", b, dy);
  expect_like(name, "da", da, dy);
  expect_like(name, "db", db, dy);
  int64_t const n = dy.size();
  if (n == 0) return;
  dispatch_float(name, "dy", dy.dtype, [&]<typename T>() {
    auto const run = [&]<int WIDTH>() {
      constexpr int64_t TILE = int64_t{MAP_THREADS} * MAP_LOADS * WIDTH;
      launch(mul_bwd_kernel<WIDTH, T>, row_grid<MAP_THREADS>(name, n / TILE + (n % TILE != 0)),
             MAP_THREADS, 0, stream, n, dy.data<T>(), a.data<T>(), b.data<T>(), da.data<T>(),
             db.data<T>());
    };
    if (is_vec_aligned(dy.ptr) && is_vec_aligned(a.ptr) && is_vec_aligned(b.ptr) &&
        is_vec_aligned(da.ptr) && is_vec_aligned(db.ptr)) {
      run.template operator()<VEC_BYTES / static_cast<int>(sizeof(T))>();
    } else {
      run.template operator()<1>();
    }
  });
}
PYNN_EXPORT(mul_bwd, "(dy, a, b, da, db)  da = dy b, db = dy a");

void add_fwd(cudaStream_t stream, Array a, Array b, Out y) {
  elementwise("add_fwd", "y", stream, Add{}, y, a, b);
}
PYNN_EXPORT(add_fwd, "(a, b, y)  y = a + b");

void sub_fwd(cudaStream_t stream, Array a, Array b, Out y) {
  elementwise("sub_fwd", "y", stream, Sub{}, y, a, b);
}
PYNN_EXPORT(sub_fwd, "(a, b, y)  y = a - b");

void mul_fwd(cudaStream_t stream, Array a, Array b, Out y) {
  elementwise("mul_fwd", "y", stream, Mul{}, y, a, b);
}
PYNN_EXPORT(mul_fwd, "(a, b, y)  y = a b");

void div_fwd(cudaStream_t stream, Array a, Array b, Out y) {
  elementwise("div_fwd", "y", stream, Div{}, y, a, b);
}
PYNN_EXPORT(div_fwd, "(a, b, y)  y = a / b");

void div_bwd_b(cudaStream_t stream, Array dy, Array a, Array b, Out db) {
  elementwise("div_bwd_b", "db", stream, DivByB{}, db, dy, a, b);
}
PYNN_EXPORT(div_bwd_b, "(dy, a, b, db)  db = -dy a / b^2, of dy's shape");

void pow_fwd(cudaStream_t stream, Array a, Array b, Out y) {
  elementwise("pow_fwd", "y", stream, Pow{}, y, a, b);
}
PYNN_EXPORT(pow_fwd, "(a, b, y)  y = a^b");

void pow_bwd_a(cudaStream_t stream, Array dy, Array a, Array b, Out da) {
  elementwise("pow_bwd_a", "da", stream, PowByA{}, da, dy, a, b);
}
PYNN_EXPORT(pow_bwd_a, "(dy, a, b, da)  da = dy b a^(b-1), of dy's shape");

void pow_bwd_b(cudaStream_t stream, Array dy, Array a, Array b, Out db) {
  elementwise("pow_bwd_b", "db", stream, PowByB{}, db, dy, a, b);
}
PYNN_EXPORT(pow_bwd_b, "(dy, a, b, db)  db = dy a^b log(a), of dy's shape");

void maximum_fwd(cudaStream_t stream, Array a, Array b, Out y) {
  elementwise("maximum_fwd", "y", stream, Maximum{}, y, a, b);
}
PYNN_EXPORT(maximum_fwd, "(a, b, y)  y = max(a, b), NaN if either is");

void maximum_bwd(cudaStream_t stream, Array mine, Array other, Array dy, Out dx) {
  elementwise("maximum_bwd", "dx", stream, MaximumShare{}, dx, mine, other, dy);
}
PYNN_EXPORT(maximum_bwd, "(mine, other, dy, dx)  dx = dy [mine > other] + dy/2 [mine = other]");

void minimum_fwd(cudaStream_t stream, Array a, Array b, Out y) {
  elementwise("minimum_fwd", "y", stream, Minimum{}, y, a, b);
}
PYNN_EXPORT(minimum_fwd, "(a, b, y)  y = min(a, b), NaN if either is");

void minimum_bwd(cudaStream_t stream, Array mine, Array other, Array dy, Out dx) {
  elementwise("minimum_bwd", "dx", stream, MinimumShare{}, dx, mine, other, dy);
}
PYNN_EXPORT(minimum_bwd, "(mine, other, dy, dx)  dx = dy [mine < other] + dy/2 [mine = other]");

}  // namespace pynn::arithmetic
