// row_norm_bwd.cu — the gradient of layer and root mean square normalization of rows.
//
//   y = xhat w + b (row_norm_fwd.cu);  g = dy w,  dw = sum_r dy xhat,  db = sum_r dy
//   behind an activation, y = f(z), dz = dy f'(z) takes the place of dy: norm.cuh
//   dx = rstd (g - [layer] mean_c g - xhat mean_c(g xhat)) [+ dsum, where x is a sum that went on]
//
//   x, dy, dsum, dx (R, C), w, dw, db (C,);  T = f32 | f16 | bf16, math and sums in f32
//   mean, rstd (R,) f64: see norm.cuh;  w, dsum empty where there are none, dx, dw, db where not
//   wanted
//
//   on chip  rows of up to 8,192: teams of 32, 128 or 512 threads walk over the rows, each thread
//            with 16 elements of x and dy, and 16 sums of dw and db, in registers
//
//              team 0  rows 0, P, 2P ... ──► dx, and dw, db of its rows ─┐
//              team 1  rows 1, P+1 ...   ──► dx, and dw, db of its rows ─┼─► workspace (P, 2, C)
//              ...                                                      ─┘        │
//              a second kernel: sums over P in a fixed order  ──► dw, db ◄────────┘
//
//   long     more elements: dx of up to 131,072 by a cluster (row_norm_sm90.cu), else a CTA of 1024
//            threads a row reads it twice; dw, db come from a pass down the columns
//
//   bytes   sizeof(T) 3 R C + 16 R + 16 P C, and R C for dsum;  long: 5 R C, and 7 R C without clusters
//   FLOPs   about 14 an element     bound: memory
//   deterministic: P depends on the shape and the workspace, never on the device

#include <algorithm>
#include <cmath>

#include "kernels/norm/row_norm.cuh"

#include "common/chip.h"
#include "common/column.cuh"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/shared.cuh"

namespace pynn::norm {

inline constexpr int GRAD_HELD = 16;  // elements of a thread

template <typename T, int WIDTH, int THREADS>
__global__ void __launch_bounds__(ROW_CTA<THREADS>) row_norm_bwd_kernel(Gradient<T> p, int teams) {
  constexpr int VECS = GRAD_HELD / WIDTH;
  using Lane = Row<T, WIDTH, THREADS, VECS>;
  using Cta = Team<THREADS>;
  auto& slots = shared<typename Cta::template Slots<TwoSums<Sum>>[2], "slots">();
  int const n = static_cast<int>(p.n);
  int64_t const team = row_index<THREADS>();
  if (team >= teams) return;

  float dw[GRAD_HELD];
  float db[GRAD_HELD];
#pragma unroll
  for (int e = 0; e < GRAD_HELD; ++e) dw[e] = db[e] = 0.f;

  int turn = 0;
  for (int64_t row = team; row < p.rows; row += teams, turn ^= 1) {
    Lane rx;
    HeldGradient<T, WIDTH, THREADS, VECS> rdz;
    Lane rds;
    rx.load(p.x + row * n, n);
    rdz.load(p.dy + row * n, n);
    if (WIDTH > 1 && p.dsum != nullptr) rds.load(p.dsum + row * n, n);
    Standardize const xhat = p.xhat(row);
    rdz.before_f(p, xhat, rx, 0, n);

    auto const g = [&](int v, int k) { return rdz(v, k) * p.w(Lane::at(v) + k); };
    TwoSums<Sum> const part = Lane::fold(TwoSums<Sum>{}, n, Add{}, [&](int v, int k) {
      float const dz = rdz(v, k);
      dw[v * WIDTH + k] = fmaf(dz, xhat(rx(v, k)), dw[v * WIDTH + k]);
      db[v * WIDTH + k] += dz;
      return TwoSums<Sum>{Sum(g(v, k)), Sum::product(g(v, k), xhat.rough(rx(v, k)))};
    });
    if (p.dx == nullptr) continue;
    TwoSums<Sum> const sums = Cta::reduce(part, Add{}, slots[turn]);
    Slope const slope = p.slope(xhat, sums);
    Lane::map(p.dx + row * n, n, [&](int v, int k) {
      float const dx = slope.dx(rx(v, k), g(v, k));
      if (p.dsum == nullptr) return dx;
      // scalars are read late: 512 threads have no registers left to hold them
      return dx + (WIDTH > 1 ? rds(v, k) : static_cast<float>(p.dsum[row * n + Lane::at(v)]));
    });
  }

  if (p.parts == nullptr) return;
#pragma unroll
  for (int v = 0; v < VECS; ++v) {
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) {
      int const c = Lane::at(v) + k;
      if (c >= n) continue;
      p.parts[team * 2 * n + c] = dw[v * WIDTH + k];
      p.parts[team * 2 * n + n + c] = db[v * WIDTH + k];
    }
  }
}

// dx of long rows, a CTA each.
template <typename T, int WIDTH>
__global__ void __launch_bounds__(LONG_THREADS, 1) row_norm_bwd_long_kernel(Gradient<T> p) {
  using Lane = Row<T, WIDTH, LONG_THREADS, LONG_VECS>;
  using Cta = Team<LONG_THREADS>;
  constexpr int64_t CHUNK = int64_t{LONG_THREADS} * LONG_VECS * WIDTH;
  int64_t const row = blockIdx.x;
  Standardize const xhat = p.xhat(row);
  T const* const x = p.x + row * p.n;
  T const* const dy = p.dy + row * p.n;

  TwoSums<Sum> sums{};
  for (int64_t i = 0; i < p.n; i += CHUNK) {
    int const m = static_cast<int>(min(p.n - i, CHUNK));
    Lane rx;
    HeldGradient<T, WIDTH, LONG_THREADS, LONG_VECS> rdz;
    rx.load(x + i, m);
    rdz.load(dy + i, m);
    rdz.before_f(p, xhat, rx, i, m);
    sums = sums + Lane::fold(TwoSums<Sum>{}, m, Add{}, [&](int v, int k) {
             float const g = rdz(v, k) * p.w(i + Lane::at(v) + k);
             return TwoSums<Sum>{Sum(g), Sum::product(g, xhat.rough(rx(v, k)))};
           });
  }
  sums = Cta::reduce(sums, Add{}, shared<typename Cta::template Slots<TwoSums<Sum>>, "sums">());
  Slope const slope = p.slope(xhat, sums);

  for (int64_t i = 0; i < p.n; i += CHUNK) {
    int const m = static_cast<int>(min(p.n - i, CHUNK));
    Lane rx;
    HeldGradient<T, WIDTH, LONG_THREADS, LONG_VECS> rdz;
    Lane rds;
    rx.load(x + i, m);
    rdz.load(dy + i, m);
    rdz.before_f(p, xhat, rx, i, m);
    if (p.dsum != nullptr) rds.load(p.dsum + row * p.n + i, m);
    Lane::map(p.dx + row * p.n + i, m, [&](int v, int k) {
      float const dx = slope.dx(rx(v, k), rdz(v, k) * p.w(i + Lane::at(v) + k));
      return p.dsum != nullptr ? dx + rds(v, k) : dx;
    });
  }
}

// dw and db of long rows: a pass down the columns, a part of the rows each.
template <typename T, int WIDTH>
__global__ void __launch_bounds__(COLUMN_THREADS)
    column_gradients_kernel(Gradient<T> p, ColumnPlan plan) {
  ColumnWork const work = column_work<WIDTH>(plan);
  TwoSums<Sum> sums[WIDTH] = {};
  for (int64_t row = work.row; work.inside && row < work.end; row += work.step) {
    Vec<T, WIDTH> const rx = load_vec<WIDTH>(p.x + row * p.n + work.column);
    Vec<T, WIDTH> const rdy = load_vec<WIDTH>(p.dy + row * p.n + work.column);
    Standardize const xhat = p.xhat(row);
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) {
      float const h = xhat(static_cast<float>(rx.at[k]));
      float const dz = p.dz(work.column + k, h, static_cast<float>(rdy.at[k]));
      sums[k] = sums[k] + TwoSums<Sum>{Sum::product(dz, h), Sum(dz)};
    }
  }
  join_columns<WIDTH>(plan, sums);
  if (work.ty > 0 || !work.inside) return;
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    float* const part = p.parts + work.split * 2 * p.n + work.column + k;
    part[0] = sums[k].first.value();
    part[p.n] = sums[k].second.value();
  }
}

// dw and db: the sums over the parts (count, 2, n), down their columns.
template <typename T>
__global__ void __launch_bounds__(COLUMN_THREADS)
    parts_kernel(float const* parts, ColumnPlan plan, T* dw, T* db) {
  ColumnWork const work = column_work<1>(plan);
  Sum sums[1];
  for (int64_t i = work.row; work.inside && i < work.end; i += work.step) {
    sums[0] = sums[0] + Sum(parts[i * plan.inner + work.column]);
  }
  join_columns<1>(plan, sums);
  if (work.ty > 0 || !work.inside) return;
  int64_t const n = plan.inner / 2;
  T* const out = work.column < n ? dw : db;
  if (out != nullptr) out[work.column % n] = static_cast<T>(sums[0].value());
}

// Launches the gradient; returns how many parts of dw and db it leaves.
template <typename T, int WIDTH>
int64_t choose_bwd(char const* op, cudaStream_t stream, Gradient<T> p, int64_t most_parts) {
  auto const run = [&]<int THREADS>(int64_t most_teams) {
    int64_t teams = std::min(most_teams, std::max<int64_t>(1, p.rows / 4));
    if (p.parts != nullptr) teams = std::min(teams, most_parts);
    launch(row_norm_bwd_kernel<T, WIDTH, THREADS>, row_grid<THREADS>(op, teams), ROW_CTA<THREADS>,
           0, stream, p, static_cast<int>(teams));
    return teams;
  };
  if (p.n <= 32 * GRAD_HELD) return run.template operator()<32>(2048);
  if (p.n <= 128 * GRAD_HELD) return run.template operator()<128>(512);
  if (p.n <= 512 * GRAD_HELD) return run.template operator()<512>(256);

  bool const cluster = WIDTH > 1 && chip().major >= 9 && p.n <= CLUSTER_ROW;
  if (p.dx != nullptr && cluster) {
    bwd_cluster(op, stream, p);
  } else if (p.dx != nullptr) {
    launch(row_norm_bwd_long_kernel<T, WIDTH>, row_grid<LONG_THREADS>(op, p.rows), LONG_THREADS, 0,
           stream, p);
  }
  if (p.parts == nullptr) return 0;
  ColumnPlan const plan = plan_columns(1, p.rows, p.n, WIDTH, most_parts);
  launch(column_gradients_kernel<T, WIDTH>, column_grid(op, plan), COLUMN_THREADS, 0, stream, p,
         plan);
  return plan.splits;
}

template <typename Kind>
void backward(char const* op, cudaStream_t stream, Array x, Array dy, Array dsum, Array weight,
              Array bias, Array mean, Array rstd, Out dx, Out dw, Out db, Out workspace,
              int64_t function) {
  expect_ndim(op, "x", x, 2);
  int64_t const rows = x.dims[0];
  int64_t const n = x.dims[1];
  expect_like(op, "dy", dy, x);
  expect_dtype(op, "dsum", dsum, x.dtype);
  if (dsum.size() > 0) expect_shape(op, "dsum", dsum, x.shape());
  if constexpr (Kind::CENTRED) {
    expect_shape(op, "mean", mean, {rows});
    expect_dtype(op, "mean", mean, DType::f64);
  }
  expect_shape(op, "rstd", rstd, {rows});
  expect_dtype(op, "rstd", rstd, DType::f64);
  if (dx.size() > 0) expect_shape(op, "dx", dx, x.shape());
  if (dw.size() > 0) expect_shape(op, "dw", dw, {n});
  if (db.size() > 0) expect_shape(op, "db", db, {n});
  expect_dtype(op, "workspace", workspace, DType::f32);
  expect_activation(op, function);
  bool const sums = dw.size() > 0 || db.size() > 0;
  if (sums) {
    expect(workspace.size() >= 2 * n, op, "workspace", "at least " + show(2 * n) + " floats",
           workspace.size());
  }
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    T* const given_dw = wanted<T>(op, "dw", dw, x);
    T* const given_db = wanted<T>(op, "db", db, x);
    Gradient<T> const p{x.data<T>(),
                        dy.data<T>(),
                        dsum.size() > 0 ? dsum.data<T>() : nullptr,
                        Kind::CENTRED ? mean.data<double>() : nullptr,
                        rstd.data<double>(),
                        optional<T>(op, "weight", weight, x, n),
                        optional<T>(op, "bias", bias, x, n),
                        function,
                        rows,
                        n,
                        wanted<T>(op, "dx", dx, x),
                        sums ? workspace.data<float>() : nullptr};
    if (n == 0) return;
    bool const aligned = is_vec_aligned(x.ptr) && is_vec_aligned(dy.ptr) &&
                         is_vec_aligned(p.dsum) && is_vec_aligned(dx.ptr);
    int64_t const most_parts = workspace.size() / (2 * n);
    int64_t parts = 0;
    if (rows > 0) {
      parts = row_is_vec<T>(n, aligned)
                  ? choose_bwd<T, VEC_BYTES / sizeof(T)>(op, stream, p, most_parts)
                  : choose_bwd<T, 1>(op, stream, p, most_parts);
    }
    if (!sums) return;
    ColumnPlan const plan = plan_columns(1, parts, 2 * n, 1, 1);
    launch(parts_kernel<T>, column_grid(op, plan), COLUMN_THREADS, 0, stream,
           workspace.data<float>(), plan, given_dw, given_db);
  });
}

void layer_norm_bwd(cudaStream_t stream, Array x, Array dy, Array dsum, Array weight, Array bias,
                    Array mean, Array rstd, Outs gradients, Out workspace, int64_t activation) {
  char const* const op = "layer_norm_bwd";
  expect(gradients.size() == 3, op, "gradients", "dx, dw and db", gradients.size());
  backward<Layer>(op, stream, x, dy, dsum, weight, bias, mean, rstd, gradients[0], gradients[1],
                  gradients[2], workspace, activation);
}
PYNN_EXPORT(
    layer_norm_bwd,
    "(x, dy, dsum, weight, bias, mean, rstd, gradients, workspace, activation)  "
    "gradients dx = rstd (g - mean g - xhat mean(g xhat)) + dsum, g = dz weight; dw = sum dz "
    "xhat, db = sum dz; dz = dy f'(xhat weight + bias)");

void rms_norm_bwd(cudaStream_t stream, Array x, Array dy, Array dsum, Array weight, Array rstd,
                  Out dx, Out dw, Out workspace) {
  Out none = dw;
  none.ndim = 1;
  none.dims[0] = 0;
  backward<Rms>("rms_norm_bwd", stream, x, dy, dsum, weight, none, rstd, rstd, dx, dw, none,
                workspace, 0);
}
PYNN_EXPORT(rms_norm_bwd,
            "(x, dy, dsum, weight, rstd, dx, dw, workspace)  dx = rstd (g - xhat mean(g xhat)) + "
            "dsum, g = dy weight; dw = sum dy xhat");

}  // namespace pynn::norm
