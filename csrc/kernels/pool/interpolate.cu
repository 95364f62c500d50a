// interpolate.cu — images of another size: each pixel of y is a sum of a few of x, an axis at a time.
//
//   interpolate_fwd   y[n, p, q, c] = sum over a, b of rows_weight[a, p] columns_weight[b, q]
//                                     x[n, rows_at[a, p], columns_at[b, q], c]
//   interpolate_bwd   dx[n, h, w, c] = sum of the same weights times dy[n, p, q, c] over the
//                     (a, p), (b, q) with rows_at[a, p] = h, columns_at[b, q] = w
//   x, dx (N, H, W, C), y, dy (N, P, Q, C) of T = f32 | f16 | bf16; sums in f32, one rounding
//   rows_at (A, P), columns_at (B, Q) i32, no row of them falls;  weights f32
//   rows_first (A, H + 1), columns_first (B, W + 1) i32: the p with rows_at[a, p] = h are
//   rows_first[a, h] to rows_first[a, h + 1] - 1
//
//   A = B = 1 is nearest, 2 is linear. layout and tile picture: kernels/pool/pool.cuh. The backward
//   gathers: a thread owns a pixel, so there are no atomics and the same bits come out each time.
//
//   bytes  (NHWC + NPQC) sizeof(T) both ways; neighbouring windows come from L1 and L2
//   bound: memory

#include <cstdint>

#include "kernels/pool/pool.cuh"

#include "common/check.h"
#include "common/export.h"

namespace pynn::pool {

// One axis: where its taps lie, or in the backward which outputs have a tap at a pixel.
struct Taps {
  int taps;
  int outputs;
  int n;  // pixels
  int const* at;
  float const* weight;

  __device__ int first(int tap, int pixel) const { return at[tap * (n + 1) + pixel]; }
};

template <int WIDTH, typename T>
__global__ void __launch_bounds__(THREADS, CTAS)
    interpolate_kernel(Images im, Divisor width, Taps rows, Taps columns, T const* x, T* y) {
  Place const at = find_place<WIDTH>(width, im.p * im.q, im.channels);
  if (!at.inside) return;
  for (int64_t n = blockIdx.z; n < im.count; n += gridDim.z) {
    float sums[WIDTH] = {};
    for (int b = 0; b < columns.taps; ++b) {
      int const tap = b * columns.outputs + at.column;
      int const w = columns.at[tap];
      float parts[WIDTH] = {};
#pragma unroll 2
      for (int a = 0; a < rows.taps; ++a) {
        int const h = rows.at[a * rows.outputs + at.row];
        float const weight = rows.weight[a * rows.outputs + at.row];
        Vec<T, WIDTH> const v =
            load_vec<WIDTH>(x + ((n * im.h + h) * im.w + w) * im.channels + at.c);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) parts[k] += weight * static_cast<float>(v.at[k]);
      }
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) sums[k] += columns.weight[tap] * parts[k];
    }
    Vec<T, WIDTH> out;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) out.at[k] = static_cast<T>(sums[k]);
    store_vec<WIDTH>(y + ((n * im.p + at.row) * im.q + at.column) * im.channels + at.c, out);
  }
}

template <int WIDTH, typename T>
__global__ void __launch_bounds__(THREADS, CTAS)
    interpolate_backward_kernel(Images im, Divisor width, Taps rows, Taps columns, T const* dy,
                                T* dx) {
  Place const at = find_place<WIDTH>(width, im.h * im.w, im.channels);
  if (!at.inside) return;
  for (int64_t n = blockIdx.z; n < im.count; n += gridDim.z) {
    float sums[WIDTH] = {};
    for (int a = 0; a < rows.taps; ++a) {
      for (int p = rows.first(a, at.row); p < rows.first(a, at.row + 1); ++p) {
        float parts[WIDTH] = {};
        for (int b = 0; b < columns.taps; ++b) {
          int const end = columns.first(b, at.column + 1);
#pragma unroll 2
          for (int q = columns.first(b, at.column); q < end; ++q) {
            float const weight = columns.weight[b * columns.outputs + q];
            Vec<T, WIDTH> const v =
                load_vec<WIDTH>(dy + ((n * im.p + p) * im.q + q) * im.channels + at.c);
#pragma unroll
            for (int k = 0; k < WIDTH; ++k) parts[k] += weight * static_cast<float>(v.at[k]);
          }
        }
        float const weight = rows.weight[a * rows.outputs + p];
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) sums[k] += weight * parts[k];
      }
    }
    Vec<T, WIDTH> out;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) out.at[k] = static_cast<T>(sums[k]);
    store_vec<WIDTH>(dx + ((n * im.h + at.row) * im.w + at.column) * im.channels + at.c, out);
  }
}

// at (taps, places), weight (taps, outputs)
Taps read_taps(char const* name, char const* what, Array at, Array weight, int places, int n,
               int outputs) {
  expect_ndim(name, what, at, 2);
  expect_dtype(name, what, at, DType::i32);
  expect_shape(name, what, at, {at.dims[0], int64_t{places}});
  expect_dtype(name, "weight", weight, DType::f32);
  expect_shape(name, "weight", weight, {at.dims[0], int64_t{outputs}});
  constexpr int64_t MOST = 16;
  expect(at.dims[0] >= 1 && at.dims[0] <= MOST, name, what, "1 to 16 taps", at.dims[0]);
  return {static_cast<int>(at.dims[0]), outputs, n, at.data<int>(), weight.data<float>()};
}

void interpolate_fwd(cudaStream_t stream, Array x, Array rows_at, Array rows_weight,
                     Array columns_at, Array columns_weight, Out y) {
  char const* const name = "interpolate_fwd";
  Images const im = read_images(name, "y", x, y);
  Taps const rows = read_taps(name, "rows_at", rows_at, rows_weight, im.p, im.h, im.p);
  Taps const columns = read_taps(name, "columns_at", columns_at, columns_weight, im.q, im.w, im.q);
  if (y.size() == 0) return;
  over_pixels(
      name, x, im, int64_t{im.p} * im.q, {x.ptr, y.ptr}, [&]<typename T, int WIDTH>(Tiling tiles) {
        launch(interpolate_kernel<WIDTH, T>, tiles.grid, tiles.block, 0, stream, im,
               Divisor(static_cast<uint32_t>(im.q)), rows, columns, x.data<T>(), y.data<T>());
      });
}
PYNN_EXPORT(interpolate_fwd,
            "(x, rows_at, rows_weight, columns_at, columns_weight, y)  y = sums of weights times "
            "pixels of x");

void interpolate_bwd(cudaStream_t stream, Array dy, Array rows_first, Array rows_weight,
                     Array columns_first, Array columns_weight, Out dx) {
  char const* const name = "interpolate_bwd";
  Images const im = read_images(name, "dy", dx, dy);
  Taps const rows = read_taps(name, "rows_first", rows_first, rows_weight, im.h + 1, im.h, im.p);
  Taps const columns =
      read_taps(name, "columns_first", columns_first, columns_weight, im.w + 1, im.w, im.q);
  if (dx.size() == 0) return;
  over_pixels(name, dy, im, int64_t{im.h} * im.w, {dy.ptr, dx.ptr},
              [&]<typename T, int WIDTH>(Tiling tiles) {
                launch(interpolate_backward_kernel<WIDTH, T>, tiles.grid, tiles.block, 0, stream,
                       im, Divisor(static_cast<uint32_t>(im.w)), rows, columns, dy.data<T>(),
                       dx.data<T>());
              });
}
PYNN_EXPORT(interpolate_bwd,
            "(dy, rows_first, rows_weight, columns_first, columns_weight, dx)  the gradient of "
            "interpolate_fwd");

}  // namespace pynn::pool
