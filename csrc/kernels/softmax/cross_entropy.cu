// cross_entropy.cu — -log softmax(x) at a label, for every row of logits, and its gradient.
//
//   loss  = (1 - s) w_t (log S - x'_t) + s/C (W log S - sum_c w_c x'_c)
//   dx_c  = g (e^x'_c / S ((1 - s) w_t + s/C W) - s/C w_c - (1 - s) w_t [c = t])
//   x'_c  = x_c - max,  S = sum_c e^x'_c,  W = sum_c w_c,  g = dy / divisor
//
//   x, dx (rows, C), T = f32 | f16 | bf16;  labels (rows,) int64;  s label smoothing, in f32
//   weight  w (C,) f32 and weight_sum W (1,) f32, or both empty: w = 1
//   stats   (2, rows) f32: max, and S;  losses (2, rows) f32, with the rows' weights w_t
//   dy      (rows,) f32 or one;  divisor (1,) f32, or empty: 1;  no probabilities are stored
//
//   A row labelled ignore_index has loss, weight and gradient 0. A label outside [0, C) gives NaN:
//   asking would make the host wait, so the caller asks where the labels lie on the host. A row of
//   -inf loses +inf, has max 0 and S 0, and no gradient.
//
//   forward   common/row.cuh: a row stays in the registers of its team, which also writes dx for
//             dy = 1, where it is wanted;  rows of 16,384 to 262,144 elements by a cluster
//             (cross_entropy_sm90.cu), longer ones, or scalars over 2,048, online by a CTA: in one
//             pass, with smoothing in two, with dx in one more
//   backward  of what the forward wrote: times dy, nothing where that is 1;  else a team of 8, 32
//             or 256 threads a row, 4 vectors each in flight; nothing is summed
//
//   bytes  forward (C sizeof(T) + 24) rows, with dx C sizeof(T) rows more, weights of the labels
//          8 rows, total 8 rows;  backward (2 C sizeof(T) + 20) rows, or 4 where dy is 1
//   bound: memory
//   FLOPs  about 3 and an exponential an element, 5 and one for the gradient
//   deterministic
//
//   Szegedy et al. 2015, arXiv:1512.00567 (label smoothing);  the gradient beside the loss is the
//   idea of llm.c's fused classifier

#include <cmath>

#include "kernels/softmax/cross_entropy.cuh"

#include "common/array.h"
#include "common/chip.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/shared.cuh"

namespace pynn::cross_entropy {

inline constexpr int LONG_THREADS = 1024;
inline constexpr int VECS = 4;
inline constexpr int SCALE_THREADS = 256;

template <typename T, int WIDTH, int THREADS, int HELD>
__global__ void __launch_bounds__(ROW_CTA<THREADS>)
    cross_entropy_fwd_kernel(T const* x, Params p, Losses out, Gradient<T> gradient) {
  using Lane = Row<T, WIDTH, THREADS, HELD>;
  using Cta = Team<THREADS>;
  using Slots = typename Cta::template Slots<Sum>;
  int64_t const row = row_index<THREADS>();
  if (row >= p.rows) return;
  int const n = static_cast<int>(p.classes);
  x += row * n;

  Lane rx;
  rx.load(x, n);

  float const max = Cta::reduce(Lane::fold(-INFINITY, n, Max{}, rx), Max{},
                                shared<typename Cta::template Slots<float>, "maxima">());
  float const peak = finite_peak(max);

  Sum sum = Lane::fold(0.f, n, Add{}, [&](int v, int k) { return expf(rx(v, k) - peak); });
  sum = Cta::reduce(sum, Add{}, shared<Slots, "sums">());

  Sum smooth;
  if (p.smoothing != 0.f) {
    smooth = Lane::fold(0.f, n, Add{},
                        [&](int v, int k) { return p.smooth(Lane::at(v) + k, rx(v, k) - peak); });
    smooth = Cta::reduce(smooth, Add{}, shared<Slots, "smooth">());
  }
  if (gradient.dx != nullptr) {
    RowGradient const d(p, row, peak, sum.value(), gradient.of_loss());
    Lane::map(gradient.dx + row * n, n,
              [&](int v, int k) { return d(p, Lane::at(v) + k, rx(v, k)); });
  }
  if (Cta::rank() == 0) finish(p, out, row, x, peak, sum.value(), smooth.value());
}

template <typename T, int WIDTH>
__global__ void __launch_bounds__(LONG_THREADS, 1)
    cross_entropy_fwd_long_kernel(T const* x, Params p, Losses out, Gradient<T> gradient) {
  using Lane = Row<T, WIDTH, LONG_THREADS, VECS>;
  using Cta = Team<LONG_THREADS>;
  constexpr int64_t CHUNK = int64_t{LONG_THREADS} * VECS * WIDTH;
  int64_t const n = p.classes;
  x += blockIdx.x * n;

  // max and sum
  MaxSum part{-INFINITY, Sum{}};
  for (int64_t i = 0; i < n; i += CHUNK) {
    int const m = static_cast<int>(min(n - i, CHUNK));
    Lane rx;
    rx.load(x + i, m);
    float const max = Lane::fold(part.max, m, Max{}, rx);
    float const peak = finite_peak(max);
    float const sum =
        Lane::fold(0.f, m, Add{}, [&](int v, int k) { return expf(rx(v, k) - peak); });
    part = {max, part.relative_to(max) + Sum(sum)};
  }
  MaxSum const row = Cta::reduce(part, Add{}, shared<Cta::Slots<MaxSum>, "max_sums">());
  float const peak = finite_peak(row.max);

  // smoothing
  Sum smooth;
  if (p.smoothing != 0.f) {
    for (int64_t i = 0; i < n; i += CHUNK) {
      int const m = static_cast<int>(min(n - i, CHUNK));
      Lane rx;
      rx.load(x + i, m);
      smooth = smooth + Sum(Lane::fold(0.f, m, Add{}, [&](int v, int k) {
                 return p.smooth(i + Lane::at(v) + k, rx(v, k) - peak);
               }));
    }
    smooth = Cta::reduce(smooth, Add{}, shared<Cta::Slots<Sum>, "smooth">());
  }
  float const sum = row.max == INFINITY ? NAN : row.sum.value();
  if (threadIdx.x == 0) finish(p, out, int64_t{blockIdx.x}, x, peak, sum, smooth.value());

  // gradient
  if (gradient.dx == nullptr) return;
  RowGradient const d(p, int64_t{blockIdx.x}, peak, sum, gradient.of_loss());
  for (int64_t i = 0; i < n; i += CHUNK) {
    int const m = static_cast<int>(min(n - i, CHUNK));
    Lane rx;
    rx.load(x + i, m);
    Lane::map(gradient.dx + blockIdx.x * n + i, m,
              [&](int v, int k) { return d(p, i + Lane::at(v) + k, rx(v, k)); });
  }
}

// dy and divisor of the gradient.
struct Slope {
  float const* dy;
  int64_t stride;  // 0: one dy for all rows
  float const* divisor;

  __device__ float of(int64_t row) const {
    float const g = dy[row * stride];
    return divisor == nullptr ? g : g / *divisor;
  }
};

template <typename T, int WIDTH, int THREADS>
__global__ void __launch_bounds__(ROW_CTA<THREADS>)
    cross_entropy_bwd_kernel(T const* x, Params p, Slope slope, T* dx) {
  using Lane = Row<T, WIDTH, THREADS, VECS>;
  constexpr int64_t CHUNK = int64_t{THREADS} * VECS * WIDTH;
  int64_t const row = row_index<THREADS>();
  if (row >= p.rows) return;
  int64_t const n = p.classes;
  x += row * n;
  dx += row * n;

  RowGradient const d(p, row, p.stats[row], p.stats[p.rows + row], slope.of(row));
  for (int64_t i = 0; i < n; i += CHUNK) {
    int const m = static_cast<int>(min(n - i, CHUNK));
    Lane rx;
    rx.load(x + i, m);
    Lane::map(dx + i, m, [&](int v, int k) { return d(p, i + Lane::at(v) + k, rx(v, k)); });
  }
}

// A gradient that the forward wrote, times dy; where dy is 1, nothing is read or written.
template <typename T, int WIDTH>
__global__ void __launch_bounds__(SCALE_THREADS)
    scale_rows_kernel(float const* dy, int64_t stride, int64_t n, T* dx) {
  using Lane = Row<T, WIDTH, SCALE_THREADS, VECS>;
  constexpr int64_t CHUNK = int64_t{SCALE_THREADS} * VECS * WIDTH;
  float const g = dy[blockIdx.x * stride];
  if (g == 1.f) return;
  dx += blockIdx.x * n;
  for (int64_t i = 0; i < n; i += CHUNK) {
    int const m = static_cast<int>(min(n - i, CHUNK));
    Lane rx;
    rx.load(dx + i, m);
    Lane::map(dx + i, m, [&](int v, int k) { return rx(v, k) * g; });
  }
}

// The sum of the rows' weights, 1 where that is 0, by one CTA.
template <int THREADS>
__global__ void __launch_bounds__(THREADS) label_weights_kernel(Params p, float* divisor) {
  using Cta = Team<THREADS>;
  Sum sum;
  for (int64_t i = threadIdx.x; i < p.rows; i += THREADS) {
    int64_t const label = p.labels[i];
    if (label == p.ignore_index) continue;
    sum = sum + Sum(p.inside(label) ? p.weight_of(label) : NAN);
  }
  sum = Cta::reduce(sum, Add{}, shared<typename Cta::template Slots<Sum>, "weights">());
  float const total = sum.value();
  if (threadIdx.x == 0) *divisor = total == 0.f ? 1.f : total;
}

// The losses' sum over that of the weights (1 where that is 0), by one CTA.
template <int THREADS>
__global__ void __launch_bounds__(THREADS) total_kernel(float const* losses, float const* weights,
                                                        int64_t rows, float* y, float* divisor) {
  using Cta = Team<THREADS>;
  Sum loss;
  Sum weight;
  for (int64_t i = threadIdx.x; i < rows; i += THREADS) {
    loss = loss + Sum(losses[i]);
    if (weights != nullptr) weight = weight + Sum(weights[i]);
  }
  loss = Cta::reduce(loss, Add{}, shared<typename Cta::template Slots<Sum>, "losses">());
  weight = Cta::reduce(weight, Add{}, shared<typename Cta::template Slots<Sum>, "weights">());
  if (threadIdx.x == 0) {
    float const total = weights == nullptr ? 1.f : weight.value();
    *divisor = total == 0.f ? 1.f : total;
    *y = loss.value() / *divisor;
  }
}

template <typename T>
void choose_fwd(char const* op, cudaStream_t stream, T const* x, Params p, Losses out,
                Gradient<T> gradient) {
  bool const aligned = is_vec_aligned(x) && is_vec_aligned(gradient.dx);
  bool const fits =
      choose_row<T, 16384>(p.classes, aligned, [&]<int WIDTH, int THREADS, int HELD>() {
        launch(cross_entropy_fwd_kernel<T, WIDTH, THREADS, HELD>, row_grid<THREADS>(op, p.rows),
               ROW_CTA<THREADS>, 0, stream, x, p, out, gradient);
      });
  if (fits) return;
  bool const vec = row_is_vec<T>(p.classes, aligned);
  if (vec && chip().major >= 9 && p.classes <= CLUSTER_CLASSES) {
    return launch_cluster(op, stream, x, p, out, gradient);
  }
  auto const kernel = vec ? cross_entropy_fwd_long_kernel<T, VEC_BYTES / sizeof(T)>
                          : cross_entropy_fwd_long_kernel<T, 1>;
  launch(kernel, row_grid<LONG_THREADS>(op, p.rows), LONG_THREADS, 0, stream, x, p, out, gradient);
}

template <typename T, int WIDTH>
void choose_bwd(char const* op, cudaStream_t stream, T const* x, Params p, Slope slope, T* dx) {
  auto const run = [&]<int THREADS>() {
    launch(cross_entropy_bwd_kernel<T, WIDTH, THREADS>, row_grid<THREADS>(op, p.rows),
           ROW_CTA<THREADS>, 0, stream, x, p, slope, dx);
  };
  if (p.classes <= 8 * WIDTH * 2) {
    run.template operator()<8>();
  } else if (p.classes <= 32 * WIDTH * VECS * 2) {
    run.template operator()<32>();
  } else {
    run.template operator()<256>();
  }
}

// The checks of both directions; null pointers where an array is empty.
Params params(char const* op, Array x, Array labels, Array weight, Array weight_sum, Array stats,
              int64_t ignore_index, double smoothing) {
  expect_ndim(op, "x", x, 2);
  int64_t const rows = x.dims[0];
  int64_t const classes = x.dims[1];
  expect(classes > 0, op, "x", "at least one class", x.shape());
  expect_shape(op, "labels", labels, {rows});
  expect_dtype(op, "labels", labels, DType::i64);
  if (weight.size() > 0) {
    expect_shape(op, "weight", weight, {classes});
    expect_shape(op, "weight_sum", weight_sum, {1});
  }
  expect_dtype(op, "weight", weight, DType::f32);
  expect_dtype(op, "weight_sum", weight_sum, DType::f32);
  expect_shape(op, "stats", stats, {2, rows});
  expect_dtype(op, "stats", stats, DType::f32);
  expect(smoothing >= 0. && smoothing <= 1., op, "smoothing", "a number in [0, 1]", smoothing);
  bool const weighted = weight.size() > 0;
  return {labels.data<int64_t>(),
          weighted ? weight.data<float>() : nullptr,
          weighted ? weight_sum.data<float>() : nullptr,
          static_cast<float*>(stats.ptr),
          rows,
          classes,
          ignore_index,
          static_cast<float>(smoothing)};
}

void cross_entropy_fwd(cudaStream_t stream, Array x, Array labels, Array weight, Array weight_sum,
                       Array divisor, Out losses, Out stats, Out dx, int64_t ignore_index,
                       double smoothing) {
  char const* const op = "cross_entropy_fwd";
  Params const p = params(op, x, labels, weight, weight_sum, stats, ignore_index, smoothing);
  expect_shape(op, "losses", losses, {2, p.rows});
  expect_dtype(op, "losses", losses, DType::f32);
  if (divisor.size() > 0) expect_shape(op, "divisor", divisor, {1});
  expect_dtype(op, "divisor", divisor, DType::f32);
  expect_dtype(op, "dx", dx, x.dtype);
  if (dx.size() > 0) expect_shape(op, "dx", dx, x.shape());
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    if (p.rows == 0) return;
    Losses const out{losses.data<float>(), losses.data<float>() + p.rows};
    Gradient<T> const gradient{dx.size() > 0 ? dx.data<T>() : nullptr,
                               divisor.size() > 0 ? divisor.data<float>() : nullptr};
    choose_fwd<T>(op, stream, x.data<T>(), p, out, gradient);
  });
}
PYNN_EXPORT(cross_entropy_fwd,
            "(x, labels, weight, weight_sum, divisor, losses, stats, dx, ignore_index, smoothing)  "
            "losses = -log softmax(x) at the labels, and the rows' weights; stats = max and sum "
            "exp(x - max) of each row; dx = gradient of the losses / divisor, unless empty");

void scale_rows(cudaStream_t stream, Array dy, Out dx) {
  char const* const op = "scale_rows";
  expect_ndim(op, "dx", dx, 2);
  int64_t const rows = dx.dims[0];
  int64_t const n = dx.dims[1];
  if (dy.size() != 1) expect_shape(op, "dy", dy, {rows});
  expect_dtype(op, "dy", dy, DType::f32);
  dispatch_float(op, "dx", dx.dtype, [&]<typename T>() {
    if (dx.size() == 0) return;
    auto const kernel = row_is_vec<T>(n, is_vec_aligned(dx.ptr))
                            ? scale_rows_kernel<T, VEC_BYTES / sizeof(T)>
                            : scale_rows_kernel<T, 1>;
    launch(kernel, row_grid<SCALE_THREADS>(op, rows), SCALE_THREADS, 0, stream, dy.data<float>(),
           int64_t{dy.size() != 1}, n, dx.data<T>());
  });
}
PYNN_EXPORT(scale_rows, "(dy, dx)  dx *= dy, one or one a row; nothing where it is 1");

void label_weights(cudaStream_t stream, Array labels, Array weight, Out divisor, int64_t classes,
                   int64_t ignore_index) {
  char const* const op = "label_weights";
  expect_ndim(op, "labels", labels, 1);
  expect_dtype(op, "labels", labels, DType::i64);
  if (weight.size() > 0) expect_shape(op, "weight", weight, {classes});
  expect_dtype(op, "weight", weight, DType::f32);
  expect_shape(op, "divisor", divisor, {1});
  expect_dtype(op, "divisor", divisor, DType::f32);
  Params p{};
  p.labels = labels.data<int64_t>();
  p.weight = weight.size() > 0 ? weight.data<float>() : nullptr;
  p.rows = labels.size();
  p.classes = classes;
  p.ignore_index = ignore_index;
  constexpr int THREADS = 1024;
  launch(label_weights_kernel<THREADS>, 1u, THREADS, 0, stream, p, divisor.data<float>());
}
PYNN_EXPORT(label_weights,
            "(labels, weight, divisor, classes, ignore_index)  divisor = sum of the labels' "
            "weights, 1 where that is 0");

void cross_entropy_bwd(cudaStream_t stream, Array x, Array labels, Array weight, Array weight_sum,
                       Array stats, Array dy, Array divisor, Out dx, int64_t ignore_index,
                       double smoothing) {
  char const* const op = "cross_entropy_bwd";
  Params const p = params(op, x, labels, weight, weight_sum, stats, ignore_index, smoothing);
  if (dy.size() != 1) expect_shape(op, "dy", dy, {p.rows});
  expect_dtype(op, "dy", dy, DType::f32);
  if (divisor.size() > 0) expect_shape(op, "divisor", divisor, {1});
  expect_dtype(op, "divisor", divisor, DType::f32);
  expect_like(op, "dx", dx, x);
  Slope const slope{dy.data<float>(), dy.size() == 1 ? 0 : 1,
                    divisor.size() > 0 ? divisor.data<float>() : nullptr};
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    if (p.rows == 0) return;
    bool const aligned = is_vec_aligned(x.ptr) && is_vec_aligned(dx.ptr);
    if (row_is_vec<T>(p.classes, aligned)) {
      choose_bwd<T, VEC_BYTES / sizeof(T)>(op, stream, x.data<T>(), p, slope, dx.data<T>());
    } else {
      choose_bwd<T, 1>(op, stream, x.data<T>(), p, slope, dx.data<T>());
    }
  });
}
PYNN_EXPORT(cross_entropy_bwd,
            "(x, labels, weight, weight_sum, stats, dy, divisor, dx, ignore_index, smoothing)  "
            "dx = dy / divisor times the gradient of the losses");

void loss_total(cudaStream_t stream, Array losses, Array weights, Out y, Out divisor) {
  char const* const op = "loss_total";
  expect_ndim(op, "losses", losses, 1);
  expect_dtype(op, "losses", losses, DType::f32);
  if (weights.size() > 0) expect_shape(op, "weights", weights, losses.shape());
  expect_dtype(op, "weights", weights, DType::f32);
  expect_shape(op, "y", y, {1});
  expect_dtype(op, "y", y, DType::f32);
  expect_like(op, "divisor", divisor, y);
  constexpr int THREADS = 256;
  launch(total_kernel<THREADS>, 1u, THREADS, 0, stream, losses.data<float>(),
         weights.size() > 0 ? weights.data<float>() : nullptr, losses.size(), y.data<float>(),
         divisor.data<float>());
}
PYNN_EXPORT(loss_total,
            "(losses, weights, y, divisor)  y = sum of losses / divisor, divisor = sum of weights, "
            "1 where that is 0 or weights is empty");

}  // namespace pynn::cross_entropy
