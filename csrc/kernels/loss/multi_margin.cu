// multi_margin.cu — how far scores come within a margin of the label's, and the gradient.
//
//   over_c  = max(0, margin - x_t + x_c) for c != t, else 0
//   loss    = w_t / C sum_c over_c^p                                     p = 1 or 2
//   dx_c    = g [over_c != 0] or 2 g over_c,  dx_t = -sum of these;  g = dy / divisor w_t / C
//
//   x, dx (rows, C), T = f32 | f16 | bf16;  labels t (rows,) int64;  weight w (C,) f32, or empty: 1
//   losses (rows,) f32;  dy (rows,) f32 or one;  NaN in x gives NaN;  a label outside [0, C): NaN
//
//   a warp for rows of up to 256 vectors, else a CTA of 256 threads, 4 vectors each in flight; dx is
//   written while it is summed, the label's own element last, by the thread that has it
//
//   bytes  forward (C sizeof(T) + 12) rows, backward (2 C sizeof(T) + 12) rows, 8 where dy is one
//   bound: memory;  deterministic
//
//   Crammer, Singer 2001, JMLR 2

#include <cmath>
#include <cstdint>

#include "common/array.h"
#include "common/check.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/launch.h"
#include "common/row.cuh"
#include "common/shared.cuh"

namespace pynn::multi_margin {

inline constexpr int VECS = 4;

struct Params {
  int64_t const* labels;
  float const* weight;  // or null: 1
  int64_t rows;
  int64_t classes;
  float margin;
  bool squared;

  __device__ bool inside(int64_t t) const { return t >= 0 && t < classes; }
  // w_t / C, NaN for a label that is no class
  __device__ float scale(int64_t t) const {
    if (!inside(t)) return NAN;
    return (weight == nullptr ? 1.f : weight[t]) / static_cast<float>(classes);
  }
};

// One row: what a class is over the label's score.
template <typename T>
struct Over {
  int64_t label;
  float gap;  // margin - x_t

  __device__ Over(Params const& p, int64_t row, T const* x) : label(p.labels[row]) {
    gap = p.inside(label) ? p.margin - static_cast<float>(x[label]) : NAN;
  }
  __device__ float operator()(int64_t c, float x) const {
    return c == label ? 0.f : Max{}(x + gap, 0.f);
  }
};

template <typename T, int WIDTH, int THREADS>
__global__ void __launch_bounds__(ROW_CTA<THREADS>)
    multi_margin_fwd_kernel(T const* x, Params p, float* losses) {
  using Lane = Row<T, WIDTH, THREADS, VECS>;
  using Cta = Team<THREADS>;
  constexpr int64_t CHUNK = int64_t{THREADS} * VECS * WIDTH;
  int64_t const row = row_index<THREADS>();
  if (row >= p.rows) return;
  int64_t const n = p.classes;
  x += row * n;

  Over<T> const over(p, row, x);
  Sum sum;
  for (int64_t i = 0; i < n; i += CHUNK) {
    int const m = static_cast<int>(min(n - i, CHUNK));
    Lane rx;
    rx.load(x + i, m);
    sum = sum + Sum(Lane::fold(0.f, m, Add{}, [&](int v, int k) {
            float const excess = over(i + Lane::at(v) + k, rx(v, k));
            return p.squared ? excess * excess : excess;
          }));
  }
  sum = Cta::reduce(sum, Add{}, shared<typename Cta::template Slots<Sum>, "sums">());
  if (Cta::rank() == 0) losses[row] = sum.value() * p.scale(over.label);
}

template <typename T, int WIDTH, int THREADS>
__global__ void __launch_bounds__(ROW_CTA<THREADS>)
    multi_margin_bwd_kernel(T const* x, Params p, float const* dy, int64_t dy_stride, float divisor,
                            T* dx) {
  using Lane = Row<T, WIDTH, THREADS, VECS>;
  using Cta = Team<THREADS>;
  constexpr int64_t CHUNK = int64_t{THREADS} * VECS * WIDTH;
  int64_t const row = row_index<THREADS>();
  if (row >= p.rows) return;
  int64_t const n = p.classes;
  x += row * n;
  dx += row * n;

  Over<T> const over(p, row, x);
  float const g = dy[row * dy_stride] / divisor * p.scale(over.label);
  bool mine = false;
  Sum sum;
  for (int64_t i = 0; i < n; i += CHUNK) {
    int const m = static_cast<int>(min(n - i, CHUNK));
    Lane rx;
    rx.load(x + i, m);
    auto const slope = [&](int v, int k) {
      float const excess = over(i + Lane::at(v) + k, rx(v, k));
      return p.squared ? 2.f * excess : excess != 0.f ? 1.f : 0.f;
    };
    sum = sum + Sum(Lane::fold(0.f, m, Add{}, slope));
    Lane::map(dx + i, m, [&](int v, int k) {
      mine = mine || i + Lane::at(v) + k == over.label;
      return g * slope(v, k);
    });
  }
  sum = Cta::reduce(sum, Add{}, shared<typename Cta::template Slots<Sum>, "sums">());
  if (mine) dx[over.label] = static_cast<T>(-g * sum.value());
}

// The checks of both directions.
Params params(char const* op, Array x, Array labels, Array weight, double margin, bool squared) {
  expect_ndim(op, "x", x, 2);
  int64_t const rows = x.dims[0];
  int64_t const classes = x.dims[1];
  expect(classes > 0, op, "x", "at least one class", x.shape());
  expect_shape(op, "labels", labels, {rows});
  expect_dtype(op, "labels", labels, DType::i64);
  if (weight.size() > 0) expect_shape(op, "weight", weight, {classes});
  expect_dtype(op, "weight", weight, DType::f32);
  return {labels.data<int64_t>(),
          weight.size() > 0 ? weight.data<float>() : nullptr,
          rows,
          classes,
          static_cast<float>(margin),
          squared};
}

void multi_margin_fwd(cudaStream_t stream, Array x, Array labels, Array weight, Out losses,
                      double margin, bool squared) {
  char const* const op = "multi_margin_fwd";
  Params const p = params(op, x, labels, weight, margin, squared);
  expect_shape(op, "losses", losses, {p.rows});
  expect_dtype(op, "losses", losses, DType::f32);
  if (p.rows == 0) return;
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    choose_walk<T>(x.dims[1], is_vec_aligned(x.ptr), [&]<int WIDTH, int THREADS>() {
      launch(multi_margin_fwd_kernel<T, WIDTH, THREADS>, row_grid<THREADS>(op, p.rows),
             ROW_CTA<THREADS>, 0, stream, x.data<T>(), p, losses.data<float>());
    });
  });
}
PYNN_EXPORT(multi_margin_fwd,
            "(x, labels, weight, losses, margin, squared)  losses = w / C times the sum of max(0, "
            "margin - x at the label + x), squared or not, over the other classes");

void multi_margin_bwd(cudaStream_t stream, Array x, Array labels, Array weight, Array dy, Out dx,
                      double margin, bool squared, double divisor) {
  char const* const op = "multi_margin_bwd";
  Params const p = params(op, x, labels, weight, margin, squared);
  if (dy.size() != 1) expect_shape(op, "dy", dy, {p.rows});
  expect_dtype(op, "dy", dy, DType::f32);
  expect_like(op, "dx", dx, x);
  if (p.rows == 0) return;
  bool const aligned = is_vec_aligned(x.ptr) && is_vec_aligned(dx.ptr);
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    choose_walk<T>(x.dims[1], aligned, [&]<int WIDTH, int THREADS>() {
      launch(multi_margin_bwd_kernel<T, WIDTH, THREADS>, row_grid<THREADS>(op, p.rows),
             ROW_CTA<THREADS>, 0, stream, x.data<T>(), p, dy.data<float>(), int64_t{dy.size() != 1},
             static_cast<float>(divisor), dx.data<T>());
    });
  });
}
PYNN_EXPORT(multi_margin_bwd,
            "(x, labels, weight, dy, dx, margin, squared, divisor)  dx = dy / divisor times the "
            "gradient of the losses");

}  // namespace pynn::multi_margin
