// cross_entropy.cu — -log softmax(x) at a label, for every row of logits, and its gradient.
//
//   loss  = (1 - s) w_t (log S - x'_t) + s/C (W log S - sum_c w_c x'_c)
//   dx_c  = g (e^x'_c / S ((1 - s) w_t + s/C W) - s/C w_c - (1 - s) w_t [c = t])
//   x'_c  = x_c - max,  S = sum_c e^x'_c,  W = sum_c w_c,  g = dy / divisor
//
//   x, dx (rows, C), T = f32 | f16 | bf16;  labels (rows,) int64;  s label smoothing, in f32
//   weight  w (C,) f32 and weight_sum W (1,) f32, or both empty: w = 1
//   stats   (2, rows) f32: max, and S;  losses, row_weights (rows,) f32;  dy (rows,) f32 or one
//   divisor (1,) f32, or empty: 1;  no probabilities are stored
//
//   A row labelled ignore_index has loss, weight and gradient 0. A label outside [0, C) gives NaN:
//   asking would make the host wait, so the caller asks where the labels lie on the host. A row of
//   -inf loses +inf, has max 0 and S 0, and no gradient.
//
//   forward   common/row.cuh: a row stays in the registers of its team;  long rows (over 32,768
//             elements, or scalars over 2,048) online, in one pass by a CTA, with smoothing in two
//   gradient  a team of 8, 32 or 256 threads a row, 4 vectors each in flight; nothing is summed
//
//   bytes  forward (C sizeof(T) + 24) rows, gradient (2 C sizeof(T) + 20) rows, total 8 rows
//   bound: memory
//   FLOPs  about 3 and an exponential an element, 5 and one for the gradient
//   deterministic
//
//   Szegedy et al. 2015, arXiv:1512.00567 (label smoothing)

#include <cmath>

#include "common/array.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/row.cuh"
#include "common/shared.cuh"

namespace pynn::cross_entropy {

inline constexpr int LONG_THREADS = 1024;
inline constexpr int VECS = 4;

// What every row shares.
struct Params {
  int64_t const* labels;
  float const* weight;      // or null: 1
  float const* weight_sum;  // or null: C
  float* stats;
  int64_t rows;
  int64_t classes;
  int64_t ignore_index;
  float smoothing;

  __device__ float weight_of(int64_t c) const { return weight == nullptr ? 1.f : weight[c]; }
  __device__ float sum_of_weights() const {
    return weight_sum == nullptr ? static_cast<float>(classes) : *weight_sum;
  }
  __device__ bool inside(int64_t label) const { return label >= 0 && label < classes; }
  // w_c x'_c, 0 where w_c is, even if x_c is -inf
  __device__ float smooth(int64_t c, float shifted) const {
    float const w = weight_of(c);
    return w == 0.f ? 0.f : w * shifted;
  }
};

struct Losses {
  float* loss;
  float* weight;
};

// The loss of one row by one of its threads; smooth = sum_c w_c x'_c.
template <typename T>
__device__ void finish(Params const& p, Losses out, int64_t row, T const* x, float peak, float sum,
                       float smooth) {
  p.stats[row] = peak;
  p.stats[p.rows + row] = sum;
  int64_t const label = p.labels[row];
  float loss = 0.f;
  float weight = 0.f;
  if (label != p.ignore_index) {
    weight = p.inside(label) ? p.weight_of(label) : NAN;
    float const log_sum = logf(sum);
    float const picked = p.inside(label) ? static_cast<float>(x[label]) - peak : 0.f;
    loss = weight == 0.f ? 0.f : weight * (log_sum - picked);
    if (p.smoothing != 0.f) {
      float const s = p.smoothing / static_cast<float>(p.classes);
      loss = (1.f - p.smoothing) * loss + s * (p.sum_of_weights() * log_sum - smooth);
    }
    if (sum == 0.f && weight == weight) loss = INFINITY;
  }
  out.loss[row] = loss;
  out.weight[row] = weight;
}

template <typename T, int WIDTH, int THREADS, int HELD>
__global__ void __launch_bounds__(ROW_CTA<THREADS>)
    cross_entropy_fwd_kernel(T const* x, Params p, Losses out) {
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
  if (Cta::rank() == 0) finish(p, out, row, x, peak, sum.value(), smooth.value());
}

template <typename T, int WIDTH>
__global__ void __launch_bounds__(LONG_THREADS, 1)
    cross_entropy_fwd_long_kernel(T const* x, Params p, Losses out) {
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

  // what the row's elements share
  float const peak = p.stats[row];
  float const sum = p.stats[p.rows + row];
  int64_t const label = p.labels[row];
  float const g = label == p.ignore_index || sum == 0.f ? 0.f : slope.of(row);
  float const weight = p.inside(label) ? p.weight_of(label) : label == p.ignore_index ? 0.f : NAN;
  float const s = p.smoothing / static_cast<float>(n);
  float const hit = (1.f - p.smoothing) * (g * weight);
  float const mass = p.smoothing == 0.f ? hit : hit + s * p.sum_of_weights() * g;
  float const scale = mass / (sum == 0.f ? 1.f : sum);
  float const spread = s * g;

  for (int64_t i = 0; i < n; i += CHUNK) {
    int const m = static_cast<int>(min(n - i, CHUNK));
    Lane rx;
    rx.load(x + i, m);
    Lane::map(dx + i, m, [&](int v, int k) {
      int64_t const c = i + Lane::at(v) + k;
      float d = expf(rx(v, k) - peak) * scale;
      if (p.smoothing != 0.f) d -= spread * p.weight_of(c);
      return c == label ? d - hit : d;
    });
  }
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
void choose_fwd(char const* op, cudaStream_t stream, T const* x, Params p, Losses out) {
  bool const aligned = is_vec_aligned(x);
  bool const fits =
      choose_row<T, 32768>(p.classes, aligned, [&]<int WIDTH, int THREADS, int HELD>() {
        launch(cross_entropy_fwd_kernel<T, WIDTH, THREADS, HELD>, row_grid<THREADS>(op, p.rows),
               ROW_CTA<THREADS>, 0, stream, x, p, out);
      });
  if (fits) return;
  auto const kernel = row_is_vec<T>(p.classes, aligned)
                          ? cross_entropy_fwd_long_kernel<T, VEC_BYTES / sizeof(T)>
                          : cross_entropy_fwd_long_kernel<T, 1>;
  launch(kernel, row_grid<LONG_THREADS>(op, p.rows), LONG_THREADS, 0, stream, x, p, out);
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
                       Out losses, Out stats, Out row_weights, int64_t ignore_index,
                       double smoothing) {
  char const* const op = "cross_entropy_fwd";
  Params const p = params(op, x, labels, weight, weight_sum, stats, ignore_index, smoothing);
  expect_shape(op, "losses", losses, {p.rows});
  expect_dtype(op, "losses", losses, DType::f32);
  expect_shape(op, "row_weights", row_weights, {p.rows});
  expect_dtype(op, "row_weights", row_weights, DType::f32);
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    if (p.rows == 0) return;
    choose_fwd<T>(op, stream, x.data<T>(), p, {losses.data<float>(), row_weights.data<float>()});
  });
}
PYNN_EXPORT(cross_entropy_fwd,
            "(x, labels, weight, weight_sum, losses, stats, row_weights, ignore_index, smoothing)  "
            "losses = -log softmax(x) at the labels; stats = max and sum exp(x - max) of each row");

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
