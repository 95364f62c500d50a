// group_moments.cu — mean and rstd of channels or groups of channels; running statistics.
//
//   mean, rstd = 1 / sqrt(var + eps)  (N, G) f64, of x (N, L, C): group.cuh
//   x of T = f32 | f16 | bf16;  running mean and var (C,) f32 or empty, moved by `momentum` of the
//   way, with the variance over n - 1
//   group_moments      all of it; workspace f32, any size of at least 4 N C: more lets L be cut in
//                      more splits
//   group_statistics   the second kernel alone: whoever wrote x (1, L, C) left parts (S, C, 4) f32
//                      of its moments (common/moments.cuh), as fprop of kernels/conv does
//
//   first kernel   down the columns (common/column.cuh); a thread sums over 64 rows at a time, about
//                  the first of them (common/moments.cuh)
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
#include "common/moments.cuh"
#include "common/shared.cuh"

namespace pynn::norm {

inline constexpr int TEAM = 128;
inline constexpr int FRESH_ROWS = 64;  // of a thread, before it takes another K

template <typename T, int WIDTH>
__global__ void __launch_bounds__(COLUMN_THREADS)
    moments_kernel(T const* x, ColumnPlan plan, StoredMoments* parts) {
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
    for (int k = 0; k < WIDTH; ++k) {
      moments[k] = moments[k] + sums[k].moments(static_cast<float>(count));
    }
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
    statistics_kernel(T const* x, ColumnPlan plan, int64_t groups, StoredMoments const* parts,
                      Statistics out) {
  using Cta = Team<TEAM>;
  int64_t const members = plan.inner / groups;
  int64_t const sample = blockIdx.x / groups;
  int64_t const first = blockIdx.x % groups * members;

  JoinedMoments joined;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < plan.splits * members; i += TEAM) {
    int64_t const split = i / members;
    int64_t const column = first + (i - split * members);
    joined.add(parts[(sample * plan.splits + split) * plan.inner + column]);
  }
  Moments moments =
      Cta::reduce(joined.moments(), Add{}, shared<Cta::Slots<Moments>, "moments">());
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

// Launches the second kernel for what x (N, L, C) leaves in parts (N, splits, C).
template <typename T>
void launch_statistics(char const* op, cudaStream_t stream, Array x, ColumnPlan const& plan,
                       int64_t groups, StoredMoments const* parts, Statistics const& out) {
  launch(statistics_kernel<T>, row_grid<TEAM>(op, plan.outer * groups), TEAM, 0, stream,
         x.data<T>(), plan, groups, parts, out);
}

Statistics statistics(char const* op, Out mean, Out rstd, Out running_mean, Out running_var,
                      double eps, double momentum) {
  expect_dtype(op, "running_mean", running_mean, DType::f32);
  expect_like(op, "running_var", running_var, running_mean);
  bool const running = running_mean.size() > 0;
  if (running) expect_shape(op, "running_mean", running_mean, {mean.size()});
  expect(eps >= 0., op, "eps", "a number >= 0", eps);
  return {mean.data<double>(),
          rstd.data<double>(),
          running ? running_mean.data<float>() : nullptr,
          running ? running_var.data<float>() : nullptr,
          eps,
          momentum};
}

void group_moments(cudaStream_t stream, Array x, Out mean, Out rstd, Out running_mean,
                   Out running_var, Out workspace, double eps, double momentum) {
  char const* const op = "group_moments";
  int64_t const groups = check(op, x, mean, rstd);
  Statistics const out = statistics(op, mean, rstd, running_mean, running_var, eps, momentum);
  int64_t const N = x.dims[0];
  int64_t const C = x.dims[2];
  expect_dtype(op, "workspace", workspace, DType::f32);
  int64_t const part = N * C * static_cast<int64_t>(sizeof(StoredMoments) / sizeof(float));
  expect(workspace.size() >= part, op, "workspace", "at least " + show(part) + " floats",
         workspace.size());
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    if (N * C == 0) return;
    auto* const parts = workspace.data<StoredMoments>();
    choose_width<T>(C, is_vec_aligned(x.ptr), [&]<int WIDTH>() {
      ColumnPlan const plan = plan_columns(N, x.dims[1], C, WIDTH, workspace.size() / part);
      launch(moments_kernel<T, WIDTH>, column_grid(op, plan), COLUMN_THREADS, 0, stream,
             x.data<T>(), plan, parts);
      launch_statistics<T>(op, stream, x, plan, groups, parts, out);
    });
  });
}
PYNN_EXPORT(group_moments,
            "(x, mean, rstd, running_mean, running_var, workspace, eps, momentum)  mean and "
            "1 / sqrt(var + eps) of x (N, L, C) over L and each group of channels");

void group_statistics(cudaStream_t stream, Array x, Array parts, Out mean, Out rstd,
                      Out running_mean, Out running_var, double eps, double momentum) {
  char const* const op = "group_statistics";
  int64_t const groups = check(op, x, mean, rstd);
  Statistics const out = statistics(op, mean, rstd, running_mean, running_var, eps, momentum);
  expect(x.dims[0] == 1, op, "x", "shape (1, L, C)", x.shape());
  expect_ndim(op, "parts", parts, 3);
  expect_shape(op, "parts", parts, {parts.dims[0], x.dims[2], 4});
  expect_dtype(op, "parts", parts, DType::f32);
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    if (x.dims[2] == 0) return;
    ColumnPlan plan = plan_columns(1, x.dims[1], x.dims[2], 1, 1);
    plan.splits = parts.dims[0];
    launch_statistics<T>(op, stream, x, plan, groups, parts.data<StoredMoments>(), out);
  });
}
PYNN_EXPORT(group_statistics,
            "(x, parts, mean, rstd, running_mean, running_var, eps, momentum)  as group_moments, "
            "from parts (S, C, 4) of the moments of x (1, L, C)");

}  // namespace pynn::norm
