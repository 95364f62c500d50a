// row_norm_fwd.cu — layer normalization and root mean square normalization of rows.
//
//   layer  xhat = (x - mean) rstd,  rstd = 1 / sqrt(var + eps)
//   rms    xhat = x rstd,           rstd = 1 / sqrt(mean x^2 + eps)
//   y = xhat w + b, layer f(xhat w + b), f of norm.cuh;  with a residual, x + residual takes the place of x, and is kept, rounded, as
//   `sum`
//
//   x, residual, sum, y (R, C), w, b (C,);  T = f32 | f16 | bf16, math and sums in f32
//   mean, rstd (R,) f64: see norm.cuh;  w, b, residual and sum empty where there are none
//
//   on chip  a row stays in the registers of its team (common/row.cuh): its mean, then the moments
//            of d = x - mean, whose own mean corrects both (Chan, Golub, LeVeque 1983). Where f32
//            cannot hold the squares, the moments are taken again in f64, from the same registers.
//   cluster  rows of up to 131,072 elements: row_norm_sm90.cu
//   long     longer rows, or before sm_90: a CTA of 1024 threads reads the row three times
//
//   bytes   sizeof(T) 2 R C + 16 R, with a residual 4 R C;  long: 4 R C, with a residual 8 R C
//   FLOPs   about 8 an element     bound: memory
//   deterministic
//
//   Ba, Kiros, Hinton 2016, arXiv:1607.06450;  Zhang, Sennrich 2019, arXiv:1910.07467

#include <cmath>

#include "kernels/norm/row_norm.cuh"

#include "common/chip.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/shared.cuh"

namespace pynn::norm {

template <typename Kind, typename T, int WIDTH, int THREADS, int VECS>
__global__ void __launch_bounds__(ROW_CTA<THREADS>)
    row_norm_fwd_kernel(T const* x, Addition<T> add, int64_t rows, int n, float eps,
                        RowAffine<T> affine, T* y, RowStatistics statistics) {
  using Lane = Row<T, WIDTH, THREADS, VECS>;
  using Cta = Team<THREADS>;
  int64_t const row = row_index<THREADS>();
  if (row >= rows) return;

  add = add.at(row * n);
  Held<T, WIDTH, THREADS, VECS> rx;
  rx.load(x + row * n, add.residual, n);
  if (add.residual != nullptr) Lane::map(add.sum, n, rx);

  int calls = 0;  // two sets of slots in turn: a barrier lies between uses of one
  auto const reduce = [&](auto value) {
    using V = decltype(value);
    auto& slots = shared<typename Cta::template Slots<V>[2], "slots">();
    return Cta::reduce(value, Add{}, slots[calls++ % 2]);
  };
  auto const fold = [&](auto start, auto f) {
    return Lane::fold(start, n, Add{}, [&](int v, int k) { return f(rx(v, k)); });
  };
  RowMoments const moments = row_moments<Kind::CENTRED>(n, eps, fold, reduce);
  double const rstd = inverse_root(moments.variance, eps);

  Standardize const xhat(moments.mean, rstd);
  Lane::map(y + row * n, n, [&](int v, int k) {
    int const c = Lane::at(v) + k;
    return affine.y(c, xhat(rx(v, k)));
  });
  if (Cta::rank() == 0) {
    if constexpr (Kind::CENTRED) statistics.mean[row] = moments.mean;
    statistics.rstd[row] = rstd;
  }
}

template <typename Kind, typename T, int WIDTH>
__global__ void __launch_bounds__(LONG_THREADS, 1)
    row_norm_fwd_long_kernel(T const* x, Addition<T> add, int64_t n, float eps, RowAffine<T> affine,
                             T* y, RowStatistics statistics) {
  using Lane = Row<T, WIDTH, LONG_THREADS, LONG_VECS>;
  using Cta = Team<LONG_THREADS>;
  constexpr int64_t CHUNK = int64_t{LONG_THREADS} * LONG_VECS * WIDTH;
  int64_t const row = blockIdx.x;
  x += row * n;
  y += row * n;

  add = add.at(row * n);

  int calls = 0;
  auto const reduce = [&](auto value) {
    using V = decltype(value);
    auto& slots = shared<typename Cta::template Slots<V>[2], "slots">();
    return Cta::reduce(value, Add{}, slots[calls++ % 2]);
  };
  auto const fold = [&](auto total, auto f) {
    for (int64_t i = 0; i < n; i += CHUNK) {
      int const m = static_cast<int>(min(n - i, CHUNK));
      Held<T, WIDTH, LONG_THREADS, LONG_VECS> rx;
      rx.load(x + i, add.at(i).residual, m);
      total = total +
              Lane::fold(decltype(total){}, m, Add{}, [&](int v, int k) { return f(rx(v, k)); });
    }
    return total;
  };
  RowMoments const moments = row_moments<Kind::CENTRED>(n, eps, fold, reduce);
  double const rstd = inverse_root(moments.variance, eps);

  Standardize const xhat(moments.mean, rstd);
  for (int64_t i = 0; i < n; i += CHUNK) {
    int const m = static_cast<int>(min(n - i, CHUNK));
    Held<T, WIDTH, LONG_THREADS, LONG_VECS> rx;
    rx.load(x + i, add.at(i).residual, m);
    if (add.residual != nullptr) Lane::map(add.sum + i, m, rx);
    Lane::map(y + i, m, [&](int v, int k) {
      int64_t const c = i + Lane::at(v) + k;
      return affine.y(c, xhat(rx(v, k)));
    });
  }
  if (threadIdx.x == 0) {
    if constexpr (Kind::CENTRED) statistics.mean[row] = moments.mean;
    statistics.rstd[row] = rstd;
  }
}

template <typename Kind, typename T>
void choose_fwd(char const* op, cudaStream_t stream, T const* x, Addition<T> add, int64_t rows,
                int64_t n, float eps, RowAffine<T> affine, T* y, RowStatistics statistics) {
  bool const aligned = is_vec_aligned(x) && is_vec_aligned(y) && is_vec_aligned(add.residual) &&
                       is_vec_aligned(add.sum);
  bool const fits = choose_row<T, 16384>(n, aligned, [&]<int WIDTH, int THREADS, int VECS>() {
    launch(row_norm_fwd_kernel<Kind, T, WIDTH, THREADS, VECS>, row_grid<THREADS>(op, rows),
           ROW_CTA<THREADS>, 0, stream, x, add, rows, static_cast<int>(n), eps, affine, y,
           statistics);
  });
  if (fits) return;
  bool const vec = row_is_vec<T>(n, aligned);
  if (vec && chip().major >= 9 && n <= CLUSTER_ROW) {
    return fwd_cluster<Kind>(op, stream, x, add, rows, n, eps, affine, y, statistics);
  }
  auto const kernel = vec ? row_norm_fwd_long_kernel<Kind, T, VEC_BYTES / sizeof(T)>
                          : row_norm_fwd_long_kernel<Kind, T, 1>;
  launch(kernel, row_grid<LONG_THREADS>(op, rows), LONG_THREADS, 0, stream, x, add, n, eps, affine,
         y, statistics);
}

template <typename Kind>
void forward(char const* op, cudaStream_t stream, Array x, Array residual, Array weight, Array bias,
             Out y, Out sum, Out mean, Out rstd, double eps, int64_t function) {
  expect_ndim(op, "x", x, 2);
  int64_t const rows = x.dims[0];
  int64_t const n = x.dims[1];
  expect_like(op, "y", y, x);
  expect_dtype(op, "residual", residual, x.dtype);
  expect_like(op, "sum", sum, residual);
  if (residual.size() > 0) expect_shape(op, "residual", residual, x.shape());
  if constexpr (Kind::CENTRED) {
    expect_shape(op, "mean", mean, {rows});
    expect_dtype(op, "mean", mean, DType::f64);
  }
  expect_shape(op, "rstd", rstd, {rows});
  expect_dtype(op, "rstd", rstd, DType::f64);
  expect(eps >= 0., op, "eps", "a number >= 0", eps);
  expect_activation(op, function);
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    RowAffine<T> const affine{
        {optional<T>(op, "weight", weight, x, n), optional<T>(op, "bias", bias, x, n)}, function};
    if (x.size() == 0) return;
    bool const adds = residual.size() > 0;
    Addition<T> const add{adds ? residual.data<T>() : nullptr, adds ? sum.data<T>() : nullptr};
    choose_fwd<Kind, T>(op, stream, x.data<T>(), add, rows, n, static_cast<float>(eps), affine,
                        y.data<T>(), RowStatistics{mean.data<double>(), rstd.data<double>()});
  });
}

void layer_norm_fwd(cudaStream_t stream, Array x, Array residual, Array weight, Array bias, Out y,
                    Out sum, Out mean, Out rstd, double eps, int64_t activation) {
  forward<Layer>("layer_norm_fwd", stream, x, residual, weight, bias, y, sum, mean, rstd, eps,
                 activation);
}
PYNN_EXPORT(layer_norm_fwd,
            "(x, residual, weight, bias, y, sum, mean, rstd, eps, activation)  y = f((sum - mean) "
            "rstd weight + bias), by rows; sum = x + residual, or x where residual is empty");

void rms_norm_fwd(cudaStream_t stream, Array x, Array residual, Array weight, Out y, Out sum,
                  Out rstd, double eps) {
  Array none = weight;
  none.ndim = 1;
  none.dims[0] = 0;
  Out no_mean{rstd};
  forward<Rms>("rms_norm_fwd", stream, x, residual, weight, none, y, sum, no_mean, rstd, eps, 0);
}
PYNN_EXPORT(rms_norm_fwd,
            "(x, residual, weight, y, sum, rstd, eps)  y = sum rstd weight, by rows; sum = x + "
            "residual, or x where residual is empty");

}  // namespace pynn::norm
