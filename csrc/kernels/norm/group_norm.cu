// group_norm.cu — batch, group and instance normalization, channels last.
//
//   x is seen as (N, L, C), C in G groups of C/G channels; mean and rstd are (N, G), of n = L C/G:
//     group     N samples, L their space
//     instance  G = C
//     batch     G = C, N = 1, L = all rows
//   xhat = (x - mean) rstd,  rstd = 1 / sqrt(var + eps),  y = xhat w + b
//   g = dy w,  dx = rstd (g - mean g - xhat mean(g xhat)),  dw = sum dy xhat,  db = sum dy
//
//   x, y, dy, dx (N, L, C), w, b, dw, db (C,);  T = f32 | f16 | bf16, math in f32
//   mean, rstd (N, G) f64: see norm.cuh;  running mean and var (C,) f32, or empty
//   w, b empty where there are none, dx, dw, db where not wanted
//   workspace f32, any size of at least 6 N C (moments) or 4 N (C + G) (gradient); more lets L be
//   cut in more splits
//
//   moments  down the columns (common/column.cuh); a thread sums d = x - K and d^2 over 64 rows at
//            a time, K the first of them: since K is one of the 64, cancellation costs at most a
//            factor 65, whatever the mean. The parts, in f64, are joined by the formula of Chan,
//            Golub, LeVeque 1983.
//            second kernel: a team for each (N, G) joins splits and channels, and moves the running
//            statistics. Where f32 could not hold the squares it takes the moments of its group
//            again, in f64, from memory: slow, and only for values beyond 1e15 or below 1e-15.
//   apply    y, each thread with the constants of its columns in registers
//   gradient sum dy and sum dy xhat down the columns; joined; folded to groups; then dx
//
//   bytes    forward sizeof(T) 3 N L C, gradient sizeof(T) 5 N L C, and the parts     bound: memory
//   deterministic: the cut depends on shapes and the workspace alone
//
//   Over 400 lines: seven short kernels that only make sense together.
//
//   Ioffe, Szegedy 2015, arXiv:1502.03167;  Wu, He 2018, arXiv:1803.08494;  Ulyanov, Vedaldi,
//   Lempitsky 2016, arXiv:1607.08022

#include <algorithm>
#include <cmath>

#include "kernels/norm/norm.cuh"

#include "common/array.h"
#include "common/column.cuh"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/row.cuh"
#include "common/shared.cuh"

namespace pynn::norm {

inline constexpr int TEAM = 128;
inline constexpr int FRESH_ROWS = 64;  // of a thread, before it takes another K

// The mean of some values, their sum of (x - mean)^2, and how many they are. In f64, where a mean
// keeps its digits beside a small spread; few are made: one for each thread and FRESH_ROWS rows.
struct Moments {
  double mean = 0.;
  double squares = 0.;
  float count = 0.f;
  float nothing = 0.f;  // a shuffle moves whole words

  __device__ Moments operator+(Moments const& b) const {
    if (b.count == 0.f) return *this;
    if (count == 0.f) return b;
    Moments all;
    all.count = count + b.count;
    double const share = double{b.count} / all.count;
    double const delta = b.mean - mean;
    all.mean = mean + delta * share;
    all.squares = (squares + b.squares) + delta * delta * share * count;
    return all;
  }
};

// Sums of d = x - K over a few rows, and the moments they make.
struct Shifted {
  float k = 0.f;
  float sum = 0.f;
  float squares = 0.f;

  __device__ void add(float x) {
    float const d = x - k;
    sum += d;
    squares = fmaf(d, d, squares);
  }
  __device__ Moments moments(int rows) const {
    Moments m;
    if (rows == 0) return m;
    double const shift = double{sum} / rows;
    double const rest = squares - shift * sum;
    m.mean = k + shift;
    m.squares = rest < 0. ? 0. : rest;
    m.count = static_cast<float>(rows);
    return m;
  }
};

template <typename T, int WIDTH>
__global__ void __launch_bounds__(COLUMN_THREADS)
    moments_kernel(T const* x, ColumnPlan plan, Moments* parts) {
  ColumnWork const work = column_work<WIDTH>(plan);
  T const* const base = x + work.outer * plan.n * plan.inner + work.column;
  int64_t const fresh = int64_t{FRESH_ROWS} * work.step;

  Moments moments[WIDTH];
  for (int64_t begin = work.row; work.inside && begin < work.end; begin += fresh) {
    int64_t const end = min(begin + fresh, work.end);
    Shifted sums[WIDTH];
    int count = 0;
    for (int64_t i = begin; i < end; i += COLUMN_ROWS * work.step) {
      Vec<T, WIDTH> rows[COLUMN_ROWS];
#pragma unroll
      for (int r = 0; r < COLUMN_ROWS; ++r) {
        int64_t const at = i + r * work.step;
        rows[r] = at < end ? load_vec<WIDTH>(base + at * plan.inner) : Vec<T, WIDTH>{};
      }
#pragma unroll
      for (int r = 0; r < COLUMN_ROWS; ++r) {
        if (i + r * work.step >= end) continue;
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
          float const value = static_cast<float>(rows[r].at[k]);
          if (count == 0) sums[k].k = value;
          sums[k].add(value);
        }
        ++count;
      }
    }
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) moments[k] = moments[k] + sums[k].moments(count);
  }

  join_columns<WIDTH>(plan, moments);
  if (work.ty > 0 || !work.inside) return;
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    parts[(work.outer * plan.splits + work.split) * plan.inner + work.column + k] = moments[k];
  }
}

// What the second kernel leaves.
struct Statistics {
  double* mean;
  double* rstd;
  float* running_mean;  // null: not kept
  float* running_var;
  double eps;
  double momentum;

  __device__ void put(int64_t group, double m, double variance, double count) const {
    mean[group] = m;
    rstd[group] = 1. / sqrt(variance + eps);
    if (running_mean == nullptr || count == 0.) return;
    double const unbiased = variance * (count / fmax(1., count - 1.));
    double const keep = 1. - momentum;
    running_mean[group] = static_cast<float>(keep * running_mean[group] + momentum * m);
    running_var[group] = static_cast<float>(keep * running_var[group] + momentum * unbiased);
  }
};

// A team for each sample and group.
template <typename T>
__global__ void __launch_bounds__(TEAM)
    statistics_kernel(T const* x, ColumnPlan plan, int64_t groups, Moments const* parts,
                      Statistics out) {
  using Cta = Team<TEAM>;
  int64_t const members = plan.inner / groups;
  int64_t const sample = blockIdx.x / groups;
  int64_t const first = blockIdx.x % groups * members;

  Moments moments;
  for (int64_t i = threadIdx.x; i < plan.splits * members; i += TEAM) {
    int64_t const split = i / members;
    int64_t const column = first + (i - split * members);
    moments = moments + parts[(sample * plan.splits + split) * plan.inner + column];
  }
  moments = Cta::reduce(moments, Add{}, shared<Cta::Slots<Moments>, "moments">());
  // a + b and b + a may differ in the last bit, so lanes may: thread 0 speaks for all
  auto& spoken = shared<Moments, "spoken">();
  if (threadIdx.x == 0) spoken = moments;
  __syncthreads();
  moments = spoken;

  int64_t const count = plan.n * members;
  double const n = static_cast<double>(count);
  double const variance = count == 0 ? 0. : moments.squares / n;
  if (count == 0 || in_range(static_cast<float>(variance + out.eps))) {
    if (threadIdx.x > 0) return;
    out.put(blockIdx.x, moments.mean, variance, n);
    return;
  }

  // once more in f64
  auto const each = [&](auto f) {
    double total = 0.;
    for (int64_t i = threadIdx.x; i < count; i += TEAM) {
      int64_t const row = i / members;
      int64_t const column = first + (i - row * members);
      total += f(static_cast<double>(
          static_cast<float>(x[(sample * plan.n + row) * plan.inner + column])));
    }
    return total;
  };
  auto& slots = shared<Cta::Slots<double>[2], "doubles">();
  double const mean = Cta::reduce(each([](double v) { return v; }), Add{}, slots[0]) / n;
  double const squares =
      Cta::reduce(each([&](double v) { return (v - mean) * (v - mean); }), Add{}, slots[1]);
  if (threadIdx.x == 0) out.put(blockIdx.x, mean, squares / n, n);
}

// Mean and rstd of the groups.
struct Groups {
  double const* mean;
  double const* rstd;
  int64_t count;
  int64_t members;

  __device__ int64_t of(int64_t sample, int64_t column) const {
    return sample * count + column / members;
  }
  __device__ Standardize xhat(int64_t group) const { return {mean[group], rstd[group]}; }
};

template <typename T, int WIDTH>
__global__ void __launch_bounds__(COLUMN_THREADS)
    apply_kernel(T const* x, ColumnPlan plan, Groups groups, Affine<T> affine, T* y) {
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
#pragma unroll
    for (int r = 0; r < COLUMN_ROWS; ++r) {
      int64_t const at = i + r * work.step;
      if (at < work.end) rows[r] = load_vec<WIDTH>(x + base + at * plan.inner);
    }
#pragma unroll
    for (int r = 0; r < COLUMN_ROWS; ++r) {
      int64_t const at = i + r * work.step;
      if (at >= work.end) continue;
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) {
        float const h = xhat[k](static_cast<float>(rows[r].at[k]));
        rows[r].at[k] = static_cast<T>(fmaf(h, w[k], b[k]));
      }
      store_vec<WIDTH>(y + base + at * plan.inner, rows[r]);
    }
  }
}

// sum dy xhat and sum dy of each split: parts (N, splits, 2, C).
template <typename T, int WIDTH>
__global__ void __launch_bounds__(COLUMN_THREADS)
    gradient_sums_kernel(T const* x, T const* dy, ColumnPlan plan, Groups groups, Sum* parts) {
  ColumnWork const work = column_work<WIDTH>(plan);
  TwoSums<Sum> sums[WIDTH] = {};
  if (work.inside) {
    float high[WIDTH];
    float scale[WIDTH];
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) {
      Standardize const xhat = groups.xhat(groups.of(work.outer, work.column + k));
      high[k] = xhat.high;
      scale[k] = xhat.scale;
    }
    int64_t const base = work.outer * plan.n * plan.inner + work.column;
    constexpr int ROWS = COLUMN_ROWS / 2;
    for (int64_t i = work.row; i < work.end; i += ROWS * work.step) {
      Vec<T, WIDTH> rx[ROWS];
      Vec<T, WIDTH> rdy[ROWS];
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        int64_t const at = i + r * work.step;
        bool const in = at < work.end;
        rx[r] = in ? load_vec<WIDTH>(x + base + at * plan.inner) : Vec<T, WIDTH>{};
        rdy[r] = in ? load_vec<WIDTH>(dy + base + at * plan.inner) : Vec<T, WIDTH>{};
      }
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
          if (i + r * work.step >= work.end) continue;
          float const g = static_cast<float>(rdy[r].at[k]);
          float const x = static_cast<float>(rx[r].at[k]);
          float const d = x - high[k];
          Sum product = Sum::product(g, d * scale[k]);
          if constexpr (sizeof(T) == sizeof(float)) {  // what d lost, below the digits of 16 bits
            float const part = d - x;
            float const lost = (x - (d - part)) - (high[k] + part);
            product.low = fmaf(g, lost * scale[k], product.low);
          }
          sums[k] = sums[k] + TwoSums<Sum>{product, Sum(g)};
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

template <typename T, int WIDTH>
__global__ void __launch_bounds__(COLUMN_THREADS)
    gradient_kernel(T const* x, T const* dy, ColumnPlan plan, Groups groups, T const* weight,
                    double const* means, T* dx) {
  ColumnWork const work = column_work<WIDTH>(plan);
  if (!work.inside) return;
  Slope slope[WIDTH];
  float w[WIDTH];
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    int64_t const group = groups.of(work.outer, work.column + k);
    slope[k] = Slope(groups.xhat(group), means[2 * group + 1], means[2 * group]);
    w[k] = weight ? static_cast<float>(weight[work.column + k]) : 1.f;
  }
  int64_t const base = work.outer * plan.n * plan.inner + work.column;
  constexpr int ROWS = COLUMN_ROWS / 2;
  for (int64_t i = work.row; i < work.end; i += ROWS * work.step) {
    Vec<T, WIDTH> rx[ROWS];
    Vec<T, WIDTH> rdy[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      int64_t const at = i + r * work.step;
      if (at >= work.end) continue;
      rx[r] = load_vec<WIDTH>(x + base + at * plan.inner);
      rdy[r] = load_vec<WIDTH>(dy + base + at * plan.inner);
    }
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      int64_t const at = i + r * work.step;
      if (at >= work.end) continue;
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) {
        float const g = static_cast<float>(rdy[r].at[k]) * w[k];
        rx[r].at[k] = static_cast<T>(slope[k].dx(static_cast<float>(rx[r].at[k]), g));
      }
      store_vec<WIDTH>(dx + base + at * plan.inner, rx[r]);
    }
  }
}

// Calls f.operator()<WIDTH>() for columns of x and arrays that are or are not in 16-byte steps.
template <typename T, typename F>
void choose_width(int64_t columns, bool aligned, F&& f) {
  if (row_is_vec<T>(columns, aligned)) {
    f.template operator()<VEC_BYTES / static_cast<int>(sizeof(T))>();
  } else {
    f.template operator()<1>();
  }
}

// The groups of x (N, L, C) whose mean and rstd are (N, G).
int64_t check(char const* op, Array x, Array mean, Array rstd) {
  expect_ndim(op, "x", x, 3);
  expect_ndim(op, "mean", mean, 2);
  int64_t const groups = mean.dims[1];
  expect_shape(op, "mean", mean, {x.dims[0], groups});
  expect_dtype(op, "mean", mean, DType::f64);
  expect_like(op, "rstd", rstd, mean);
  bool const divides = groups == 0 ? x.dims[2] == 0 : x.dims[2] % groups == 0;
  expect(divides, op, "mean", "a number of groups that divides the channels of x", groups);
  return groups;
}

// Plans for as many CTAs as keep the device busy, where no part needs a workspace.
constexpr int64_t ANY_SPLITS = ENOUGH_CTAS;

void group_moments(cudaStream_t stream, Array x, Out mean, Out rstd, Out running_mean,
                   Out running_var, Out workspace, double eps, double momentum) {
  char const* const op = "group_moments";
  int64_t const groups = check(op, x, mean, rstd);
  int64_t const N = x.dims[0];
  int64_t const L = x.dims[1];
  int64_t const C = x.dims[2];
  expect_dtype(op, "running_mean", running_mean, DType::f32);
  expect_like(op, "running_var", running_var, running_mean);
  bool const running = running_mean.size() > 0;
  if (running) expect_shape(op, "running_mean", running_mean, {N * groups});
  expect(eps >= 0., op, "eps", "a number >= 0", eps);
  expect_dtype(op, "workspace", workspace, DType::f32);
  int64_t const part = N * C * static_cast<int64_t>(sizeof(Moments) / sizeof(float));
  expect(workspace.size() >= part, op, "workspace", "at least " + show(part) + " floats",
         workspace.size());
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    if (N * C == 0) return;
    Statistics const out{mean.data<double>(),
                         rstd.data<double>(),
                         running ? running_mean.data<float>() : nullptr,
                         running ? running_var.data<float>() : nullptr,
                         eps,
                         momentum};
    auto* const parts = workspace.data<Moments>();
    choose_width<T>(C, is_vec_aligned(x.ptr), [&]<int WIDTH>() {
      ColumnPlan const plan = plan_columns(N, L, C, WIDTH, workspace.size() / part);
      launch(moments_kernel<T, WIDTH>, column_grid(op, plan), COLUMN_THREADS, 0, stream,
             x.data<T>(), plan, parts);
      launch(statistics_kernel<T>, row_grid<TEAM>(op, N * groups), TEAM, 0, stream, x.data<T>(),
             plan, groups, parts, out);
    });
  });
}
PYNN_EXPORT(group_moments,
            "(x, mean, rstd, running_mean, running_var, workspace, eps, momentum)  mean and "
            "1 / sqrt(var + eps) of x (N, L, C) over L and each group of channels");

void group_apply(cudaStream_t stream, Array x, Array mean, Array rstd, Array weight, Array bias,
                 Out y) {
  char const* const op = "group_apply";
  int64_t const groups = check(op, x, mean, rstd);
  int64_t const C = x.dims[2];
  expect_like(op, "y", y, x);
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    Affine<T> const affine{optional<T>(op, "weight", weight, x, C),
                           optional<T>(op, "bias", bias, x, C)};
    if (x.size() == 0) return;
    Groups const of{mean.data<double>(), rstd.data<double>(), groups, C / groups};
    bool const aligned = is_vec_aligned(x.ptr) && is_vec_aligned(y.ptr);
    choose_width<T>(C, aligned, [&]<int WIDTH>() {
      ColumnPlan const plan = plan_columns(x.dims[0], x.dims[1], C, WIDTH, ANY_SPLITS);
      launch(apply_kernel<T, WIDTH>, column_grid(op, plan), COLUMN_THREADS, 0, stream, x.data<T>(),
             plan, of, affine, y.data<T>());
    });
  });
}
PYNN_EXPORT(group_apply,
            "(x, mean, rstd, weight, bias, y)  y = (x - mean) rstd weight + bias, x (N, L, C), "
            "mean and rstd (N, groups)");

void group_norm_bwd(cudaStream_t stream, Array x, Array dy, Array weight, Array mean, Array rstd,
                    Out dx, Out dw, Out db, Out workspace) {
  char const* const op = "group_norm_bwd";
  int64_t const groups = check(op, x, mean, rstd);
  int64_t const N = x.dims[0];
  int64_t const L = x.dims[1];
  int64_t const C = x.dims[2];
  expect_like(op, "dy", dy, x);
  if (dx.size() > 0) expect_shape(op, "dx", dx, x.shape());
  if (dw.size() > 0) expect_shape(op, "dw", dw, {C});
  if (db.size() > 0) expect_shape(op, "db", db, {C});
  expect_dtype(op, "workspace", workspace, DType::f32);
  int64_t const fixed = 4 * N * (C + groups);
  expect(workspace.size() >= fixed, op, "workspace", "at least " + show(fixed) + " floats",
         workspace.size());
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    T const* const w = optional<T>(op, "weight", weight, x, C);
    T* const rdx = wanted<T>(op, "dx", dx, x);
    T* const rdw = wanted<T>(op, "dw", dw, x);
    T* const rdb = wanted<T>(op, "db", db, x);
    if (C == 0) return;
    auto* const means = workspace.data<double>();
    auto* const sums = reinterpret_cast<Sum*>(means + 2 * N * groups);
    Sum* const parts = sums + 2 * N * C;
    int64_t const most_splits = N == 0 ? 1 : (workspace.size() - fixed) / (4 * N * C);
    Groups const of{mean.data<double>(), rstd.data<double>(), groups, C / groups};
    bool const aligned = is_vec_aligned(x.ptr) && is_vec_aligned(dy.ptr) && is_vec_aligned(dx.ptr);
    choose_width<T>(C, aligned, [&]<int WIDTH>() {
      ColumnPlan const plan = plan_columns(N, L, C, WIDTH, most_splits);
      if (N > 0) {
        launch(gradient_sums_kernel<T, WIDTH>, column_grid(op, plan), COLUMN_THREADS, 0, stream,
               x.data<T>(), dy.data<T>(), plan, of, plan.splits > 1 ? parts : sums);
        if (plan.splits > 1) {
          ColumnPlan const join = plan_columns(N, plan.splits, 2 * C, 1, 1);
          launch(join_splits_kernel, column_grid(op, join), COLUMN_THREADS, 0, stream, parts, join,
                 sums);
        }
      }
      int64_t const folds = N * groups + 2 * C;
      auto const ctas = static_cast<unsigned>((folds + COLUMN_THREADS - 1) / COLUMN_THREADS);
      launch(fold_kernel<T>, ctas, COLUMN_THREADS, 0, stream, sums, plan, groups, w, means, rdw,
             rdb);
      if (rdx == nullptr) return;
      ColumnPlan const spread = plan_columns(N, L, C, WIDTH, ANY_SPLITS);
      launch(gradient_kernel<T, WIDTH>, column_grid(op, spread), COLUMN_THREADS, 0, stream,
             x.data<T>(), dy.data<T>(), spread, of, w, means, rdx);
    });
  });
}
PYNN_EXPORT(group_norm_bwd,
            "(x, dy, weight, mean, rstd, dx, dw, db, workspace)  dx = rstd (g - mean g - "
            "xhat mean(g xhat)), g = dy weight, over L and the group; dw = sum dy xhat, "
            "db = sum dy");

}  // namespace pynn::norm
