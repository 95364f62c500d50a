// group_moments.cu — mean and rstd of channels or groups of channels; running statistics.
//
//   mean, rstd = 1 / sqrt(var + eps)  (N, G) f64, of x (N, L, C): group.cuh
//   x of T = f32 | f16 | bf16;  running mean and var (C,) f32 or empty, moved by `momentum` of the
//   way, with the variance over n - 1
//   workspace f32, any size of at least 6 N C; more lets L be cut in more splits
//
//   first kernel   down the columns (common/column.cuh); a thread sums d = x - K and d^2 over 64
//                  rows at a time, K the first of them: since K is one of the 64, cancellation
//                  costs at most a factor 65, whatever the mean. The parts, in f64, are joined by
//                  the formula of Chan, Golub, LeVeque 1983.
//   second kernel  a team for each (N, G) joins splits and channels, and moves the running
//                  statistics. Where f32 could not hold the squares it takes the moments of its
//                  group again, in f64, from memory: slow, and only for values beyond 1e15 or
//                  below 1e-15.
//
//   bytes  sizeof(T) N L C, and the parts     bound: memory
//   deterministic: the cut depends on shapes and the workspace alone

#include <cmath>

#include "kernels/norm/group.cuh"

#include "common/dispatch.h"
#include "common/export.h"
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

}  // namespace pynn::norm
