// pool.cuh — what the pooling kernels share: shapes, where windows lie, how threads lie on images.
//
//   images  x (N, H, W, C), y (N, P, Q, C), NHWC
//
//   Sliding    window p covers the pixels  p stride + tap dilation - pad,  tap = 0 .. taps - 1
//   Adaptive   window p covers  floor(p n / outputs) .. ceil((p + 1) n / outputs) - 1
//
//   CTA     256 threads as TX lanes over vectors of channels times TY pixels, neighbours in a row:
//           what their windows share comes from L1                   c ──► TX vectors
//   grid    ceil(pixels of an image / TY) x channel tiles x N    TY pixels │t0│t1│..│

#pragma once

#include <algorithm>
#include <cstdint>

#include "common/array.h"
#include "common/broadcast.cuh"
#include "common/check.h"
#include "common/dispatch.h"
#include "common/launch.h"
#include "common/vec.cuh"

namespace pynn::pool {

inline constexpr int THREADS = 256;
inline constexpr int CTAS = 4;  // at least, on a multiprocessor: 64 registers

// One axis of the image: n pixels and as many outputs.
struct Sliding {
  int n;
  int outputs;
  int taps;
  int stride;
  int pad;
  int dilation;

  __device__ int begin(int p) const { return max(p * stride - pad, 0); }
  __device__ int end(int p) const { return min(p * stride - pad + taps, n); }
  // The outputs whose windows cover pixel h: first to last. Without dilation.
  __device__ int first(int h) const {
    int const low = h + pad - taps + 1;
    return low <= 0 ? 0 : (low + stride - 1) / stride;
  }
  __device__ int last(int h) const { return min((h + pad) / stride, outputs - 1); }
};

// outputs (n + 1) and n (outputs + 1) fit 31 bits.
struct Adaptive {
  unsigned n;
  unsigned outputs;

  __device__ int begin(int p) const { return static_cast<int>(p * n / outputs); }
  __device__ int end(int p) const {
    return static_cast<int>(((p + 1) * n + outputs - 1) / outputs);
  }
  __device__ int first(int h) const { return static_cast<int>(h * outputs / n); }
  __device__ int last(int h) const { return static_cast<int>(((h + 1) * outputs + n - 1) / n) - 1; }
};

struct Images {
  int64_t count;     // N
  int64_t channels;  // C
  int h;
  int w;
  int p;
  int q;
};

// Where a thread works: channel c of pixel (row, column) of images n, n + gridDim.z, ...
struct Place {
  int row;
  int column;
  int64_t c;
  bool inside;
};

template <int WIDTH>
__device__ inline Place find_place(Divisor const& width, int pixels, int64_t channels) {
  uint32_t const pixel = blockIdx.x * blockDim.y + threadIdx.y;
  int64_t const c = (int64_t{blockIdx.y} * blockDim.x + threadIdx.x) * WIDTH;
  bool const inside = pixel < static_cast<uint32_t>(pixels) && c < channels;
  uint32_t const row = inside ? width.divide(pixel) : 0;
  return {static_cast<int>(row), static_cast<int>(pixel - row * width.value), c, inside};
}

// Grid and block for a thread for each vector of channels of each pixel.
struct Tiling {
  dim3 grid;
  dim3 block;
};

inline Tiling tile_images(int64_t images, int64_t pixels, int64_t vectors) {
  unsigned tx = 1;
  while (tx < 32 && tx < vectors) tx *= 2;
  unsigned const ty = THREADS / tx;
  constexpr int64_t MOST = 65535;
  return {dim3(static_cast<unsigned>((pixels + ty - 1) / ty),
               static_cast<unsigned>((vectors + tx - 1) / tx),
               static_cast<unsigned>(std::min(images, MOST))),
          dim3(tx, ty)};
}

// x and y checked as images of one dtype, N and C in common, and small enough for indices of 31 bits
// within an image.
inline Images read_images(char const* name, char const* y_name, Array const& x, Array const& y) {
  expect_ndim(name, "x", x, 4);
  expect_ndim(name, y_name, y, 4);
  expect_shape(name, y_name, y, {x.dims[0], y.dims[1], y.dims[2], x.dims[3]});
  expect_dtype(name, y_name, y, x.dtype);
  constexpr int64_t MOST = (int64_t{1} << 31) - 1;
  expect(x.dims[1] * x.dims[2] <= MOST, name, "x", "fewer than 2^31 pixels", x.shape());
  expect(y.dims[1] * y.dims[2] <= MOST, name, y_name, "fewer than 2^31 pixels", y.shape());
  return {x.dims[0],
          x.dims[3],
          static_cast<int>(x.dims[1]),
          static_cast<int>(x.dims[2]),
          static_cast<int>(y.dims[1]),
          static_cast<int>(y.dims[2])};
}

// Checked numbers of one axis.
inline Sliding sliding(char const* name, int n, int outputs, int64_t taps, int64_t stride,
                       int64_t pad, int64_t dilation = 1) {
  constexpr int64_t MOST = 1 << 24;
  expect(taps >= 1 && taps <= MOST, name, "kernel", "1 to 2^24", taps);
  expect(stride >= 1 && stride <= MOST, name, "stride", "1 to 2^24", stride);
  expect(dilation >= 1 && dilation <= MOST, name, "dilation", "1 to 2^24", dilation);
  expect(pad >= 0 && pad <= MOST, name, "padding", "0 to 2^24", pad);
  int64_t const reach = (outputs - 1) * stride + (taps - 1) * dilation;
  constexpr int64_t LIMIT = (int64_t{1} << 31) - 1;
  expect(reach <= LIMIT, name, "windows", "within 2^31 pixels", reach);
  return {n,
          outputs,
          static_cast<int>(taps),
          static_cast<int>(stride),
          static_cast<int>(pad),
          static_cast<int>(dilation)};
}

inline Adaptive adaptive(char const* name, int n, int outputs) {
  constexpr int64_t MOST = (int64_t{1} << 31) - 1;
  int64_t const reach = (n + int64_t{1}) * (outputs + int64_t{1});
  expect(reach <= MOST, name, "windows", "pixels times outputs below 2^31", reach);
  return {static_cast<unsigned>(n), static_cast<unsigned>(outputs)};
}

// Calls run.operator()<T, WIDTH>(tiling) for a thread for each vector of channels of `pixels` pixels
// an image: 16 bytes where they are aligned in all arrays, else one element.
template <typename Run>
void over_pixels(char const* name, Array const& x, Images const& im, int64_t pixels,
                 std::initializer_list<void const*> arrays, Run&& run) {
  bool const aligned = std::ranges::all_of(arrays, is_vec_aligned);
  dispatch_float(name, "x", x.dtype, [&]<typename T>() {
    constexpr int WIDTH = VEC_BYTES / sizeof(T);
    if (aligned && im.channels % WIDTH == 0) {
      run.template operator()<T, WIDTH>(tile_images(im.count, pixels, im.channels / WIDTH));
    } else {
      run.template operator()<T, 1>(tile_images(im.count, pixels, im.channels));
    }
  });
}

}  // namespace pynn::pool
