// group_norm_bwd.cu — the gradient of the normalizations of channels.
//
//   y = f(z),  z = xhat w + b + residual,  xhat = (x - mean) rstd;  dz = dy f'(z),  g = dz w
//   dx = rstd (g - mean g - xhat mean(g xhat)), or rstd g where mean and rstd are constants
//   dw = sum dz xhat,  db = sum dz;  the residual's gradient is dz
//
//   x, dy, dx (N, L, C), w, b, dw, db (C,) of T = f32 | f16 | bf16, math in f32: group.cuh
//   mean, rstd (N, G) f64;  f: norm.cuh;  w, b empty where there are none, dx, dw, db where not
//   wanted;  residual, dz like x: both there or both empty, f relu where they are there
//   workspace f32, any size of at least 4 N (C + G); more lets L be cut in more splits
//
//   sum dz and sum dz xhat down the columns (common/column.cuh); the splits joined; folded to
//   groups, dw and db; then dx. With a residual the sums' pass leaves dz, which dx's pass reads.
//
//   bytes  sizeof(T) 5 N L C and the parts, 7 N L C with a residual; dx alone with constants
//          2 N L C, 3 N L C if f is not the identity     bound: memory
//   deterministic: the cut depends on shapes and the workspace alone

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/norm/group.cuh"

#include "common/dispatch.h"
#include "common/export.h"

namespace pynn::norm {

// Whether there may be a residual: its dz = dy f'(z) is dy or 0, so storing it rounds nothing.
template <typename F>
inline constexpr bool ADDS = std::is_same_v<F, activation::Relu>;

// What was added to z, and where dz goes; null where there is none.
template <typename T>
struct Added {
  T const* residual;
  T* dz;
};

// sum dz xhat and sum dz of each split: parts (N, splits, 2, C).
template <typename F, typename T, int WIDTH>
__global__ void __launch_bounds__(COLUMN_THREADS)
    gradient_sums_kernel(T const* x, T const* dy, ColumnPlan plan, Groups groups, Affine<T> affine,
                         Added<T> added, Sum* parts) {
  ColumnWork const work = column_work<WIDTH>(plan);
  TwoSums<Sum> sums[WIDTH] = {};
  if (work.inside) {
    Standardize xhat[WIDTH];  // the members not used below cost no registers
    float w[WIDTH];
    float b[WIDTH];
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) {
      xhat[k] = groups.xhat(groups.of(work.outer, work.column + k));
      w[k] = USES_Z<F> ? affine.w(work.column + k) : 1.f;
      b[k] = USES_Z<F> ? affine.b(work.column + k) : 0.f;
    }
    int64_t const base = work.outer * plan.n * plan.inner + work.column;
    // two rows of gelu' would take more than 255 registers
    constexpr int ROWS = std::is_same_v<F, activation::Gelu> ? 1 : COLUMN_ROWS / 2;
    for (int64_t i = work.row; i < work.end; i += ROWS * work.step) {
      Vec<T, WIDTH> rx[ROWS];
      Vec<T, WIDTH> rdy[ROWS];
      Vec<T, WIDTH> more[ROWS];
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        int64_t const at = i + r * work.step;
        bool const in = at < work.end;
        rx[r] = in ? load_vec<WIDTH>(x + base + at * plan.inner) : Vec<T, WIDTH>{};
        rdy[r] = in ? load_vec<WIDTH>(dy + base + at * plan.inner) : Vec<T, WIDTH>{};
        if constexpr (ADDS<F>) {
          bool const adds = in && added.residual != nullptr;
          more[r] =
              adds ? load_vec<WIDTH>(added.residual + base + at * plan.inner) : Vec<T, WIDTH>{};
        }
      }
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
          if (i + r * work.step >= work.end) continue;
          float const x = static_cast<float>(rx[r].at[k]);
          float z = fmaf(xhat[k](x), w[k], b[k]);
          if constexpr (ADDS<F>) z += static_cast<float>(more[r].at[k]);
          float const g = F::bwd(z, static_cast<float>(rdy[r].at[k]));
          if constexpr (ADDS<F>) rdy[r].at[k] = static_cast<T>(g);
          float const d = x - xhat[k].high;
          Sum product = Sum::product(g, xhat[k].rough(x));
          if constexpr (sizeof(T) == sizeof(float)) {  // what d lost, below the digits of 16 bits
            float const part = d - x;
            float const lost = (x - (d - part)) - (xhat[k].high + part);
            product.low = fmaf(g, lost * xhat[k].scale, product.low);
          }
          sums[k] = sums[k] + TwoSums<Sum>{product, Sum(g)};
        }
      }
      if constexpr (ADDS<F>) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
          int64_t const at = i + r * work.step;
          if (at >= work.end || added.dz == nullptr) continue;
          store_vec<WIDTH>(added.dz + base + at * plan.inner, rdy[r]);
        }
      }
    }
  }
  join_columns<WIDTH>(plan, sums);
  if (work.ty > 0 || !work.inside) return;
  Sum* const part = parts + (work.outer * plan.splits + work.split) * 2 * plan.inner + work.column;
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    Standardize const xhat = groups.xhat(groups.of(work.outer, work.column + k));
    part[k] = Sum(xhat.whole(sums[k].first.wide(), sums[k].second.wide()));
    part[plan.inner + k] = sums[k].second;
  }
}

// The splits of (N, splits, 2 C) together: sums (N, 2 C).
__global__ void __launch_bounds__(COLUMN_THREADS)
    join_splits_kernel(Sum const* parts, ColumnPlan plan, Sum* sums) {
  ColumnWork const work = column_work<1>(plan);
  Sum total[1];
  for (int64_t i = work.row; work.inside && i < work.end; i += work.step) {
    total[0] = total[0] + parts[(work.outer * plan.n + i) * plan.inner + work.column];
  }
  join_columns<1>(plan, total);
  if (work.ty > 0 || !work.inside) return;
  sums[work.outer * plan.inner + work.column] = total[0];
}

// sums (N, 2, C) to the groups' mean of g and g xhat (N, G, 2), and to dw and db.
template <typename T>
__global__ void __launch_bounds__(COLUMN_THREADS)
    fold_kernel(Sum const* sums, ColumnPlan plan, int64_t groups, T const* weight, double* means,
                T* dw, T* db) {
  int64_t const C = plan.inner;
  int64_t const members = C / groups;
  int64_t i = int64_t{blockIdx.x} * COLUMN_THREADS + threadIdx.x;
  if (i < plan.outer * groups) {
    int64_t const sample = i / groups;
    double g_xhat = 0.;
    double g = 0.;
    for (int64_t m = 0; m < members; ++m) {
      int64_t const c = i % groups * members + m;
      float const w = weight ? static_cast<float>(weight[c]) : 1.f;
      g_xhat += sums[sample * 2 * C + c].wide() * w;
      g += sums[sample * 2 * C + C + c].wide() * w;
    }
    double const n = static_cast<double>(plan.n * members);
    means[2 * i] = g_xhat / n;
    means[2 * i + 1] = g / n;
  }
  i -= plan.outer * groups;
  if (i < 0 || i >= 2 * C) return;
  T* const out = i < C ? dw : db;
  if (out == nullptr) return;
  Sum total;
  for (int64_t sample = 0; sample < plan.outer; ++sample) {
    total = total + sums[sample * 2 * C + i];
  }
  out[i % C] = static_cast<T>(total.value());
}

// means null: mean and rstd are constants, so dx = rstd dz w.
template <typename F, typename T, int WIDTH>
__global__ void __launch_bounds__(COLUMN_THREADS)
    gradient_kernel(T const* x, T const* dy, ColumnPlan plan, Groups groups, Affine<T> affine,
                    double const* means, T* dx) {
  ColumnWork const work = column_work<WIDTH>(plan);
  if (!work.inside) return;
  Standardize xhat[WIDTH];
  Slope slope[WIDTH];
  float w[WIDTH];
  float b[WIDTH];
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    int64_t const group = groups.of(work.outer, work.column + k);
    xhat[k] = groups.xhat(group);
    slope[k] = Slope(xhat[k], means ? means[2 * group + 1] : 0., means ? means[2 * group] : 0.);
    w[k] = affine.w(work.column + k);
    b[k] = USES_Z<F> ? affine.b(work.column + k) : 0.f;
  }
  bool const reads_x = means != nullptr || USES_Z<F>;
  int64_t const base = work.outer * plan.n * plan.inner + work.column;
  constexpr int ROWS = COLUMN_ROWS / 2;
  for (int64_t i = work.row; i < work.end; i += ROWS * work.step) {
    Vec<T, WIDTH> rx[ROWS];
    Vec<T, WIDTH> rdy[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      int64_t const at = i + r * work.step;
      if (at >= work.end) continue;
      rx[r] = reads_x ? load_vec<WIDTH>(x + base + at * plan.inner) : Vec<T, WIDTH>{};
      rdy[r] = load_vec<WIDTH>(dy + base + at * plan.inner);
    }
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      int64_t const at = i + r * work.step;
      if (at >= work.end) continue;
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) {
        float const x = static_cast<float>(rx[r].at[k]);
        float const z = fmaf(xhat[k](x), w[k], b[k]);
        float const g = F::bwd(z, static_cast<float>(rdy[r].at[k])) * w[k];
        rx[r].at[k] = static_cast<T>(means ? slope[k].dx(x, g) : slope[k].rstd * g);
      }
      store_vec<WIDTH>(dx + base + at * plan.inner, rx[r]);
    }
  }
}

void group_norm_bwd(cudaStream_t stream, Array x, Array dy, Array weight, Array bias,
                    Array residual, Array mean, Array rstd, Outs gradients, Out workspace,
                    int64_t activation, bool constant) {
  char const* const op = "group_norm_bwd";
  int64_t const groups = check(op, x, mean, rstd);
  int64_t const N = x.dims[0];
  int64_t const L = x.dims[1];
  int64_t const C = x.dims[2];
  expect_like(op, "dy", dy, x);
  expect(gradients.size() == 4, op, "gradients", "dx, dw, db and dz", gradients.size());
  Out const dx = gradients[0];
  Out const dw = gradients[1];
  Out const db = gradients[2];
  Out const dz = gradients[3];
  if (dx.size() > 0) expect_shape(op, "dx", dx, x.shape());
  if (dw.size() > 0) expect_shape(op, "dw", dw, {C});
  if (db.size() > 0) expect_shape(op, "db", db, {C});
  bool const adds = residual.size() > 0;
  if (adds) {
    expect(activation == 1, op, "activation", "1 (relu) with a residual", activation);
    expect_like(op, "residual", residual, x);
    expect_like(op, "dz", dz, x);
  }
  expect_dtype(op, "workspace", workspace, DType::f32);
  int64_t const fixed = 4 * N * (C + groups);
  expect(workspace.size() >= fixed, op, "workspace", "at least " + show(fixed) + " floats",
         workspace.size());
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    Affine<T> const affine{optional<T>(op, "weight", weight, x, C),
                           optional<T>(op, "bias", bias, x, C)};
    T* const rdx = wanted<T>(op, "dx", dx, x);
    T* const rdw = wanted<T>(op, "dw", dw, x);
    T* const rdb = wanted<T>(op, "db", db, x);
    T* const rdz = wanted<T>(op, "dz", dz, x);
    if (C == 0) return;
    Added<T> const added{adds ? residual.data<T>() : nullptr, adds ? rdz : nullptr};
    auto* const means = workspace.data<double>();
    auto* const sums = reinterpret_cast<Sum*>(means + 2 * N * groups);
    Sum* const parts = sums + 2 * N * C;
    int64_t const most_splits = N == 0 ? 1 : (workspace.size() - fixed) / (4 * N * C);
    Groups const of{mean.data<double>(), rstd.data<double>(), groups, C / groups};
    bool const aligned = is_vec_aligned(x.ptr) && is_vec_aligned(dy.ptr) &&
                         is_vec_aligned(dx.ptr) &&
                         (!adds || (is_vec_aligned(residual.ptr) && is_vec_aligned(rdz)));
    bool const summed = !constant || rdw != nullptr || rdb != nullptr || adds;
    auto const spread = [&]<typename F, int WIDTH>(T const* from) {
      ColumnPlan const plan = plan_columns(N, L, C, WIDTH, ANY_SPLITS);
      launch(gradient_kernel<F, T, WIDTH>, column_grid(op, plan), COLUMN_THREADS, 0, stream,
             x.data<T>(), from, plan, of, affine, constant ? nullptr : means, rdx);
    };
    dispatch_activation(op, activation, [&]<typename F>() {
      choose_width<T>(C, aligned, [&]<int WIDTH>() {
        ColumnPlan const plan = plan_columns(N, L, C, WIDTH, most_splits);
        if (summed && N > 0) {
          launch(gradient_sums_kernel<F, T, WIDTH>, column_grid(op, plan), COLUMN_THREADS, 0,
                 stream, x.data<T>(), dy.data<T>(), plan, of, affine, added,
                 plan.splits > 1 ? parts : sums);
          if (plan.splits > 1) {
            ColumnPlan const join = plan_columns(N, plan.splits, 2 * C, 1, 1);
            launch(join_splits_kernel, column_grid(op, join), COLUMN_THREADS, 0, stream, parts,
                   join, sums);
          }
        }
        if (summed) {
          int64_t const folds = N * groups + 2 * C;
          auto const ctas = static_cast<unsigned>((folds + COLUMN_THREADS - 1) / COLUMN_THREADS);
          launch(fold_kernel<T>, ctas, COLUMN_THREADS, 0, stream, sums, plan, groups, affine.weight,
                 means, rdw, rdb);
        }
        if (rdx == nullptr) return;
        if (adds) return spread.template operator()<Identity, WIDTH>(rdz);
        spread.template operator()<F, WIDTH>(dy.data<T>());
      });
    });
  });
}
PYNN_EXPORT(group_norm_bwd,
            "(x, dy, weight, bias, residual, mean, rstd, gradients, workspace, activation, "
            "constant)  gradients dx, dw, db and dz of y = f(xhat weight + bias + residual), x "
            "(N, L, C); `constant`: mean and rstd do not depend on x");

}  // namespace pynn::norm
