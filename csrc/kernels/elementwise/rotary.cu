// rotary.cu — pairs of channels turned by an angle, as rotary position embeddings are.
//
//   (lo, hi) -> (lo cos a - hi sin a, lo sin a + hi cos a);   a = sign angles[o, t, i]
//
//   x, y    (O, P, R, 2 I), T = f32 | f16 | bf16: R rows that have angles of their own, P repeats of
//           them, such as heads, and O more of both;  y may be x
//   angles  (O, R, I) f64
//   pairs   channels (i, I + i), or (2 i, 2 i + 1) if interleaved
//
//   grid    ceil(O R I / (256 WIDTH)) x ceil(P / 8)     a thread has WIDTH pairs of one row: their
//   CTA     256 threads                                 sines and cosines serve 8 repeats of it,
//                                                       2 at a time
//   WIDTH   16 bytes where pointers are aligned and I is a multiple of it, 1 element otherwise
//
//   The angle is brought to +-pi/4 in f64, its sine and cosine are taken in f32 (sine.cuh).
//
//   bytes   2 O P R 2 I sizeof(T) + 8 O R I     bound: memory     deterministic
//
//   Su et al. 2021, arXiv:2104.09864 (RoFormer)

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "common/array.h"
#include "common/check.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/launch.h"
#include "common/row.cuh"
#include "common/vec.cuh"

#include "kernels/elementwise/sine.cuh"

namespace pynn::rotary {

inline constexpr int THREADS = 256;
inline constexpr int REPEATS = 8;  // of a thread
inline constexpr int LOADS = 2;    // of them in flight

struct Shape {
  int64_t repeats;
  int64_t rows;
  int64_t pairs;
  int64_t angles;  // of all rows
  double sign;
  bool interleaved;
};

__device__ inline sine::Angle reduce(double angle) {
  double const q = rint(angle * 0.6366197723675814);
  double const r = fma(-q, 6.123233995736766e-17, fma(-q, 1.5707963267948966, angle));
  return {static_cast<float>(r), static_cast<uint32_t>(static_cast<int64_t>(q))};
}

template <typename T, int WIDTH>
__global__ void __launch_bounds__(THREADS)
    rotary_kernel(Shape shape, T const* x, double const* angles, T* y) {
  int64_t const first = (int64_t{blockIdx.x} * THREADS + threadIdx.x) * WIDTH;
  if (first >= shape.angles) return;
  int64_t const row = first / shape.pairs;  // o R + t
  int64_t const outer = row / shape.rows;
  int64_t const pair = first - row * shape.pairs;

  float cosines[WIDTH];
  float sines[WIDTH];
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    sine::Angle const angle = reduce(shape.sign * angles[first + k]);
    sines[k] = sine::of(angle);
    cosines[k] = sine::of({angle.r, angle.quadrant + 1});
  }

  int64_t const step = shape.rows * 2 * shape.pairs;  // from a repeat to the next
  int64_t const to_hi = shape.interleaved ? WIDTH : shape.pairs;
  int64_t const origin = outer * shape.repeats * step +
                         (row - outer * shape.rows) * 2 * shape.pairs +
                         (shape.interleaved ? 2 * pair : pair);
  int64_t const end = shape.repeats;
  for (int64_t p = int64_t{blockIdx.y} * LOADS; p < end; p += int64_t{gridDim.y} * LOADS) {
    int64_t const at = origin + p * step;
    Vec<T, WIDTH> lo[LOADS];
    Vec<T, WIDTH> hi[LOADS];
#pragma unroll
    for (int l = 0; l < LOADS; ++l) {
      if (p + l >= end) break;
      lo[l] = load_vec<WIDTH>(x + at + l * step);
      hi[l] = load_vec<WIDTH>(x + at + l * step + to_hi);
    }
#pragma unroll
    for (int l = 0; l < LOADS; ++l) {
      if (p + l >= end) break;
      float both[2 * WIDTH];  // of T, it would be chosen from by address, in local memory
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) {
        both[k] = static_cast<float>(lo[l].at[k]);
        both[WIDTH + k] = static_cast<float>(hi[l].at[k]);
      }
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) {
        float const a = shape.interleaved ? both[2 * k] : both[k];
        float const b = shape.interleaved ? both[2 * k + 1] : both[WIDTH + k];
        auto const turned_a = static_cast<T>(a * cosines[k] - b * sines[k]);
        auto const turned_b = static_cast<T>(a * sines[k] + b * cosines[k]);
        if (shape.interleaved) {
          (2 * k < WIDTH ? lo[l] : hi[l]).at[2 * k % WIDTH] = turned_a;
          (2 * k + 1 < WIDTH ? lo[l] : hi[l]).at[(2 * k + 1) % WIDTH] = turned_b;
        } else {
          lo[l].at[k] = turned_a;
          hi[l].at[k] = turned_b;
        }
      }
      store_vec<WIDTH>(y + at + l * step, lo[l]);
      store_vec<WIDTH>(y + at + l * step + to_hi, hi[l]);
    }
  }
}

void rotary(cudaStream_t stream, Array x, Array angles, Out y, bool backward, bool interleaved) {
  char const* const op = "rotary";
  expect_ndim(op, "x", x, 4);
  expect_ndim(op, "angles", angles, 3);
  expect_shape(op, "x", x, {angles.dims[0], x.dims[1], angles.dims[1], 2 * angles.dims[2]});
  expect_dtype(op, "angles", angles, DType::f64);
  expect_like(op, "y", y, x);
  Shape const shape{x.dims[1],     angles.dims[1],      angles.dims[2],
                    angles.size(), backward ? -1. : 1., interleaved};
  if (x.size() == 0) return;
  constexpr int64_t MAX_CHUNKS = 65535;
  int64_t const chunks = std::min((shape.repeats + REPEATS - 1) / REPEATS, MAX_CHUNKS);
  dispatch_float(op, "x", x.dtype, [&]<typename T>() {
    auto const run = [&]<int WIDTH>() {
      dim3 const grid(row_grid<THREADS>(op, (shape.angles / WIDTH + THREADS - 1) / THREADS),
                      static_cast<unsigned>(chunks));
      launch(rotary_kernel<T, WIDTH>, grid, THREADS, 0, stream, shape, x.data<T>(),
             angles.data<double>(), y.data<T>());
    };
    if (row_is_vec<T>(shape.pairs, is_vec_aligned(x.ptr) && is_vec_aligned(y.ptr))) {
      run.template operator()<VEC_BYTES / static_cast<int>(sizeof(T))>();
    } else {
      run.template operator()<1>();
    }
  });
}
PYNN_EXPORT(rotary,
            "(x, angles, y, backward, interleaved)  y = x with pairs of channels turned by the "
            "angles, backward by their negatives");

}  // namespace pynn::rotary
