// prelu.cu — the rectifier whose slope is learnt, and both its gradients.
//
//   prelu_fwd   y = x where x > 0, else w x                     x, y (R, C), w (C,) or (1,)
//   prelu_bwd   dx = dy where x > 0, else w dy
//               partial[s, c] = sum of dy x over the rows of split s where x > 0 does not hold
//   T = f32 | f16 | bf16, partial (S, C) f32, zeros before; dw is its sum over the splits, and over
//   the columns for a single w.  NaN in x gives NaN in y.
//
//   forward    common/broadcast.cuh;  bytes 2 R C sizeof(T)
//   backward   one pass: threads go down columns as common/column.cuh has it, store dx on their
//              way and carry dw;  bytes 3 R C sizeof(T) + 8 splits C
//   bound: memory;  deterministic: no atomics, the cut depends on the shape alone
//
//   He et al. 2015, arXiv:1502.01852

#include <cstdint>

#include "common/broadcast.cuh"
#include "common/check.h"
#include "common/column.cuh"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/reduce.cuh"
#include "common/row.cuh"

namespace pynn::prelu {

struct Forward {
  __device__ float operator()(float x, float w) const { return x > 0.f ? x : w * x; }
};

// w_stride: 0 for a single w. dx may be nullptr.
template <typename T, int WIDTH>
__global__ void __launch_bounds__(COLUMN_THREADS)
    prelu_backward_kernel(ColumnPlan plan, T const* x, T const* w, int64_t w_stride, T const* dy,
                          T* dx, float* partial) {
  ColumnWork const work = column_work<WIDTH>(plan);
  Sum sums[WIDTH];
  float slopes[WIDTH];
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    slopes[k] = work.inside ? static_cast<float>(w[(work.column + k) * w_stride]) : 0.f;
  }
  for (int64_t i = work.row; work.inside && i < work.end; i += COLUMN_ROWS * work.step) {
    Vec<T, WIDTH> rx[COLUMN_ROWS]{};
    Vec<T, WIDTH> rdy[COLUMN_ROWS]{};
#pragma unroll
    for (int r = 0; r < COLUMN_ROWS; ++r) {
      int64_t const at = i + r * work.step;
      if (at >= work.end) break;
      rx[r] = load_vec<WIDTH>(x + at * plan.inner + work.column);
      rdy[r] = load_vec<WIDTH>(dy + at * plan.inner + work.column);
    }
    float parts[WIDTH] = {};
#pragma unroll
    for (int r = 0; r < COLUMN_ROWS; ++r) {
      int64_t const at = i + r * work.step;
      if (at >= work.end) break;
      Vec<T, WIDTH> out;
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) {
        float const value = static_cast<float>(rx[r].at[k]);
        float const grad = static_cast<float>(rdy[r].at[k]);
        out.at[k] = static_cast<T>(value > 0.f ? grad : slopes[k] * grad);
        if (!(value > 0.f)) parts[k] += grad * value;
      }
      if (dx != nullptr) store_vec<WIDTH>(dx + at * plan.inner + work.column, out);
    }
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) sums[k] = sums[k] + Sum(parts[k]);
  }

  join_columns<WIDTH>(plan, sums);
  if (work.ty > 0 || !work.inside) return;
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    partial[work.split * plan.inner + work.column + k] = sums[k].value();
  }
}

void expect_weight(char const* name, Array const& x, Array const& w) {
  expect_ndim(name, "x", x, 2);
  expect_dtype(name, "w", w, x.dtype);
  expect_shape(name, "w", w, {w.size() == 1 ? 1 : x.dims[1]});
}

void prelu_fwd(cudaStream_t stream, Array x, Array w, Out y) {
  expect_weight("prelu_fwd", x, w);
  expect_like("prelu_fwd", "y", y, x);
  dispatch_float("prelu_fwd", "x", x.dtype, [&]<typename T>() {
    broadcast(stream, Forward{}, view<T>(y), view<T>(x), view<T>(w));
  });
}
PYNN_EXPORT(prelu_fwd, "(x, w, y)  y = x where x > 0, else w x");

void prelu_bwd(cudaStream_t stream, Array x, Array w, Array dy, Out dx, Out partial) {
  char const* const name = "prelu_bwd";
  expect_weight(name, x, w);
  expect_like(name, "dy", dy, x);
  if (dx.size() != 0) expect_like(name, "dx", dx, x);
  expect_dtype(name, "partial", partial, DType::f32);
  expect_ndim(name, "partial", partial, 2);
  expect_shape(name, "partial", partial, {partial.dims[0], x.dims[1]});
  expect(partial.dims[0] >= 1, name, "partial", "at least one row", partial.dims[0]);
  if (x.size() == 0) return;
  dispatch_float(name, "x", x.dtype, [&]<typename T>() {
    auto const run = [&]<int WIDTH>() {
      ColumnPlan const plan = plan_columns(1, x.dims[0], x.dims[1], WIDTH, partial.dims[0]);
      launch(prelu_backward_kernel<T, WIDTH>, column_grid(name, plan), COLUMN_THREADS, 0, stream,
             plan, x.data<T>(), w.data<T>(), int64_t{w.size() > 1}, dy.data<T>(),
             dx.size() != 0 ? dx.data<T>() : nullptr, partial.data<float>());
    };
    bool const aligned = is_vec_aligned(x.ptr) && is_vec_aligned(dy.ptr) && is_vec_aligned(dx.ptr);
    if (row_is_vec<T>(x.dims[1], aligned)) {
      run.template operator()<VEC_BYTES / static_cast<int>(sizeof(T))>();
    } else {
      run.template operator()<1>();
    }
  });
}
PYNN_EXPORT(prelu_bwd,
            "(x, w, dy, dx, partial)  the gradients of prelu_fwd; dx of no size is not written, dw "
            "is the sum of partial's rows, which hold zeros before");

}  // namespace pynn::prelu
