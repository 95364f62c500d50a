// select.cu — where, its two gradients, and casts between float dtypes.
//
//   where_fwd  y = a where the condition holds, else b;  condition bool, all three broadcast to y
//   where_bwd  dx = dy where the condition is `taken`, else 0;  condition broadcasts to dy
//   cast       y = x in y's dtype, rounded to nearest even;  x and y of one shape
//
//   T = f32 | f16 | bf16;  NaN stays NaN, -0 stays -0
//
//   layout and tile picture: common/broadcast.cuh, common/map.cuh    bound: memory
//   bytes  where_fwd n (3 sizeof(T) + 1)    where_bwd n (2 sizeof(T) + 1)
//          cast n (sizeof(x) + sizeof(y))

#include "common/broadcast.cuh"
#include "common/check.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/map.cuh"

namespace pynn::select {

struct Where {
  __device__ float operator()(float condition, float a, float b) const {
    return condition != 0.f ? a : b;
  }
};

struct Keep {
  bool taken;
  __device__ float operator()(float condition, float dy) const {
    return (condition != 0.f) == taken ? dy : 0.f;
  }
};

struct Cast {
  __device__ float operator()(float x) const { return x; }
};

void where_fwd(cudaStream_t stream, Array condition, Array a, Array b, Out y) {
  char const* const name = "where_fwd";
  expect_dtype(name, "condition", condition, DType::boolean);
  expect_dtype(name, "b", b, a.dtype);
  expect_dtype(name, "y", y, a.dtype);
  expect_shape(name, "y", y, broadcast_shape(name, {&condition, &a, &b}));
  dispatch_float(name, "a", a.dtype, [&]<typename T>() {
    broadcast(stream, Where{}, view<T>(y), view<uint8_t>(condition), view<T>(a), view<T>(b));
  });
}
PYNN_EXPORT(where_fwd, "(condition, a, b, y)  y = a where the condition holds, else b");

void where_bwd(cudaStream_t stream, Array condition, Array dy, Out dx, bool taken) {
  char const* const name = "where_bwd";
  expect_dtype(name, "condition", condition, DType::boolean);
  expect_like(name, "dx", dx, dy);
  expect_shape(name, "dy", dy, broadcast_shape(name, {&condition, &dy}));
  dispatch_float(name, "dy", dy.dtype, [&]<typename T>() {
    broadcast(stream, Keep{taken}, view<T>(dx), view<uint8_t>(condition), view<T>(dy));
  });
}
PYNN_EXPORT(where_bwd, "(condition, dy, dx, taken)  dx = dy where the condition is taken, else 0");

void cast(cudaStream_t stream, Array x, Out y) {
  expect_shape("cast", "y", y, x.shape());
  dispatch_float("cast", "x", x.dtype, [&]<typename From>() {
    dispatch_float("cast", "y", y.dtype, [&]<typename To>() {
      map(stream, Cast{}, x.size(), y.data<To>(), x.data<From>());
    });
  });
}
PYNN_EXPORT(cast, "(x, y)  y = x in y's dtype");

}  // namespace pynn::select
