// avg_pool.cu — the mean of windows: sliding ones, and those that cut an image of any size.
//
//   avg_pool_fwd   y[n, p, q, c] = sum of x over window (p, q) / (rows[p] columns[q])
//   avg_pool_bwd   dx[n, h, w, c] = sum over the windows (p, q) that cover (h, w) of
//                  dy[n, p, q, c] / (rows[p] columns[q])
//   rows (P,), columns (Q,) f32: the counts, with or without what lies in the padding
//   adaptive_avg_pool_fwd, _bwd   the same with the windows' true sizes
//   x, dx (N, H, W, C), y, dy (N, P, Q, C) of T = f32 | f16 | bf16, sums in f32, one rounding
//
//   layout, windows and tile picture: kernels/pool/pool.cuh. The backward gathers: a thread owns a
//   pixel, so there are no atomics and the same bits come out each time.
//
//   bytes  (NHWC + NPQC) sizeof(T) both ways; overlapping windows come from L1 and L2
//   bound: memory

#include <cstdint>

#include "kernels/pool/pool.cuh"

#include "common/check.h"
#include "common/export.h"

namespace pynn::pool {

// What a pixel counts in window (p, q): one by the number of its pixels.
struct Listed {
  float const* rows;
  float const* columns;
  template <typename Axis>
  __device__ float share(Axis const&, Axis const&, int p, int q) const {
    return 1.f / (rows[p] * columns[q]);
  }
};

struct Counted {
  template <typename Axis>
  __device__ float share(Axis const& rows, Axis const& columns, int p, int q) const {
    return 1.f / (static_cast<float>(rows.end(p) - rows.begin(p)) *
                  static_cast<float>(columns.end(q) - columns.begin(q)));
  }
};

template <typename Axis>
struct Windows2d {
  Images images;
  Axis rows;
  Axis columns;
  Divisor width;  // of the images that threads lie on
};

template <int WIDTH, typename Axis, typename Counts, typename T>
__global__ void __launch_bounds__(THREADS, CTAS)
    avg_pool_kernel(Windows2d<Axis> windows, Counts counts, T const* x, T* y) {
  Images const im = windows.images;
  Place const at = find_place<WIDTH>(windows.width, im.p * im.q, im.channels);
  if (!at.inside) return;
  int const top = windows.rows.begin(at.row);
  int const bottom = windows.rows.end(at.row);
  int const left = windows.columns.begin(at.column);
  int const right = windows.columns.end(at.column);
  float const share = counts.share(windows.rows, windows.columns, at.row, at.column);
  for (int64_t n = blockIdx.z; n < im.count; n += gridDim.z) {
    float sums[WIDTH] = {};
    for (int h = top; h < bottom; ++h) {
#pragma unroll 4
      for (int w = left; w < right; ++w) {
        Vec<T, WIDTH> const v =
            load_vec<WIDTH>(x + ((n * im.h + h) * im.w + w) * im.channels + at.c);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) sums[k] += static_cast<float>(v.at[k]);
      }
    }
    Vec<T, WIDTH> out;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) out.at[k] = static_cast<T>(sums[k] * share);
    store_vec<WIDTH>(y + ((n * im.p + at.row) * im.q + at.column) * im.channels + at.c, out);
  }
}

template <int WIDTH, typename Axis, typename Counts, typename T>
__global__ void __launch_bounds__(THREADS, CTAS)
    avg_pool_backward_kernel(Windows2d<Axis> windows, Counts counts, T const* dy, T* dx) {
  Images const im = windows.images;
  Place const at = find_place<WIDTH>(windows.width, im.h * im.w, im.channels);
  if (!at.inside) return;
  int const top = windows.rows.first(at.row);
  int const bottom = windows.rows.last(at.row);
  int const left = windows.columns.first(at.column);
  int const right = windows.columns.last(at.column);
  for (int64_t n = blockIdx.z; n < im.count; n += gridDim.z) {
    float sums[WIDTH] = {};
    for (int p = top; p <= bottom; ++p) {
#pragma unroll 1
      for (int q = left; q <= right; ++q) {
        if (at.row >= windows.rows.end(p) || at.column >= windows.columns.end(q)) continue;
        Vec<T, WIDTH> const v =
            load_vec<WIDTH>(dy + ((n * im.p + p) * im.q + q) * im.channels + at.c);
        float const share = counts.share(windows.rows, windows.columns, p, q);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) sums[k] += static_cast<float>(v.at[k]) * share;
      }
    }
    Vec<T, WIDTH> out;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) out.at[k] = static_cast<T>(sums[k]);
    store_vec<WIDTH>(dx + ((n * im.h + at.row) * im.w + at.column) * im.channels + at.c, out);
  }
}

template <typename Axis, typename Counts>
void forward(char const* name, cudaStream_t stream, Windows2d<Axis> windows, Counts counts, Array x,
             Out y) {
  if (y.size() == 0) return;
  Images const& im = windows.images;
  windows.width = Divisor(static_cast<uint32_t>(im.q));
  over_pixels(name, x, im, int64_t{im.p} * im.q, {x.ptr, y.ptr},
              [&]<typename T, int WIDTH>(Tiling tiles) {
                launch(avg_pool_kernel<WIDTH, Axis, Counts, T>, tiles.grid, tiles.block, 0, stream,
                       windows, counts, x.data<T>(), y.data<T>());
              });
}

template <typename Axis, typename Counts>
void backward(char const* name, cudaStream_t stream, Windows2d<Axis> windows, Counts counts,
              Array dy, Out dx) {
  if (dx.size() == 0) return;
  Images const& im = windows.images;
  windows.width = Divisor(static_cast<uint32_t>(im.w));
  over_pixels(name, dy, im, int64_t{im.h} * im.w, {dy.ptr, dx.ptr},
              [&]<typename T, int WIDTH>(Tiling tiles) {
                launch(avg_pool_backward_kernel<WIDTH, Axis, Counts, T>, tiles.grid, tiles.block, 0,
                       stream, windows, counts, dy.data<T>(), dx.data<T>());
              });
}

Listed read_counts(char const* name, Images const& im, Array rows, Array columns) {
  expect_dtype(name, "rows", rows, DType::f32);
  expect_shape(name, "rows", rows, {int64_t{im.p}});
  expect_dtype(name, "columns", columns, DType::f32);
  expect_shape(name, "columns", columns, {int64_t{im.q}});
  return {rows.data<float>(), columns.data<float>()};
}

Windows2d<Sliding> slide(char const* name, Images const& im, Pair kernel, Pair stride,
                         Pair padding) {
  return {im, sliding(name, im.h, im.p, kernel.h, stride.h, padding.h),
          sliding(name, im.w, im.q, kernel.w, stride.w, padding.w), Divisor()};
}

Windows2d<Adaptive> cut(char const* name, Images const& im) {
  return {im, adaptive(name, im.h, im.p), adaptive(name, im.w, im.q), Divisor()};
}

void avg_pool_fwd(cudaStream_t stream, Array x, Array rows, Array columns, Out y, Pair kernel,
                  Pair stride, Pair padding) {
  char const* const name = "avg_pool_fwd";
  Images const im = read_images(name, "y", x, y);
  Listed const counts = read_counts(name, im, rows, columns);
  forward(name, stream, slide(name, im, kernel, stride, padding), counts, x, y);
}
PYNN_EXPORT(avg_pool_fwd,
            "(x, rows, columns, y, kernel, stride, padding)  y = sum of each window / (rows[p] "
            "columns[q])");

void avg_pool_bwd(cudaStream_t stream, Array dy, Array rows, Array columns, Out dx, Pair kernel,
                  Pair stride, Pair padding) {
  char const* const name = "avg_pool_bwd";
  Images const im = read_images(name, "dy", dx, dy);
  Listed const counts = read_counts(name, im, rows, columns);
  backward(name, stream, slide(name, im, kernel, stride, padding), counts, dy, dx);
}
PYNN_EXPORT(avg_pool_bwd,
            "(dy, rows, columns, dx, kernel, stride, padding)  dx = sum of dy / (rows[p] "
            "columns[q]) over the windows of a pixel");

void adaptive_avg_pool_fwd(cudaStream_t stream, Array x, Out y) {
  char const* const name = "adaptive_avg_pool_fwd";
  forward(name, stream, cut(name, read_images(name, "y", x, y)), Counted{}, x, y);
}
PYNN_EXPORT(adaptive_avg_pool_fwd, "(x, y)  y = mean of the P x Q windows that cut each image");

void adaptive_avg_pool_bwd(cudaStream_t stream, Array dy, Out dx) {
  char const* const name = "adaptive_avg_pool_bwd";
  backward(name, stream, cut(name, read_images(name, "dy", dx, dy)), Counted{}, dy, dx);
}
PYNN_EXPORT(adaptive_avg_pool_bwd, "(dy, dx)  the gradient of adaptive_avg_pool_fwd");

}  // namespace pynn::pool
