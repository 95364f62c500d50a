// group_apply.cu — y = f(z),  z = (x - mean) rstd w + b + residual, by channels or groups of them.
//
//   x, y (N, L, C) of T = f32 | f16 | bf16, math in f32: group.cuh
//   mean, rstd (N, G) f64;  w, b (C,) or empty;  residual like x or empty;  f: norm.cuh
//
//   down the columns (common/column.cuh), each thread with the constants of its columns in
//   registers, 4 rows in flight
//
//   bytes  sizeof(T) 2 N L C, with a residual 3 N L C     bound: memory

#include "kernels/norm/group.cuh"

#include "common/dispatch.h"
#include "common/export.h"

namespace pynn::norm {

template <typename F, typename T, int WIDTH>
__global__ void __launch_bounds__(COLUMN_THREADS)
    apply_kernel(T const* x, ColumnPlan plan, Groups groups, Affine<T> affine, T const* residual,
                 T* y) {
  ColumnWork const work = column_work<WIDTH>(plan);
  if (!work.inside) return;
  Standardize xhat[WIDTH];  // the members not used below cost no registers
  float w[WIDTH];
  float b[WIDTH];
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    xhat[k] = groups.xhat(groups.of(work.outer, work.column + k));
    w[k] = affine.w(work.column + k);
    b[k] = affine.b(work.column + k);
  }
  int64_t const base = work.outer * plan.n * plan.inner + work.column;
  for (int64_t i = work.row; i < work.end; i += COLUMN_ROWS * work.step) {
    Vec<T, WIDTH> rows[COLUMN_ROWS];
    Vec<T, WIDTH> more[COLUMN_ROWS];
#pragma unroll
    for (int r = 0; r < COLUMN_ROWS; ++r) {
      int64_t const at = i + r * work.step;
      more[r] = {};
      if (at >= work.end) continue;
      rows[r] = load_vec<WIDTH>(x + base + at * plan.inner);
      if (residual != nullptr) more[r] = load_vec<WIDTH>(residual + base + at * plan.inner);
    }
#pragma unroll
    for (int r = 0; r < COLUMN_ROWS; ++r) {
      int64_t const at = i + r * work.step;
      if (at >= work.end) continue;
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) {
        float const h = xhat[k](static_cast<float>(rows[r].at[k]));
        float const z = fmaf(h, w[k], b[k]) + static_cast<float>(more[r].at[k]);
        rows[r].at[k] = static_cast<T>(F::fwd(z));
      }
      store_vec<WIDTH>(y + base + at * plan.inner, rows[r]);
    }
  }
}

void group_apply(cudaStream_t stream, Array x, Array mean, Array rstd, Array weight, Array bias,
                 Array residual, Out y, int64_t activation) {
  char const* const op = "group_apply";
  int64_t const groups = check(op, x, mean, rstd);
  int64_t const C = x.dims[2];
  expect_like(op, "y", y, x);
  expect_dtype(op, "residual", residual, x.dtype);
  bool const adds = residual.size() > 0;
  if (adds) expect_shape(op, "residual", residual, x.shape());
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    Affine<T> const affine{optional<T>(op, "weight", weight, x, C),
                           optional<T>(op, "bias", bias, x, C)};
    if (x.size() == 0) return;
    Groups const of{mean.data<double>(), rstd.data<double>(), groups, C / groups};
    bool const aligned = is_vec_aligned(x.ptr) && is_vec_aligned(y.ptr) &&
                         (!adds || is_vec_aligned(residual.ptr));
    dispatch_activation(op, activation, [&]<typename F>() {
      choose_width<T>(C, aligned, [&]<int WIDTH>() {
        ColumnPlan const plan = plan_columns(x.dims[0], x.dims[1], C, WIDTH, ANY_SPLITS);
        launch(apply_kernel<F, T, WIDTH>, column_grid(op, plan), COLUMN_THREADS, 0, stream,
               x.data<T>(), plan, of, affine, adds ? residual.data<T>() : nullptr, y.data<T>());
      });
    });
  });
}
PYNN_EXPORT(group_apply,
            "(x, mean, rstd, weight, bias, residual, y, activation)  y = f((x - mean) rstd weight + "
            "bias + residual), x (N, L, C), mean and rstd (N, groups)");

}  // namespace pynn::norm
