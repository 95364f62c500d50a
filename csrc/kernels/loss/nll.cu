// nll.cu — the negative log-likelihood of labels: one element of each row, and its gradient.
//
//   nll_fwd   losses[r] = -w[t] x[r, t], weights[r] = w[t], both 0 where t is `ignored`
//   nll_bwd   dx[r, c] = -w[t] g at c = t, else 0;  g = dy[r] or dy, over divisor
//   x, dx (R, C) of T = f32 | f16 | bf16, label t (R,) i64, w (C,) f32 or nothing for 1
//   losses, weights: the two rows of a (2, R) f32;  dy (R,) or (1,), divisor (1,) or nothing: f32
//
//   A weight of 0 silences the row, whatever stands there. A label outside [0, C) gives NaN.
//   softmax/cross_entropy.cu has the total of the losses.
//
//   grid    forward ceil(R / 256), backward ceil(R C / (256 WIDTH));  CTA 256 threads
//   WIDTH   16 bytes where dx is aligned, 1 element otherwise
//   bytes   forward R (16 + a sector of 32 for x), backward R C sizeof(T) + 8 R    bound: memory

#include <cmath>
#include <cstdint>

#include "common/array.h"
#include "common/check.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/launch.h"
#include "common/vec.cuh"

namespace pynn::nll {

inline constexpr int THREADS = 256;

struct Labels {
  int64_t rows;
  int64_t classes;
  int64_t ignored;
  int64_t const* label;
  float const* w;  // nullptr: 1

  // NaN for a label that is no class
  __device__ float weight(int64_t t) const {
    if (t == ignored) return 0.f;
    if (t < 0 || t >= classes) return NAN;
    return w != nullptr ? w[t] : 1.f;
  }
};

template <typename T>
__global__ void __launch_bounds__(THREADS) nll_kernel(Labels labels, T const* x, float* losses) {
  int64_t const r = int64_t{blockIdx.x} * THREADS + threadIdx.x;
  if (r >= labels.rows) return;
  int64_t const t = labels.label[r];
  float const weight = labels.weight(t);
  bool const counts = weight == weight && weight != 0.f;
  losses[r] = counts ? -weight * static_cast<float>(x[r * labels.classes + t]) : weight;
  losses[labels.rows + r] = weight;
}

template <typename T, int WIDTH>
__global__ void __launch_bounds__(THREADS)
    nll_backward_kernel(Labels labels, float const* dy, int64_t dy_stride, float const* divisor,
                        T* dx) {
  int64_t const i = (int64_t{blockIdx.x} * THREADS + threadIdx.x) * WIDTH;
  int64_t const n = labels.rows * labels.classes;
  if (i >= n) return;
  int64_t r = i / labels.classes;
  int64_t c = i - r * labels.classes;
  int64_t t = labels.label[r];
  Vec<T, WIDTH> out;
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    float value = 0.f;
    if (c == t) {
      float const by = divisor != nullptr ? *divisor : 1.f;
      value = -labels.weight(t) * (dy[r * dy_stride] / by);
    }
    out.at[k] = static_cast<T>(value);
    if (++c == labels.classes && i + k + 1 < n) {  // the next row
      c = 0;
      t = labels.label[++r];
    }
  }
  if (i + WIDTH <= n) return store_vec<WIDTH>(dx + i, out);
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    if (i + k < n) dx[i + k] = out.at[k];
  }
}

Labels read_labels(char const* name, Array const& x, Array const& label, Array const& weight,
                   int64_t ignored) {
  expect_ndim(name, "x", x, 2);
  expect_shape(name, "label", label, {x.dims[0]});
  expect_dtype(name, "label", label, DType::i64);
  expect_dtype(name, "weight", weight, DType::f32);
  if (weight.size() != 0) expect_shape(name, "weight", weight, {x.dims[1]});
  return {x.dims[0], x.dims[1], ignored, label.data<int64_t>(),
          weight.size() != 0 ? weight.data<float>() : nullptr};
}

unsigned ctas(char const* name, int64_t n, int64_t tile) {
  constexpr int64_t MOST = (int64_t{1} << 31) - 1;
  int64_t const count = n / tile + (n % tile != 0);
  expect(count <= MOST, name, "x", "at most " + show(MOST * tile) + " elements", n);
  return static_cast<unsigned>(count);
}

void nll_fwd(cudaStream_t stream, Array x, Array label, Array weight, Out losses, int64_t ignored) {
  char const* const name = "nll_fwd";
  Labels const labels = read_labels(name, x, label, weight, ignored);
  expect_shape(name, "losses", losses, {2, labels.rows});
  expect_dtype(name, "losses", losses, DType::f32);
  if (labels.rows == 0) return;
  dispatch_float(name, "x", x.dtype, [&]<typename T>() {
    launch(nll_kernel<T>, ctas(name, labels.rows, THREADS), THREADS, 0, stream, labels, x.data<T>(),
           losses.data<float>());
  });
}
PYNN_EXPORT(nll_fwd,
            "(x, label, weight, losses, ignored)  losses[0] = -weight x at the label of each row, "
            "losses[1] its weight");

void nll_bwd(cudaStream_t stream, Array label, Array weight, Array dy, Array divisor, Out dx,
             int64_t ignored) {
  char const* const name = "nll_bwd";
  Labels const labels = read_labels(name, dx, label, weight, ignored);
  expect_dtype(name, "dy", dy, DType::f32);
  expect_shape(name, "dy", dy, {dy.size() == 1 ? 1 : labels.rows});
  expect_dtype(name, "divisor", divisor, DType::f32);
  if (dx.size() == 0) return;
  float const* const by = divisor.size() != 0 ? divisor.data<float>() : nullptr;
  dispatch_float(name, "dx", dx.dtype, [&]<typename T>() {
    auto const run = [&]<int WIDTH>() {
      launch(nll_backward_kernel<T, WIDTH>, ctas(name, dx.size(), int64_t{THREADS} * WIDTH),
             THREADS, 0, stream, labels, dy.data<float>(), int64_t{dy.size() > 1}, by,
             dx.data<T>());
    };
    if (is_vec_aligned(dx.ptr)) {
      run.template operator()<VEC_BYTES / static_cast<int>(sizeof(T))>();
    } else {
      run.template operator()<1>();
    }
  });
}
PYNN_EXPORT(nll_bwd, "(label, weight, dy, divisor, dx, ignored)  the gradient of nll_fwd's losses");

}  // namespace pynn::nll
