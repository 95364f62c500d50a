// ctc.cu — connectionist temporal classification: the loss of labels whose alignment is unknown.
//
//   states   b, l_1, b, l_2, .. l_S, b: L = 2 S + 1, blanks b between the labels of a sample
//   alpha_t(s) = p_t(s) + log(e^alpha_t-1(s) + e^alpha_t-1(s-1) + [skip s] e^alpha_t-1(s-2))
//   beta_t(s)  = log(e^after(s) + e^after(s+1) + [skip s+2] e^after(s+2)),  after = beta_t+1 + p_t+1
//   total      = log(e^alpha_U-1(2 V) + e^alpha_U-1(2 V - 1)),  loss = -total
//   dx_t(k)    = -dy sum over the states s of class k of e^(alpha_t(s) + beta_t(s) - total)
//
//   x, dx   (T, N, C) log-probabilities p, f32 | f16 | bf16;  steps U, labels' number V (N,) int64
//   labels  (N, S) int64, blanks past V;  skip: s is a label other than blank and than that before it
//   losses  (N,) f32;  total (N,), alpha (T, N, L) f64, of the steps below U
//   dy      (N,) f32;  a loss of inf has no gradient
//
//   grid  N: a CTA of 128 threads a sample, which goes through its steps, forwards or backwards, with
//   the states of two steps in shared memory and a state or a few in each thread
//
//            t-1   b  l1  b  l2  b          a step: one barrier forwards, two backwards
//                  │╲ │╲╲ │╲ │╲╲ │
//            t     b  l1  b  l2  b
//
//   Logarithms and sums in f64, as the recursion adds up what each step rounds. Where a label stands
//   several times, its first state adds up the others in turn: the order is fixed, no atomics.
//
//   bytes   forward T N (8 L + sizeof(T) min(C, S + 1)), backward that and T N C sizeof(T)
//   bound: the latency of T steps;  deterministic
//
//   Graves et al. 2006, "Connectionist temporal classification", ICML

#include <cmath>
#include <cstdint>
#include <utility>

#include "common/array.h"
#include "common/check.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/launch.h"
#include "common/reduce.cuh"
#include "common/row.cuh"
#include "common/shared.cuh"

namespace pynn::ctc {

inline constexpr int THREADS = 128;
inline constexpr int64_t MOST_LABELS = 1536;  // what fits into 99 KB with all that a step needs

struct Problem {
  int64_t const* labels;
  int64_t const* steps;
  int64_t const* lengths;
  int64_t samples;
  int64_t classes;
  int64_t blank;
  int count;  // S

  __device__ int states() const { return 2 * count + 1; }
  // The class of a state of sample n.
  __device__ int64_t label(int64_t n, int s) const {
    return s % 2 == 1 ? labels[n * count + s / 2] : blank;
  }
  // Whether state s may be entered over the blank before it.
  __device__ bool skips(int64_t n, int s) const {
    if (s < 2 || s % 2 == 0) return false;
    int64_t const mine = label(n, s);
    return mine != blank && mine != label(n, s - 2);
  }
  // Where the classes of step t of sample n begin.
  __device__ int64_t at(int64_t t, int64_t n) const { return (t * samples + n) * classes; }
};

// log(e^a + e^b + e^c); NaN stays NaN.
__device__ inline double log_sum(double a, double b, double c) {
  double most = a > b || a != a ? a : b;
  most = most > c || most != most ? most : c;
  if (fabs(most) == INFINITY) return most;
  return most + log(exp(a - most) + exp(b - most) + exp(c - most));
}

template <typename T>
__global__ void __launch_bounds__(THREADS)
    ctc_fwd_kernel(Problem p, T const* x, double* alpha, double* totals, float* losses,
                   bool zero_infinity) {
  int64_t const n = blockIdx.x;
  int const L = p.states();
  int64_t const U = p.steps[n];
  auto* now = dynamic_shared<double>();  // alpha of a step
  double* past = now + L;                // and of the step before
  x += p.at(0, n);
  alpha += n * L;

  for (int64_t t = 0; t < U; ++t) {
    for (int s = static_cast<int>(threadIdx.x); s < L; s += THREADS) {
      double sum = s < 2 ? 0. : -INFINITY;
      if (t > 0) {
        sum = log_sum(past[s], s > 0 ? past[s - 1] : -INFINITY,
                      p.skips(n, s) ? past[s - 2] : -INFINITY);
      }
      sum += static_cast<double>(static_cast<float>(x[p.label(n, s)]));
      now[s] = sum;
      alpha[s] = sum;
    }
    __syncthreads();
    double* const done = now;
    now = past;
    past = done;
    x += p.at(1, 0);
    alpha += p.samples * L;
  }

  if (threadIdx.x > 0) return;
  auto const end = static_cast<int>(2 * p.lengths[n]);
  double total = end == 0 ? 0. : -INFINITY;  // without steps
  if (U > 0) {
    total = log_sum(past[end], end > 0 ? past[end - 1] : -INFINITY, -INFINITY);
  }
  totals[n] = total;
  losses[n] = zero_infinity && fabs(total) == INFINITY ? 0.f : static_cast<float>(-total);
}

template <typename T>
__global__ void __launch_bounds__(THREADS)
    ctc_bwd_kernel(Problem p, T const* x, double const* alpha, double const* totals,
                   float const* dy, int64_t T_all, T* dx) {
  using Cta = Team<THREADS>;
  int64_t const n = blockIdx.x;
  int const L = p.states();
  auto const end = static_cast<int>(2 * p.lengths[n]);
  double const total = totals[n];
  int64_t const U = fabs(total) == INFINITY ? 0 : p.steps[n];
  double const scale = -static_cast<double>(dy[n]);
  auto* const rows = dynamic_shared<double>();  // two of L: beta with what its step says
  double* const shares = rows + 2 * L;
  auto* const next = reinterpret_cast<int*>(shares + L);  // of each label: where it stands again
  auto& slots = shared<typename Cta::template Slots<double>[2], "sums">();

  // no gradient past the last step
  for (int64_t t = U; t < T_all; ++t) {
    for (int64_t k = threadIdx.x; k < p.classes; k += THREADS) dx[p.at(t, n) + k] = T(0.f);
  }

  // where the label stands next, V if nowhere; -1 - that for one that has stood before
  int const V = end / 2;
  for (int i = static_cast<int>(threadIdx.x); i < V; i += THREADS) {
    int64_t const mine = p.label(n, 2 * i + 1);
    int after = i + 1;
    while (after < V && p.label(n, 2 * after + 1) != mine) ++after;
    int before = i - 1;
    while (before >= 0 && p.label(n, 2 * before + 1) != mine) --before;
    next[i] = before < 0 ? after : -1 - after;
  }

  for (int64_t t = U - 1; t >= 0; --t) {
    double* const now = rows + t % 2 * L;
    double const* const after = rows + (t + 1) % 2 * L;
    T* const row = dx + p.at(t, n);
    for (int64_t k = threadIdx.x; k < p.classes; k += THREADS) row[k] = T(0.f);
    for (int s = static_cast<int>(threadIdx.x); s < L; s += THREADS) {
      double beta = s == end || s + 1 == end ? 0. : -INFINITY;
      if (t < U - 1) {
        beta = log_sum(after[s], s + 1 < L ? after[s + 1] : -INFINITY,
                       s + 2 < L && p.skips(n, s + 2) ? after[s + 2] : -INFINITY);
      }
      now[s] = beta + static_cast<double>(static_cast<float>(x[p.at(t, n) + p.label(n, s)]));
      shares[s] = scale * exp(alpha[(t * p.samples + n) * L + s] + beta - total);
    }
    __syncthreads();

    for (int i = static_cast<int>(threadIdx.x); i < V; i += THREADS) {
      if (next[i] < 0) continue;
      double sum = shares[2 * i + 1];
      for (int j = next[i]; j < V; j = -1 - next[j]) sum += shares[2 * j + 1];
      row[p.label(n, 2 * i + 1)] = static_cast<T>(static_cast<float>(sum));
    }
    double blanks = 0.;
    for (int s = 2 * static_cast<int>(threadIdx.x); s <= end; s += 2 * THREADS) blanks += shares[s];
    blanks = Cta::reduce(blanks, Add{}, slots[t % 2]);
    if (threadIdx.x == 0) row[p.blank] = static_cast<T>(static_cast<float>(blanks));
  }
}

// The checks of both directions.
Problem problem(char const* op, Array x, Array labels, Array steps, Array lengths, Array alpha,
                Array total, int64_t blank) {
  expect_ndim(op, "x", x, 3);
  int64_t const samples = x.dims[1];
  expect_ndim(op, "labels", labels, 2);
  int64_t const count = labels.dims[1];
  expect_shape(op, "labels", labels, {samples, count});
  expect(count <= MOST_LABELS, op, "labels", "at most 1536 a sample", count);
  expect_shape(op, "steps", steps, {samples});
  expect_shape(op, "lengths", lengths, {samples});
  for (auto const& [what, array] :
       {std::pair{"labels", labels}, {"steps", steps}, {"lengths", lengths}}) {
    expect_dtype(op, what, array, DType::i64);
  }
  expect(blank >= 0 && blank < x.dims[2], op, "blank", "a class of x", blank);
  expect_shape(op, "alpha", alpha, {x.dims[0], samples, 2 * count + 1});
  expect_shape(op, "total", total, {samples});
  expect_dtype(op, "alpha", alpha, DType::f64);
  expect_dtype(op, "total", total, DType::f64);
  return {labels.data<int64_t>(),
          steps.data<int64_t>(),
          lengths.data<int64_t>(),
          samples,
          x.dims[2],
          blank,
          static_cast<int>(count)};
}

void ctc_fwd(cudaStream_t stream, Array x, Array labels, Array steps, Array lengths, Out losses,
             Out alpha, Out total, int64_t blank, bool zero_infinity) {
  char const* const op = "ctc_fwd";
  Problem const p = problem(op, x, labels, steps, lengths, alpha, total, blank);
  expect_shape(op, "losses", losses, {p.samples});
  expect_dtype(op, "losses", losses, DType::f32);
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    if (p.samples == 0) return;
    size_t const states = 2 * static_cast<size_t>(p.count) + 1;
    launch(ctc_fwd_kernel<T>, row_grid<THREADS>(op, p.samples), THREADS,
           2 * states * sizeof(double), stream, p, x.data<T>(), alpha.data<double>(),
           total.data<double>(), losses.data<float>(), zero_infinity);
  });
}
PYNN_EXPORT(ctc_fwd,
            "(x, labels, steps, lengths, losses, alpha, total, blank, zero_infinity)  losses = "
            "-total = -log of the sum over all alignments of the products of e^x");

void ctc_bwd(cudaStream_t stream, Array x, Array labels, Array steps, Array lengths, Array alpha,
             Array total, Array dy, Out dx, int64_t blank) {
  char const* const op = "ctc_bwd";
  Problem const p = problem(op, x, labels, steps, lengths, alpha, total, blank);
  expect_shape(op, "dy", dy, {p.samples});
  expect_dtype(op, "dy", dy, DType::f32);
  expect_like(op, "dx", dx, x);
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    if (x.size() == 0) return;
    size_t const count = static_cast<size_t>(p.count);
    size_t const bytes = 3 * (2 * count + 1) * sizeof(double) + count * sizeof(int);
    launch(ctc_bwd_kernel<T>, row_grid<THREADS>(op, p.samples), THREADS, bytes, stream, p,
           x.data<T>(), alpha.data<double>(), total.data<double>(), dy.data<float>(), x.dims[0],
           dx.data<T>());
  });
}
PYNN_EXPORT(ctc_bwd,
            "(x, labels, steps, lengths, alpha, total, dy, dx, blank)  dx = dy times the gradient "
            "of the losses, 0 where a loss is inf");

}  // namespace pynn::ctc
