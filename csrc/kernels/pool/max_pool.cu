// max_pool.cu — the greatest pixel of each window, and which one it was.
//
//   max_pool_fwd   y[n, p, q, c] = max of x over window (p, q);  tap = its number r S + s
//   max_pool_bwd   dx[n, h, w, c] = sum of dy over the windows whose tap is (h, w)
//   x, dx (N, H, W, C), y, dy (N, P, Q, C) of T = f32 | f16 | bf16;  tap (N, P, Q, C) u8 | i32
//
//   Of equal values the first in row-major order is taken, of several NaN the last. Padding is
//   -inf and never taken, but for a window of nothing but -inf, whose tap is 0.
//
//   layout and tile picture: kernels/pool/pool.cuh. The backward gathers: a thread owns a pixel and
//   asks the windows that cover it, in the order of their taps, so there are no atomics and the
//   same bits come out each time.
//
//   bytes  forward  NHWC sizeof(T) + NPQC (sizeof(T) + sizeof(tap))
//          backward the same; overlapping windows come from L1 and L2        bound: memory
//
//   Ranzato et al. 2007, CVPR;  PyTorch's rule for ties and NaN

#include <cmath>
#include <type_traits>

#include "kernels/pool/pool.cuh"

#include "common/check.h"
#include "common/export.h"

namespace pynn::pool {

struct Windows {
  Images images;
  Sliding rows;
  Sliding columns;
  Divisor width;  // of the images that threads lie on
};

template <int WIDTH, typename T, typename Tap>
__global__ void __launch_bounds__(THREADS, CTAS)
    max_pool_kernel(Windows windows, T const* x, T* y, Tap* tap) {
  Images const im = windows.images;
  Place const at = find_place<WIDTH>(windows.width, im.p * im.q, im.channels);
  if (!at.inside) return;
  Sliding const rows = windows.rows;
  Sliding const columns = windows.columns;
  for (int64_t n = blockIdx.z; n < im.count; n += gridDim.z) {
    float best[WIDTH];
    int which[WIDTH] = {};
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) best[k] = -INFINITY;
    for (int r = 0; r < rows.taps; ++r) {
      int const h = at.row * rows.stride + r * rows.dilation - rows.pad;
      if (h < 0 || h >= im.h) continue;
#pragma unroll 4
      for (int s = 0; s < columns.taps; ++s) {
        int const w = at.column * columns.stride + s * columns.dilation - columns.pad;
        if (w < 0 || w >= im.w) continue;
        Vec<T, WIDTH> const v =
            load_vec<WIDTH>(x + ((n * im.h + h) * im.w + w) * im.channels + at.c);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
          float const value = static_cast<float>(v.at[k]);
          if (value > best[k] || value != value) {  // past a NaN, another NaN alone
            best[k] = value;
            which[k] = r * columns.taps + s;
          }
        }
      }
    }
    Vec<T, WIDTH> out;
    Vec<Tap, WIDTH * sizeof(Tap) <= VEC_BYTES ? WIDTH : VEC_BYTES / sizeof(Tap)> taps;
    constexpr int TAPS = sizeof(taps.at) / sizeof(Tap);
    int64_t const to = ((n * im.p + at.row) * im.q + at.column) * im.channels + at.c;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) out.at[k] = static_cast<T>(best[k]);
    store_vec<WIDTH>(y + to, out);
#pragma unroll
    for (int first = 0; first < WIDTH; first += TAPS) {
#pragma unroll
      for (int k = 0; k < TAPS; ++k) taps.at[k] = static_cast<Tap>(which[first + k]);
      store_vec<TAPS>(tap + to + first, taps);
    }
  }
}

template <int WIDTH, typename T, typename Tap>
__global__ void __launch_bounds__(THREADS, CTAS)
    max_pool_backward_kernel(Windows windows, Divisor stride_h, Divisor stride_w, Tap const* tap,
                             T const* dy, T* dx) {
  Images const im = windows.images;
  Place const at = find_place<WIDTH>(windows.width, im.h * im.w, im.channels);
  if (!at.inside) return;
  Sliding const rows = windows.rows;
  Sliding const columns = windows.columns;
  for (int64_t n = blockIdx.z; n < im.count; n += gridDim.z) {
    float sums[WIDTH] = {};
    for (int r = 0; r < rows.taps; ++r) {
      int const up = at.row + rows.pad - r * rows.dilation;
      int const p = up < 0 ? -1 : static_cast<int>(stride_h.divide(static_cast<uint32_t>(up)));
      if (p < 0 || p >= im.p || p * rows.stride != up) continue;
#pragma unroll 2
      for (int s = 0; s < columns.taps; ++s) {
        int const left = at.column + columns.pad - s * columns.dilation;
        int const q =
            left < 0 ? -1 : static_cast<int>(stride_w.divide(static_cast<uint32_t>(left)));
        if (q < 0 || q >= im.q || q * columns.stride != left) continue;
        int64_t const from = ((n * im.p + p) * im.q + q) * im.channels + at.c;
        Vec<T, WIDTH> const v = load_vec<WIDTH>(dy + from);
        constexpr int TAPS =
            WIDTH * sizeof(Tap) <= VEC_BYTES ? WIDTH : VEC_BYTES / static_cast<int>(sizeof(Tap));
        int const mine = r * columns.taps + s;
#pragma unroll
        for (int first = 0; first < WIDTH; first += TAPS) {
          Vec<Tap, TAPS> const taps = load_vec<TAPS>(tap + from + first);
#pragma unroll
          for (int k = 0; k < TAPS; ++k) {
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

// f.template operator()<Tap>()
template <typename F>
void dispatch_tap(char const* name, Array tap, F&& f) {
  if (tap.dtype == DType::u8) return f.template operator()<uint8_t>();
  expect_dtype(name, "tap", tap, DType::i32);
  f.template operator()<int32_t>();
}

Windows read_windows(char const* name, Images const& images, Array tap, Array y, Pair kernel,
                     Pair stride, Pair padding, Pair dilation) {
  expect_shape(name, "tap", tap, y.shape());
  Sliding const rows = sliding(name, images.h, images.p, kernel.h, stride.h, padding.h, dilation.h);
  Sliding const columns =
      sliding(name, images.w, images.q, kernel.w, stride.w, padding.w, dilation.w);
  expect(tap.dtype != DType::u8 || kernel.h * kernel.w <= 256, name, "tap",
         "int32 for a kernel of over 256 taps", show(tap.dtype));
  return {images, rows, columns, Divisor()};
}

void max_pool_fwd(cudaStream_t stream, Array x, Out y, Out tap, Pair kernel, Pair stride,
                  Pair padding, Pair dilation) {
  char const* const name = "max_pool_fwd";
  Images const im = read_images(name, "y", x, y);
  Windows windows = read_windows(name, im, tap, y, kernel, stride, padding, dilation);
  if (y.size() == 0) return;
  windows.width = Divisor(static_cast<uint32_t>(im.q));
  over_pixels(name, x, im, int64_t{im.p} * im.q, {x.ptr, y.ptr, tap.ptr},
              [&]<typename T, int WIDTH>(Tiling tiles) {
                dispatch_tap(name, tap, [&]<typename Tap>() {
                  launch(max_pool_kernel<WIDTH, T, Tap>, tiles.grid, tiles.block, 0, stream,
                         windows, x.data<T>(), y.data<T>(), tap.data<Tap>());
                });
              });
}
PYNN_EXPORT(
    max_pool_fwd,
    "(x, y, tap, kernel, stride, padding, dilation)  y = max of each window, tap its place");

void max_pool_bwd(cudaStream_t stream, Array tap, Array dy, Out dx, Pair kernel, Pair stride,
                  Pair padding, Pair dilation) {
  char const* const name = "max_pool_bwd";
  Images const im = read_images(name, "dy", dx, dy);
  Windows windows = read_windows(name, im, tap, dy, kernel, stride, padding, dilation);
  if (dx.size() == 0) return;
  windows.width = Divisor(static_cast<uint32_t>(im.w));
  Divisor const stride_h(static_cast<uint32_t>(stride.h));
  Divisor const stride_w(static_cast<uint32_t>(stride.w));
  over_pixels(name, dx, im, int64_t{im.h} * im.w, {tap.ptr, dy.ptr, dx.ptr},
              [&]<typename T, int WIDTH>(Tiling tiles) {
                dispatch_tap(name, tap, [&]<typename Tap>() {
                  launch(max_pool_backward_kernel<WIDTH, T, Tap>, tiles.grid, tiles.block, 0,
                         stream, windows, stride_h, stride_w, tap.data<Tap>(), dy.data<T>(),
                         dx.data<T>());
                });
              });
}
PYNN_EXPORT(max_pool_bwd,
            "(tap, dy, dx, kernel, stride, padding, dilation)  dx = dy at the pixel of each tap");

}  // namespace pynn::pool
