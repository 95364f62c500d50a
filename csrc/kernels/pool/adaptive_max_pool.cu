// adaptive_max_pool.cu — the greatest pixel of each of the windows that cut an image of any size.
//
//   adaptive_max_pool_fwd   y[n, p, q, c] = max of x over window (p, q);  tap = the number of that
//                           pixel in the window, row by row
//   adaptive_max_pool_bwd   dx[n, h, w, c] = sum of dy over the windows whose tap is (h, w)
//   x, dx (N, H, W, C), y, dy (N, P, Q, C) of T = f32 | f16 | bf16;  tap (N, P, Q, C) i32
//
//   Of equal values, and of several NaN, the first in row-major order is taken.
//   layout, windows and tile picture: kernels/pool/pool.cuh. The backward gathers: a thread owns a
//   pixel, so there are no atomics and the same bits come out each time.
//
//   bytes  NHWC sizeof(T) + NPQC (sizeof(T) + 4) both ways; windows that overlap come from L1, L2
//   bound: memory

#include <cmath>
#include <cstdint>

#include "kernels/pool/pool.cuh"

#include "common/check.h"
#include "common/export.h"

namespace pynn::pool {

struct Cells {
  Images images;
  Adaptive rows;
  Adaptive columns;
  Divisor width;  // of the images that threads lie on
};

template <int WIDTH, typename T>
__global__ void __launch_bounds__(THREADS, CTAS)
    adaptive_max_pool_kernel(Cells cells, T const* x, T* y, int* tap) {
  Images const im = cells.images;
  Place const at = find_place<WIDTH>(cells.width, im.p * im.q, im.channels);
  if (!at.inside) return;
  int const top = cells.rows.begin(at.row);
  int const bottom = cells.rows.end(at.row);
  int const left = cells.columns.begin(at.column);
  int const right = cells.columns.end(at.column);
  for (int64_t n = blockIdx.z; n < im.count; n += gridDim.z) {
    float best[WIDTH];
    int which[WIDTH] = {};
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) best[k] = -INFINITY;
    int number = 0;
    for (int h = top; h < bottom; ++h) {
#pragma unroll 2
      for (int w = left; w < right; ++w, ++number) {
        Vec<T, WIDTH> const v =
            load_vec<WIDTH>(x + ((n * im.h + h) * im.w + w) * im.channels + at.c);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
          float const value = static_cast<float>(v.at[k]);
          if (value > best[k] || (value != value && best[k] == best[k])) {
            best[k] = value;
            which[k] = number;
          }
        }
      }
    }
    int64_t const to = ((n * im.p + at.row) * im.q + at.column) * im.channels + at.c;
    Vec<T, WIDTH> out;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) out.at[k] = static_cast<T>(best[k]);
    store_vec<WIDTH>(y + to, out);
    constexpr int PART = WIDTH < 4 ? WIDTH : 4;  // 16 bytes of taps
#pragma unroll
    for (int first = 0; first < WIDTH; first += PART) {
      Vec<int, PART> taps;
#pragma unroll
      for (int k = 0; k < PART; ++k) taps.at[k] = which[first + k];
      store_vec<PART>(tap + to + first, taps);
    }
  }
}

template <int WIDTH, typename T>
__global__ void __launch_bounds__(THREADS, CTAS)
    adaptive_max_pool_backward_kernel(Cells cells, int const* tap, T const* dy, T* dx) {
  Images const im = cells.images;
  Place const at = find_place<WIDTH>(cells.width, im.h * im.w, im.channels);
  if (!at.inside) return;
  for (int64_t n = blockIdx.z; n < im.count; n += gridDim.z) {
    float sums[WIDTH] = {};
    for (int p = cells.rows.first(at.row); p <= cells.rows.last(at.row); ++p) {
      int const top = cells.rows.begin(p);
      if (at.row < top || at.row >= cells.rows.end(p)) continue;
#pragma unroll 1
      for (int q = cells.columns.first(at.column); q <= cells.columns.last(at.column); ++q) {
        int const left = cells.columns.begin(q);
        int const right = cells.columns.end(q);
        if (at.column < left || at.column >= right) continue;
        int const mine = (at.row - top) * (right - left) + at.column - left;
        int64_t const from = ((n * im.p + p) * im.q + q) * im.channels + at.c;
        Vec<T, WIDTH> const v = load_vec<WIDTH>(dy + from);
        constexpr int PART = WIDTH < 4 ? WIDTH : 4;
#pragma unroll
        for (int first = 0; first < WIDTH; first += PART) {
          Vec<int, PART> const taps = load_vec<PART>(tap + from + first);
#pragma unroll
          for (int k = 0; k < PART; ++k) {
            if (taps.at[k] == mine) sums[first + k] += static_cast<float>(v.at[first + k]);
          }
        }
      }
    }
    Vec<T, WIDTH> out;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) out.at[k] = static_cast<T>(sums[k]);
    store_vec<WIDTH>(dx + ((n * im.h + at.row) * im.w + at.column) * im.channels + at.c, out);
  }
}

Cells read_cells(char const* name, Images const& im, Array tap, Array y) {
  expect_shape(name, "tap", tap, y.shape());
  expect_dtype(name, "tap", tap, DType::i32);
  return {im, adaptive(name, im.h, im.p), adaptive(name, im.w, im.q), Divisor()};
}

void adaptive_max_pool_fwd(cudaStream_t stream, Array x, Out y, Out tap) {
  char const* const name = "adaptive_max_pool_fwd";
  Images const im = read_images(name, "y", x, y);
  Cells cells = read_cells(name, im, tap, y);
  if (y.size() == 0) return;
  cells.width = Divisor(static_cast<uint32_t>(im.q));
  over_pixels(name, x, im, int64_t{im.p} * im.q, {x.ptr, y.ptr, tap.ptr},
              [&]<typename T, int WIDTH>(Tiling tiles) {
                launch(adaptive_max_pool_kernel<WIDTH, T>, tiles.grid, tiles.block, 0, stream,
                       cells, x.data<T>(), y.data<T>(), tap.data<int>());
              });
}
PYNN_EXPORT(adaptive_max_pool_fwd,
            "(x, y, tap)  y = max of the P x Q windows that cut each image, tap its place");

void adaptive_max_pool_bwd(cudaStream_t stream, Array tap, Array dy, Out dx) {
  char const* const name = "adaptive_max_pool_bwd";
  Images const im = read_images(name, "dy", dx, dy);
  Cells cells = read_cells(name, im, tap, dy);
  if (dx.size() == 0) return;
  cells.width = Divisor(static_cast<uint32_t>(im.w));
  over_pixels(name, dx, im, int64_t{im.h} * im.w, {tap.ptr, dy.ptr, dx.ptr},
              [&]<typename T, int WIDTH>(Tiling tiles) {
                launch(adaptive_max_pool_backward_kernel<WIDTH, T>, tiles.grid, tiles.block, 0,
                       stream, cells, tap.data<int>(), dy.data<T>(), dx.data<T>());
              });
}
PYNN_EXPORT(adaptive_max_pool_bwd, "(tap, dy, dx)  dx = dy at the pixel of each tap");

}  // namespace pynn::pool
