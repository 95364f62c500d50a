// soft_cross_entropy.cu — cross entropy of rows of logits with rows of probabilities, and its
// gradients.
//
//   q_c   = w_c ((1 - s) t_c + s/C),  Q = sum_c q_c,  S = sum_c e^x'_c,  x'_c = x_c - max
//   loss  = Q log S - sum_c q_c x'_c          a term is 0 where q_c is
//   dx_c  = g (e^x'_c Q / S - q_c),  dt_c = g (1 - s) w_c (log S - x'_c);  g = dy / divisor
//
//   x, t, dx, dt (rows, C), T = f32 | f16 | bf16;  dx or dt may be empty: not wanted
//   weight  w (C,) f32, or empty: 1;  s label smoothing;  losses (rows,) f32;  dy (rows,) f32 or one
//   stats   (3, rows) f32: max, S and Q
//
//   A row of -inf loses +inf, has max 0 and S 0, and no gradient.
//
//   forward   a warp for rows of up to 256 vectors, else a CTA of 256 threads, 4 vectors of x and of
//             t each in flight; maximum, S, Q and sum q x' in one pass, relative to the greatest
//             element so far: rows of any length, each element read once
//   backward  the same teams; nothing is summed
//
//   bytes  forward (2 C sizeof(T) + 16) rows, backward (3 C sizeof(T) + 16) rows and C sizeof(T) rows
//          more for a second gradient; 8 a row where dy is one;  bound: memory
//   deterministic
//
//   Milakov, Gimelshein 2018, arXiv:1805.02867 (online softmax)

#include <cmath>
#include <cstdint>

#include "common/array.h"
#include "common/check.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/launch.h"
#include "common/row.cuh"
#include "common/shared.cuh"

namespace pynn::soft_cross_entropy {

inline constexpr int VECS = 4;

struct Params {
  float const* weight;  // or null: 1
  float* stats;
  int64_t rows;
  int64_t classes;
  float smoothing;

  __device__ float weight_of(int64_t c) const { return weight == nullptr ? 1.f : weight[c]; }
  __device__ float q(int64_t c, float t) const {
    if (smoothing != 0.f) t = (1.f - smoothing) * t + smoothing / static_cast<float>(classes);
    return t * weight_of(c);
  }
};

// Of a part of a row; sum and products are relative to finite_peak(max).
struct Part {
  MaxSum exponentials;
  Sum mass;      // Q
  Sum products;  // sum q x'

  // The products relative to the peak of a greater maximum.
  __device__ Sum relative_to(float greater) const {
    float const shift = finite_peak(exponentials.max) - finite_peak(greater);
    if (shift == 0.f || mass.high == 0.f) return products;
    Sum moved = Sum::product(shift, mass.high);
    moved.low += shift * mass.low;
    return products + moved;
  }
  __device__ Part operator+(Part b) const {
    Part joined{exponentials + b.exponentials, mass + b.mass, Sum{}};
    float const greater = joined.exponentials.max;
    joined.products = relative_to(greater) + b.relative_to(greater);
    return joined;
  }
};

template <typename T, int WIDTH, int THREADS>
__global__ void __launch_bounds__(ROW_CTA<THREADS>)
    soft_cross_entropy_fwd_kernel(T const* x, T const* t, Params p, float* losses) {
  using Lane = Row<T, WIDTH, THREADS, VECS>;
  using Cta = Team<THREADS>;
  constexpr int64_t CHUNK = int64_t{THREADS} * VECS * WIDTH;
  int64_t const row = row_index<THREADS>();
  if (row >= p.rows) return;
  int64_t const n = p.classes;
  x += row * n;
  t += row * n;

  Part all{{-INFINITY, Sum{}}, Sum{}, Sum{}};
  for (int64_t i = 0; i < n; i += CHUNK) {
    int const m = static_cast<int>(min(n - i, CHUNK));
    Lane rx;
    Lane rt;
    rx.load(x + i, m);
    rt.load(t + i, m);
    auto const q = [&](int v, int k) { return p.q(i + Lane::at(v) + k, rt(v, k)); };
    float const max = Lane::fold(-INFINITY, m, Max{}, rx);
    float const peak = finite_peak(max);
    Part part{{max, Sum{}}, Sum{}, Sum{}};
    part.exponentials.sum =
        Lane::fold(0.f, m, Add{}, [&](int v, int k) { return expf(rx(v, k) - peak); });
    part.mass = Lane::fold(Sum{}, m, Add{}, [&](int v, int k) { return Sum(q(v, k)); });
    part.products = Lane::fold(Sum{}, m, Add{}, [&](int v, int k) {
      float const share = q(v, k);
      return Sum(share == 0.f ? 0.f : share * (rx(v, k) - peak));
    });
    all = all + part;
  }
  all = Cta::reduce(all, Add{}, shared<typename Cta::template Slots<Part>, "parts">());

  if (Cta::rank() > 0) return;
  float const sum = all.exponentials.max == INFINITY ? NAN : all.exponentials.sum.value();
  float const mass = all.mass.value();
  p.stats[row] = finite_peak(all.exponentials.max);
  p.stats[p.rows + row] = sum;
  p.stats[2 * p.rows + row] = mass;
  losses[row] = sum == 0.f ? INFINITY : mass * logf(sum) - all.products.value();
}

// dy and its divisor.
struct Slope {
  float const* dy;
  int64_t stride;  // 0: one dy for all rows
  float divisor;
};

template <typename T, int WIDTH, int THREADS>
__global__ void __launch_bounds__(ROW_CTA<THREADS>)
    soft_cross_entropy_bwd_kernel(T const* x, T const* t, Params p, Slope slope, T* dx, T* dt) {
  using Lane = Row<T, WIDTH, THREADS, VECS>;
  constexpr int64_t CHUNK = int64_t{THREADS} * VECS * WIDTH;
  int64_t const row = row_index<THREADS>();
  if (row >= p.rows) return;
  int64_t const n = p.classes;

  float const peak = p.stats[row];
  float const sum = p.stats[p.rows + row];
  float const g = sum == 0.f ? 0.f : slope.dy[row * slope.stride] / slope.divisor;
  float const scale = g * p.stats[2 * p.rows + row] / (sum == 0.f ? 1.f : sum);
  float const log_sum = logf(sum);
  for (int64_t i = 0; i < n; i += CHUNK) {
    int const m = static_cast<int>(min(n - i, CHUNK));
    int64_t const at = row * n + i;
    Lane rx;
    rx.load(x + at, m);
    if (dx != nullptr) {
      Lane rt;
      rt.load(t + at, m);
      Lane::map(dx + at, m, [&](int v, int k) {
        return expf(rx(v, k) - peak) * scale - g * p.q(i + Lane::at(v) + k, rt(v, k));
      });
    }
    if (dt != nullptr) {
      Lane::map(dt + at, m, [&](int v, int k) {
        float const by = (1.f - p.smoothing) * p.weight_of(i + Lane::at(v) + k);
        return g == 0.f ? 0.f : g * (by * (log_sum - (rx(v, k) - peak)));
      });
    }
  }
}

// The checks of both directions.
Params params(char const* op, Array x, Array t, Array weight, Array stats, double smoothing) {
  expect_ndim(op, "x", x, 2);
  int64_t const rows = x.dims[0];
  int64_t const classes = x.dims[1];
  expect(classes > 0, op, "x", "at least one class", x.shape());
  expect_like(op, "t", t, x);
  if (weight.size() > 0) expect_shape(op, "weight", weight, {classes});
  expect_dtype(op, "weight", weight, DType::f32);
  expect_shape(op, "stats", stats, {3, rows});
  expect_dtype(op, "stats", stats, DType::f32);
  expect(smoothing >= 0. && smoothing <= 1., op, "smoothing", "a number in [0, 1]", smoothing);
  return {weight.size() > 0 ? weight.data<float>() : nullptr, static_cast<float*>(stats.ptr), rows,
          classes, static_cast<float>(smoothing)};
}

void soft_cross_entropy_fwd(cudaStream_t stream, Array x, Array t, Array weight, Out losses,
                            Out stats, double smoothing) {
  char const* const op = "soft_cross_entropy_fwd";
  Params const p = params(op, x, t, weight, stats, smoothing);
  expect_shape(op, "losses", losses, {p.rows});
  expect_dtype(op, "losses", losses, DType::f32);
  if (p.rows == 0) return;
  bool const aligned = is_vec_aligned(x.ptr) && is_vec_aligned(t.ptr);
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    choose_walk<T>(x.dims[1], aligned, [&]<int WIDTH, int THREADS>() {
      launch(soft_cross_entropy_fwd_kernel<T, WIDTH, THREADS>, row_grid<THREADS>(op, p.rows),
             ROW_CTA<THREADS>, 0, stream, x.data<T>(), t.data<T>(), p, losses.data<float>());
    });
  });
}
PYNN_EXPORT(soft_cross_entropy_fwd,
            "(x, t, weight, losses, stats, smoothing)  losses = -sum of t log softmax(x); stats = "
            "max, sum exp(x - max) and sum of t, of each row");

void soft_cross_entropy_bwd(cudaStream_t stream, Array x, Array t, Array weight, Array stats,
                            Array dy, Out dx, Out dt, double smoothing, double divisor) {
  char const* const op = "soft_cross_entropy_bwd";
  Params const p = params(op, x, t, weight, stats, smoothing);
  if (dy.size() != 1) expect_shape(op, "dy", dy, {p.rows});
  expect_dtype(op, "dy", dy, DType::f32);
  if (dx.size() > 0) expect_shape(op, "dx", dx, x.shape());
  if (dt.size() > 0) expect_shape(op, "dt", dt, x.shape());
  expect_dtype(op, "dx", dx, x.dtype);
  expect_dtype(op, "dt", dt, x.dtype);
  if (p.rows == 0) return;
  Slope const slope{dy.data<float>(), int64_t{dy.size() != 1}, static_cast<float>(divisor)};
  bool const aligned = is_vec_aligned(x.ptr) && is_vec_aligned(t.ptr) && is_vec_aligned(dx.ptr) &&
                       is_vec_aligned(dt.ptr);
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    choose_walk<T>(x.dims[1], aligned, [&]<int WIDTH, int THREADS>() {
      launch(soft_cross_entropy_bwd_kernel<T, WIDTH, THREADS>, row_grid<THREADS>(op, p.rows),
             ROW_CTA<THREADS>, 0, stream, x.data<T>(), t.data<T>(), p, slope,
             dx.size() > 0 ? dx.data<T>() : nullptr, dt.size() > 0 ? dt.data<T>() : nullptr);
    });
  });
}
PYNN_EXPORT(soft_cross_entropy_bwd,
            "(x, t, weight, stats, dy, dx, dt, smoothing, divisor)  dy / divisor times the "
            "gradients of the losses; dx or dt of no size is not written");

}  // namespace pynn::soft_cross_entropy
