// sum.cu — sums and means over one axis, and their gradient, which spreads dy along it.
//
//   y[o, c] = sum_i x[o, i, c] / divisor        dx[o, i, c] = dy[o, c] / divisor
//
//   x, dx (outer, n, inner), y, dy (outer, inner), any sizes;  T = f32 | f16 | bf16, sums in f32
//   workspace  f32, any size; it bounds in how many splits n is cut
//   n = 0 gives 0 / divisor: 0 for a sum, NaN for a mean
//
//   Four to 32 elements are added plainly, then compensated (Sum), so errors do not grow with n.
//   layout, picture, splits: reduce.cuh;  gradient: 16 bytes of dx a thread, two of them in a row
//
//   bytes  forward sizeof(T) (n + 1) outer inner, and twice 8 splits outer inner where n is cut;
//          gradient sizeof(T) (n + 1) outer inner      bound: memory
//   deterministic: the cut and the order depend on the shape alone

#include "kernels/reduce/reduce.cuh"

#include "common/export.h"
#include "kernels/reduce/spread.cuh"

namespace pynn::reduce {

template <typename T>
struct SumOf {
  using Part = float;
  using State = Sum;
  T* y;
  float divisor;

  __device__ static Part term(float x, int64_t) { return x; }
  __device__ void finish(int64_t output, State const& sum) const {
    y[output] = static_cast<T>(sum.value() / divisor);
  }
};

// dx = dy / divisor
template <typename T>
struct Spread {
  T const* dy;
  float divisor;

  struct Output {
    float dx;
  };
  __device__ Output output(int64_t o) const { return {static_cast<float>(dy[o]) / divisor}; }
  template <int WIDTH>
  __device__ void load(int64_t) {}
  __device__ static float dx(int, Output const& output) { return output.dx; }
};

void sum_fwd(cudaStream_t stream, Array x, Out y, Out workspace, double divisor) {
  check("sum_fwd", x, y, workspace);
  expect_dtype("sum_fwd", "y", y, x.dtype);
  dispatch_float("sum_fwd", "x", x.dtype, [&]<typename T>() {
    choose<SumOf<T>, T>("sum_fwd", stream, x, workspace,
                        SumOf<T>{y.data<T>(), static_cast<float>(divisor)});
  });
}
PYNN_EXPORT(sum_fwd, "(x, y, workspace, divisor)  y = sum of x over its middle axis / divisor");

void sum_bwd(cudaStream_t stream, Array dy, Out dx, double divisor) {
  expect_ndim("sum_bwd", "dx", dx, 3);
  expect_shape("sum_bwd", "dy", dy, {dx.dims[0], dx.dims[2]});
  expect_dtype("sum_bwd", "dx", dx, dy.dtype);
  dispatch_float("sum_bwd", "dy", dy.dtype, [&]<typename T>() {
    spread<T>("sum_bwd", stream, dx, Spread<T>{dy.data<T>(), static_cast<float>(divisor)}, true);
  });
}
PYNN_EXPORT(sum_bwd, "(dy, dx, divisor)  dx = dy / divisor along the middle axis of dx");

}  // namespace pynn::reduce
