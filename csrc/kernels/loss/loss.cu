// loss.cu — losses between two arrays, element by element: their values, their total, their
// gradients.
//
//   loss_fwd   y[i] = w[i] f(x[i], t[i], e[i]) / divisor, or y = the sum of these
//   loss_bwd   dx[i] = g w[i] df/dx,  dt[i] = g w[i] df/dt,  g = dy[i] or, of a sum, dy / divisor
//   x, t, dx, dt (n,) of T = f32 | f16 | bf16;  y, dy (n,) or (1,) f32
//   w (n,) f32, or nothing for 1;  e (n,) or (1,) f32, or nothing for the number `parameter`
//   workspace f64, any size: nothing for values; else what bounds the parts of a sum
//
//     which  f(x, t, e), d = x - t                      df/dx, df/dt
//     0 mse         d^2                                 2 d, -2 d
//     1 l1          |d|                                 sign d, -sign d
//     2 huber       d^2 / 2 where |d| <= e,             d limited to [-e, e]
//                   else e (|d| - e / 2)
//     3 arctan      arctan d^2                          2 d / (1 + d^4)
//     4 rmse        d^2; y is the root of the sum       d / e, e the y of the forward
//     5 bce         -(t log x + (1 - t) log(1 - x))     (x - t) / (x (1 - x)), log(1 - x) - log x
//     6 bce_logits  (1 - t) x + (1 + (e - 1) t) s,      1 - t - (1 + (e - 1) t) / (1 + e^x),
//                   s = log(1 + e^-x)                   (e - 1) s - x
//     7 kl          t (log t - x), 0 where t = 0        -t, log t + 1 - x
//     8 kl_log      e^t (t - x), 0 where t = -inf       -e^t, e^t (t - x + 1)
//     9 hinge       max(0, 1 - t x)                     -t, -x where t x < 1
//
//   Sums, squares and the terms of kl are f64, so a total is as exact as its terms and does not
//   overflow before it is f32; the rest is f32. What is no number of the loss (x outside [0, 1] in bce, t other than
//   -1 and 1 in hinge) gives NaN. bce: logarithms no less than -100, x (1 - x) no less than 1e-12.
//
//   grid    values, gradients: ceil(n / (256 WIDTH));  totals: at most the workspace's parts
//   CTA     256 threads; a thread WIDTH elements of each array, of a total LOADS times that in
//           flight; a CTA's sum through shared memory, the parts' by a second launch of one CTA
//   WIDTH   16 bytes of x where all is aligned, 1 element otherwise
//   The loss is a number: one kernel holds them all and branches once a thread and vector, which
//   costs nothing beside the loads and spares a kernel for each.
//
//   bytes  values n (2 sizeof(T) + 4)    total 2 n sizeof(T)
//          gradient n sizeof(T) (2 + how many are wanted); w and e 4 n each
//   bound: memory, or issue in 16 bits where logarithms are taken
//   deterministic: the cut depends on the shape alone
//
//   Huber 1964, "Robust estimation of a location parameter";  Cortes and Vapnik 1995

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/loss/terms.cuh"

#include "common/array.h"
#include "common/check.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/launch.h"
#include "common/reduce.cuh"
#include "common/vec.cuh"

namespace pynn::loss {

inline constexpr int THREADS = 256;
inline constexpr int LOADS = 2;

// What stands beside x and t.
struct Terms {
  int which;
  int64_t n;
  float const* w;    // nullptr: 1
  float const* e;    // nullptr: the parameter
  int64_t e_stride;  // 0: one for all
  float parameter;
  float divisor;
};

// WIDTH elements from i on, zeros past the end.
template <int WIDTH, typename T>
__device__ inline Vec<T, WIDTH> load_some(T const* p, int64_t i, int64_t n) {
  if (i + WIDTH <= n) return load_vec<WIDTH>(p + i);
  Vec<T, WIDTH> some{};
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    if (i + k < n) some.at[k] = p[i + k];
  }
  return some;
}

template <int WIDTH, typename T>
__device__ inline void store_some(T* p, int64_t i, int64_t n, Vec<T, WIDTH> const& v) {
  if (i + WIDTH <= n) return store_vec<WIDTH>(p + i, v);
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    if (i + k < n) p[i + k] = v.at[k];
  }
}

template <int WIDTH>
struct Beside {
  float w[WIDTH];
  float e[WIDTH];

  __device__ Beside(Terms const& terms, int64_t i) {
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) {
      bool const inside = i + k < terms.n;
      w[k] = terms.w != nullptr && inside ? terms.w[i + k] : 1.f;
      e[k] = terms.e != nullptr && inside ? terms.e[(i + k) * terms.e_stride] : terms.parameter;
    }
  }
};

template <typename T, int WIDTH>
__global__ void __launch_bounds__(THREADS)
    values_kernel(Terms terms, T const* x, T const* t, float* y) {
  int64_t const i = (int64_t{blockIdx.x} * THREADS + threadIdx.x) * WIDTH;
  if (i >= terms.n) return;
  Vec<T, WIDTH> const rx = load_some<WIDTH>(x, i, terms.n);
  Vec<T, WIDTH> const rt = load_some<WIDTH>(t, i, terms.n);
  Beside<WIDTH> const beside(terms, i);
  float values[WIDTH];
  with_loss(terms.which, [&](auto loss) {
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) {
      values[k] = static_cast<float>(
          loss.value(static_cast<float>(rx.at[k]), static_cast<float>(rt.at[k]), beside.e[k]));
    }
  });
  constexpr int PART = WIDTH < 4 ? WIDTH : 4;  // 16 bytes of y
#pragma unroll
  for (int first = 0; first < WIDTH; first += PART) {
    Vec<float, PART> part;
#pragma unroll
    for (int k = 0; k < PART; ++k) {
      part.at[k] = beside.w[first + k] * values[first + k] / terms.divisor;
    }
    store_some<PART>(y, i + first, terms.n, part);
  }
}

__device__ inline float finish(Terms const& terms, double sum) {
  double const total = sum / terms.divisor;
  return static_cast<float>(terms.which == RMSE ? sqrt(total) : total);
}

// Part p of the sum, of `length` elements, goes to parts[p], or, of one part alone, to y.
template <typename T, int WIDTH>
__global__ void __launch_bounds__(THREADS)
    total_kernel(Terms terms, int64_t length, T const* x, T const* t, double* parts, float* y) {
  constexpr int64_t STEP = int64_t{THREADS} * WIDTH;
  int64_t const end = min((blockIdx.x + int64_t{1}) * length, terms.n);
  double sum = 0.;
  for (int64_t first = blockIdx.x * length + int64_t{threadIdx.x} * WIDTH; first < end;
       first += LOADS * STEP) {
    Vec<T, WIDTH> rx[LOADS]{};
    Vec<T, WIDTH> rt[LOADS]{};
#pragma unroll
    for (int l = 0; l < LOADS; ++l) {
      if (first + l * STEP >= end) continue;
      rx[l] = load_some<WIDTH>(x, first + l * STEP, end);
      rt[l] = load_some<WIDTH>(t, first + l * STEP, end);
    }
#pragma unroll
    for (int l = 0; l < LOADS; ++l) {
      int64_t const i = first + l * STEP;
      if (i >= end) continue;
      Beside<WIDTH> const beside(terms, i);
      with_loss(terms.which, [&](auto loss) {
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
          auto const value = loss.value(static_cast<float>(rx[l].at[k]),
                                        static_cast<float>(rt[l].at[k]), beside.e[k]);
          if (i + k < end) sum += static_cast<double>(beside.w[k] * value);
        }
      });
    }
  }
  using Cta = Team<THREADS>;
  sum = Cta::reduce(sum, Add{}, shared<typename Cta::template Slots<double>, "sums">());
  if (threadIdx.x > 0) return;
  if (gridDim.x > 1) {
    parts[blockIdx.x] = sum;
  } else {
    *y = finish(terms, sum);
  }
}

__global__ void __launch_bounds__(THREADS)
    parts_kernel(Terms terms, int64_t count, double const* parts, float* y) {
  double sum = 0.;
  for (int64_t p = threadIdx.x; p < count; p += THREADS) sum += parts[p];
  using Cta = Team<THREADS>;
  sum = Cta::reduce(sum, Add{}, shared<typename Cta::template Slots<double>, "sums">());
  if (threadIdx.x == 0) *y = finish(terms, sum);
}

// dy_stride: 0 where dy is that of a total. dx or dt may be nullptr.
template <typename T, int WIDTH>
__global__ void __launch_bounds__(THREADS)
    slopes_kernel(Terms terms, T const* x, T const* t, float const* dy, int64_t dy_stride, T* dx,
                  T* dt) {
  int64_t const i = (int64_t{blockIdx.x} * THREADS + threadIdx.x) * WIDTH;
  if (i >= terms.n) return;
  Vec<T, WIDTH> const rx = load_some<WIDTH>(x, i, terms.n);
  Vec<T, WIDTH> const rt = load_some<WIDTH>(t, i, terms.n);
  Beside<WIDTH> const beside(terms, i);
  Slopes slopes[WIDTH];
  with_loss(terms.which, [&](auto loss) {
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) {
      slopes[k] =
          loss.slopes(static_cast<float>(rx.at[k]), static_cast<float>(rt.at[k]), beside.e[k]);
    }
  });
  Vec<T, WIDTH> out_x;
  Vec<T, WIDTH> out_t;
  float const all = dy[0] / terms.divisor;
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    float const g = dy_stride == 0 || i + k >= terms.n ? all : dy[i + k] / terms.divisor;
    out_x.at[k] = static_cast<T>(beside.w[k] * slopes[k].x * g);
    out_t.at[k] = static_cast<T>(beside.w[k] * slopes[k].t * g);
  }
  if (dx != nullptr) store_some<WIDTH>(dx, i, terms.n, out_x);
  if (dt != nullptr) store_some<WIDTH>(dt, i, terms.n, out_t);
}

Terms read_terms(char const* name, Array const& x, Array const& t, Array const& weight,
                 Array const& extra, int64_t which, double parameter, double divisor) {
  expect_ndim(name, "x", x, 1);
  expect_like(name, "t", t, x);
  int64_t const n = x.size();
  expect_dtype(name, "weight", weight, DType::f32);
  expect_dtype(name, "extra", extra, DType::f32);
  if (weight.size() != 0) expect_shape(name, "weight", weight, {n});
  if (extra.size() > 1) expect_shape(name, "extra", extra, {n});
  expect(which >= 0 && which < LOSSES, name, "which", "0 to 9", which);
  return {static_cast<int>(which),
          n,
          weight.size() != 0 ? weight.data<float>() : nullptr,
          extra.size() != 0 ? extra.data<float>() : nullptr,
          extra.size() > 1,
          static_cast<float>(parameter),
          static_cast<float>(divisor)};
}

// run.operator()<T, WIDTH>() with 16-byte vectors where all arrays are aligned.
template <typename Run>
void choose(char const* name, DType dtype, std::initializer_list<void const*> arrays, Run&& run) {
  bool const aligned = std::ranges::all_of(arrays, is_vec_aligned);
  dispatch_float(name, "x", dtype, [&]<typename T>() {
    aligned ? run.template operator()<T, VEC_BYTES / static_cast<int>(sizeof(T))>()
            : run.template operator()<T, 1>();
  });
}

unsigned ctas(char const* name, int64_t n, int width) {
  int64_t const tile = int64_t{THREADS} * width;
  int64_t const count = n / tile + (n % tile != 0);
  constexpr int64_t MOST = (int64_t{1} << 31) - 1;
  expect(count <= MOST, name, "x", "at most " + show(MOST * tile) + " elements", n);
  return static_cast<unsigned>(count);
}

void loss_fwd(cudaStream_t stream, Array x, Array t, Array weight, Array extra, Out y,
              Out workspace, int64_t which, double parameter, double divisor) {
  char const* const name = "loss_fwd";
  Terms const terms = read_terms(name, x, t, weight, extra, which, parameter, divisor);
  expect_dtype(name, "y", y, DType::f32);
  expect_dtype(name, "workspace", workspace, DType::f64);
  bool const total = workspace.size() != 0;
  expect_shape(name, "y", y, {total ? 1 : terms.n});
  choose(name, x.dtype, {x.ptr, t.ptr, y.ptr}, [&]<typename T, int WIDTH>() {
    if (!total) {
      if (terms.n == 0) return;
      return launch(values_kernel<T, WIDTH>, ctas(name, terms.n, WIDTH), THREADS, 0, stream, terms,
                    x.data<T>(), t.data<T>(), y.data<float>());
    }
    constexpr int64_t TILE = int64_t{THREADS} * WIDTH * LOADS;
    int64_t const tiles = std::max<int64_t>(1, terms.n / TILE + (terms.n % TILE != 0));
    int64_t const most = std::min<int64_t>({tiles, workspace.size(), 1 << 16});
    int64_t const length = (tiles + most - 1) / most * TILE;
    int64_t const parts = std::max<int64_t>(1, (terms.n + length - 1) / length);
    launch(total_kernel<T, WIDTH>, static_cast<unsigned>(parts), THREADS, 0, stream, terms, length,
           x.data<T>(), t.data<T>(), workspace.data<double>(), y.data<float>());
    if (parts == 1) return;
    launch(parts_kernel, 1, THREADS, 0, stream, terms, parts, workspace.data<double>(),
           y.data<float>());
  });
}
PYNN_EXPORT(loss_fwd,
            "(x, t, weight, extra, y, workspace, which, parameter, divisor)  y = weight f(x, t, "
            "extra) / divisor, or with a workspace the sum of these");

void loss_bwd(cudaStream_t stream, Array x, Array t, Array weight, Array extra, Array dy, Out dx,
              Out dt, int64_t which, double parameter, double divisor) {
  char const* const name = "loss_bwd";
  Terms const terms = read_terms(name, x, t, weight, extra, which, parameter, divisor);
  expect_dtype(name, "dy", dy, DType::f32);
  expect_shape(name, "dy", dy, {dy.size() == 1 ? 1 : terms.n});
  if (dx.size() != 0) expect_like(name, "dx", dx, x);
  if (dt.size() != 0) expect_like(name, "dt", dt, x);
  if (terms.n == 0) return;
  choose(name, x.dtype, {x.ptr, t.ptr, dx.ptr, dt.ptr}, [&]<typename T, int WIDTH>() {
    launch(slopes_kernel<T, WIDTH>, ctas(name, terms.n, WIDTH), THREADS, 0, stream, terms,
           x.data<T>(), t.data<T>(), dy.data<float>(), int64_t{dy.size() > 1},
           dx.size() != 0 ? dx.data<T>() : nullptr, dt.size() != 0 ? dt.data<T>() : nullptr);
  });
}
PYNN_EXPORT(loss_bwd,
            "(x, t, weight, extra, dy, dx, dt, which, parameter, divisor)  the gradients of "
            "loss_fwd; dx or dt of no size is not written");

}  // namespace pynn::loss
