// softmax.cu — softmax and its logarithm over the last axis.
//
//   softmax       y = e^(x - max) / s,  s = sum_j e^(x_j - max)    dx = y (dy - sum_j dy_j y_j)
//   log_softmax   y = x - max - log s                              dx = dy - e^y sum_j dy_j
//
//   x, y, dy, dx (..., n) of one shape and dtype T = f32 | f16 | bf16, any n;  math in f32
//   y may be x itself, dx may be dy or y itself; no partial overlap
//   A row of -inf: softmax gives 0, log_softmax -inf, both gradient 0. NaN or +inf makes a row NaN.
//
//   on chip  common/row.cuh: a row stays in the registers of its team; max, then s, then y, with
//            the exponentials taken twice rather than kept
//   cluster  rows of up to 262,144 elements (gradient: 131,072): softmax_sm90.cu
//   long     longer rows, rows of more than 32,768 elements (gradient: 16,384) before sm_90, or not
//            in 16-byte steps and more than 2,048: one CTA of 1024 threads a row, (max, s) online in
//            one pass, y in a second
//
//               row     ┌────────┬────────┬────────┬───┐
//               pass 1  │ chunk ─┼► (max, s) of each thread, then of the CTA
//               pass 2  │ chunk ─┼► y           4 vectors a thread and chunk
//                       └────────┴────────┴────────┴───┘
//
//   bytes   on chip  forward 2 n sizeof(T), backward 3 n sizeof(T) a row;  long  3 and 5
//   FLOPs   about 4 n and two exponentials an element      bound: memory
//   deterministic: the order of every sum is fixed by n
//
//   Milakov, Gimelshein 2018, arXiv:1805.02867 (online softmax)

#include <cmath>

#include "kernels/softmax/softmax.cuh"

#include "common/array.h"
#include "common/chip.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/shared.cuh"

namespace pynn::softmax {

inline constexpr int LONG_THREADS = 1024;
inline constexpr int LONG_VECS = 4;

template <typename Op, typename T, int WIDTH, int THREADS, int VECS>
__global__ void __launch_bounds__(ROW_CTA<THREADS>)
    softmax_fwd_kernel(T const* x, int64_t rows, int n, T* y) {
  using Lane = Row<T, WIDTH, THREADS, VECS>;
  using Cta = Team<THREADS>;
  int64_t const row = row_index<THREADS>();
  if (row >= rows) return;

  Lane rx;
  rx.load(x + row * n, n);

  float max = Lane::fold(-INFINITY, n, Max{}, rx);
  max = finite_peak(
      Team<THREADS>::reduce(max, Max{}, shared<typename Cta::template Slots<float>, "maxima">()));

  Sum sum = Lane::fold(0.f, n, Add{}, [&](int v, int k) { return expf(rx(v, k) - max); });
  sum = Team<THREADS>::reduce(sum, Add{}, shared<typename Cta::template Slots<Sum>, "sums">());

  Op const op(max, sum.value());
  Lane::map(y + row * n, n, [&](int v, int k) { return op(rx(v, k)); });
}

template <typename Op, typename T, int WIDTH>
__global__ void __launch_bounds__(LONG_THREADS, 1)
    softmax_fwd_long_kernel(T const* x, int64_t n, T* y) {
  using Lane = Row<T, WIDTH, LONG_THREADS, LONG_VECS>;
  using Cta = Team<LONG_THREADS>;
  constexpr int64_t CHUNK = int64_t{LONG_THREADS} * LONG_VECS * WIDTH;
  x += blockIdx.x * n;
  y += blockIdx.x * n;

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

  // result
  Op const op(finite_peak(row.max), row.max == INFINITY ? NAN : row.sum.value());
  for (int64_t i = 0; i < n; i += CHUNK) {
    int const m = static_cast<int>(min(n - i, CHUNK));
    Lane rx;
    rx.load(x + i, m);
    Lane::map(y + i, m, [&](int v, int k) { return op(rx(v, k)); });
  }
}

template <typename Gradient, typename T, int WIDTH, int THREADS, int VECS>
__global__ void __launch_bounds__(ROW_CTA<THREADS>)
    softmax_bwd_kernel(T const* y, T const* dy, int64_t rows, int n, T* dx) {
  using Lane = Row<T, WIDTH, THREADS, VECS>;
  using Cta = Team<THREADS>;
  using State = typename Gradient::State;
  int64_t const row = row_index<THREADS>();
  if (row >= rows) return;

  Lane ry;
  Lane rdy;
  ry.load(y + row * n, n);
  rdy.load(dy + row * n, n);

  State state = Lane::fold(typename Gradient::Part{}, n, Add{},
                           [&](int v, int k) { return Gradient::term(ry(v, k), rdy(v, k)); });
  state = Cta::reduce(state, Add{}, shared<typename Cta::template Slots<State>, "states">());

  Lane::map(dx + row * n, n,
            [&](int v, int k) { return Gradient::dx(ry(v, k), rdy(v, k), state); });
}

template <typename Gradient, typename T, int WIDTH>
__global__ void __launch_bounds__(LONG_THREADS, 1)
    softmax_bwd_long_kernel(T const* y, T const* dy, int64_t n, T* dx) {
  using Lane = Row<T, WIDTH, LONG_THREADS, LONG_VECS / 2>;
  using Cta = Team<LONG_THREADS>;
  using State = typename Gradient::State;
  constexpr int64_t CHUNK = int64_t{LONG_THREADS} * LONG_VECS / 2 * WIDTH;
  y += blockIdx.x * n;
  dy += blockIdx.x * n;
  dx += blockIdx.x * n;

  State state;
  for (int64_t i = 0; i < n; i += CHUNK) {
    int const m = static_cast<int>(min(n - i, CHUNK));
    Lane ry;
    Lane rdy;
    ry.load(y + i, m);
    rdy.load(dy + i, m);
    state = state + State(Lane::fold(typename Gradient::Part{}, m, Add{}, [&](int v, int k) {
              return Gradient::term(ry(v, k), rdy(v, k));
            }));
  }
  state = Cta::reduce(state, Add{}, shared<typename Cta::template Slots<State>, "states">());

  for (int64_t i = 0; i < n; i += CHUNK) {
    int const m = static_cast<int>(min(n - i, CHUNK));
    Lane ry;
    Lane rdy;
    ry.load(y + i, m);
    rdy.load(dy + i, m);
    Lane::map(dx + i, m, [&](int v, int k) { return Gradient::dx(ry(v, k), rdy(v, k), state); });
  }
}

template <typename Op, typename T>
void choose_fwd(char const* name, cudaStream_t stream, T const* x, int64_t rows, int64_t n, T* y) {
  bool const aligned = is_vec_aligned(x) && is_vec_aligned(y);
  bool const fits = choose_row<T, 32768>(n, aligned, [&]<int WIDTH, int THREADS, int VECS>() {
    launch(softmax_fwd_kernel<Op, T, WIDTH, THREADS, VECS>, row_grid<THREADS>(name, rows),
           ROW_CTA<THREADS>, 0, stream, x, rows, static_cast<int>(n), y);
  });
  if (fits) return;
  bool const vec = row_is_vec<T>(n, aligned);
  if (vec && chip().major >= 9 && n <= CLUSTER_ROW) {
    return fwd_cluster<Op>(name, stream, x, rows, n, y);
  }
  auto const kernel = vec ? softmax_fwd_long_kernel<Op, T, VEC_BYTES / sizeof(T)>
                          : softmax_fwd_long_kernel<Op, T, 1>;
  launch(kernel, row_grid<LONG_THREADS>(name, rows), LONG_THREADS, 0, stream, x, n, y);
}

template <typename Gradient, typename T>
void choose_bwd(char const* name, cudaStream_t stream, T const* y, T const* dy, int64_t rows,
                int64_t n, T* dx) {
  bool const aligned = is_vec_aligned(y) && is_vec_aligned(dy) && is_vec_aligned(dx);
  bool const fits = choose_row<T, 16384>(n, aligned, [&]<int WIDTH, int THREADS, int VECS>() {
    launch(softmax_bwd_kernel<Gradient, T, WIDTH, THREADS, VECS>, row_grid<THREADS>(name, rows),
           ROW_CTA<THREADS>, 0, stream, y, dy, rows, static_cast<int>(n), dx);
  });
  if (fits) return;
  bool const vec = row_is_vec<T>(n, aligned);
  if (vec && chip().major >= 9 && n <= CLUSTER_ROW / 2) {
    return bwd_cluster<Gradient>(name, stream, y, dy, rows, n, dx);
  }
  auto const kernel = vec ? softmax_bwd_long_kernel<Gradient, T, VEC_BYTES / sizeof(T)>
                          : softmax_bwd_long_kernel<Gradient, T, 1>;
  launch(kernel, row_grid<LONG_THREADS>(name, rows), LONG_THREADS, 0, stream, y, dy, n, dx);
}

template <typename Op>
void forward(char const* name, cudaStream_t stream, Array x, Out y) {
  expect(x.ndim > 0, name, "x", "at least one dimension", "shape ()");
  expect_like(name, "y", y, x);
  dispatch_float(name, "x", x.dtype, [&]<typename T>() {
    if (x.size() == 0) return;
    int64_t const n = x.dims[x.ndim - 1];
    choose_fwd<Op, T>(name, stream, x.data<T>(), x.size() / n, n, y.data<T>());
  });
}

template <typename Gradient>
void backward(char const* name, cudaStream_t stream, Array y, Array dy, Out dx) {
  expect(y.ndim > 0, name, "y", "at least one dimension", "shape ()");
  expect_like(name, "dy", dy, y);
  expect_like(name, "dx", dx, y);
  dispatch_float(name, "y", y.dtype, [&]<typename T>() {
    if (y.size() == 0) return;
    int64_t const n = y.dims[y.ndim - 1];
    choose_bwd<Gradient, T>(name, stream, y.data<T>(), dy.data<T>(), y.size() / n, n, dx.data<T>());
  });
}

void softmax_fwd(cudaStream_t stream, Array x, Out y) {
  forward<Softmax>("softmax_fwd", stream, x, y);
}
PYNN_EXPORT(softmax_fwd, "(x, y)  y = exp(x) / sum exp(x) over the last axis");

void softmax_bwd(cudaStream_t stream, Array y, Array dy, Out dx) {
  backward<SoftmaxGradient>("softmax_bwd", stream, y, dy, dx);
}
PYNN_EXPORT(softmax_bwd, "(y, dy, dx)  dx = y (dy - sum dy y) over the last axis");

void log_softmax_fwd(cudaStream_t stream, Array x, Out y) {
  forward<LogSoftmax>("log_softmax_fwd", stream, x, y);
}
PYNN_EXPORT(log_softmax_fwd, "(x, y)  y = x - log sum exp(x) over the last axis");

void log_softmax_bwd(cudaStream_t stream, Array y, Array dy, Out dx) {
  backward<LogSoftmaxGradient>("log_softmax_bwd", stream, y, dy, dx);
}
PYNN_EXPORT(log_softmax_bwd, "(y, dy, dx)  dx = dy - exp(y) sum dy over the last axis");

}  // namespace pynn::softmax
