// dropout.cu — elements or channels dropped at random; the mask is drawn, never stored.
//
//   dropout_fwd    y[i] = scale x[i] + shift if u[i] >= p else dropped        x, y of any one shape
//   dropout_channels_fwd   the same with u[n, c] for all m                    x, y (N, M, C)
//   u[i]           number i of the Philox stream (seed, offset), in [0, 1): common/philox.cuh
//   T = f32 | f16 | bf16, math in f32, one rounding;  y may be x itself
//
//   The backward is the same kernel on dy, with shift and dropped 0: it draws the mask again.
//   A shift of -0 leaves the sign of a zero alone, which +0 would not.
//
//   dropout_fwd            a thread owns UNIT = 8 elements (4 in f32), 16 bytes in and out, and
//                          draws their 2 (1) Philox blocks; 2 units in flight
//                          grid ceil(n / (256 x 2 x UNIT))
//   dropout_channels_fwd   a thread owns UNIT channels of a sample, draws once, and walks over the
//                          M pixels, 4 loads in flight   c ──► TX units   ┌────┬────┬────┐ TY pixels
//                          grid ceil(C / (TX UNIT)) x pixel parts x N   m ▼ t0 │ t1 │ .. │ at a time
//
//   A unit that is misaligned or overruns the end is moved element by element.
//   bytes 2 n sizeof(T)    integer instructions 20 an element
//   bound: memory in f32; by count of instructions, issue in 16 bits
//
//   Srivastava et al. 2014, JMLR 15;  Tompson et al. 2014, arXiv:1411.4280 (channels);
//   Klambauer et al. 2017, arXiv:1706.02515 (alpha dropout)

#include <algorithm>
#include <cstdint>

#include "common/array.h"
#include "common/check.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/launch.h"
#include "common/philox.cuh"
#include "common/vec.cuh"

namespace pynn::dropout {

inline constexpr int THREADS = 256;
inline constexpr int UNITS = 2;   // of a thread, in flight
inline constexpr int PIXELS = 4;  // the same

template <typename T>
inline constexpr int UNIT = VEC_BYTES / sizeof(T);

struct Rule {
  float p;
  uint64_t seed;
  uint64_t offset;
  float scale;
  float shift;
  float dropped;

  __device__ float operator()(float x, bool keep) const {
    return keep ? x * scale + shift : dropped;
  }
};

// Bit k says whether number first + k of the stream keeps its element.
template <int N>
__device__ inline unsigned draw_keep(Rule const& rule, int64_t first) {
  unsigned keep = 0;
  // first is a multiple of 4, or the words come from one block more
  int const skip = static_cast<int>(first % 4);
  uint64_t const block = rule.offset + static_cast<uint64_t>(first / 4);
#pragma unroll
  for (int b = 0; b < N / 4 + 1; ++b) {
    if (b == N / 4 && skip == 0) break;
    PhiloxWords const words = philox(rule.seed, block + b);
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      if (philox_uniform(words.at[w]) >= rule.p) keep |= 1u << (4 * b + w);
    }
  }
  return keep >> skip;
}

// A unit of x, element by element where it may not be loaded at once.
template <typename T>
__device__ inline Vec<T, UNIT<T>> load_unit(T const* x, int64_t count, bool wide) {
  if (wide && count >= UNIT<T>) return load_vec<UNIT<T>>(x);
  Vec<T, UNIT<T>> v{};
#pragma unroll
  for (int k = 0; k < UNIT<T>; ++k) {
    if (k < count) v.at[k] = x[k];
  }
  return v;
}

template <typename T>
__device__ inline void store_unit(Rule const& rule, unsigned keep, Vec<T, UNIT<T>> v, T* y,
                                  int64_t count, bool wide) {
#pragma unroll
  for (int k = 0; k < UNIT<T>; ++k) {
    v.at[k] = static_cast<T>(rule(static_cast<float>(v.at[k]), keep >> k & 1));
  }
  if (wide && count >= UNIT<T>) {
    store_vec<UNIT<T>>(y, v);
    return;
  }
#pragma unroll
  for (int k = 0; k < UNIT<T>; ++k) {
    if (k < count) y[k] = v.at[k];
  }
}

template <typename T>
__global__ void __launch_bounds__(THREADS)
    dropout_kernel(Rule rule, int64_t n, bool wide, T const* x, T* y) {
  int64_t at[UNITS];
  Vec<T, UNIT<T>> units[UNITS]{};
#pragma unroll
  for (int u = 0; u < UNITS; ++u) {
    at[u] = ((int64_t{blockIdx.x} * UNITS + u) * THREADS + threadIdx.x) * UNIT<T>;
    if (at[u] < n) units[u] = load_unit(x + at[u], n - at[u], wide);
  }
#pragma unroll
  for (int u = 0; u < UNITS; ++u) {
    if (at[u] >= n) return;
    unsigned const keep = draw_keep<UNIT<T>>(rule, at[u]);
    store_unit(rule, keep, units[u], y + at[u], n - at[u], wide);
  }
}

struct Pixels {
  int64_t samples;   // N
  int64_t pixels;    // M
  int64_t channels;  // C
};

template <typename T>
__global__ void __launch_bounds__(THREADS)
    dropout_channels_kernel(Rule rule, Pixels shape, bool wide, T const* x, T* y) {
  int64_t const c = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * UNIT<T>;
  if (c >= shape.channels) return;
  int64_t const left = shape.channels - c;
  int64_t const step = int64_t{gridDim.y} * blockDim.y;
  for (int64_t n = blockIdx.z; n < shape.samples; n += gridDim.z) {
    unsigned const keep = draw_keep<UNIT<T>>(rule, n * shape.channels + c);
    int64_t const base = n * shape.pixels * shape.channels + c;
    for (int64_t m = int64_t{blockIdx.y} * blockDim.y + threadIdx.y; m < shape.pixels;
         m += PIXELS * step) {
      Vec<T, UNIT<T>> units[PIXELS]{};
#pragma unroll
      for (int u = 0; u < PIXELS; ++u) {
        int64_t const i = base + (m + u * step) * shape.channels;
        if (m + u * step < shape.pixels) units[u] = load_unit(x + i, left, wide);
      }
#pragma unroll
      for (int u = 0; u < PIXELS; ++u) {
        int64_t const i = base + (m + u * step) * shape.channels;
        if (m + u * step < shape.pixels) store_unit(rule, keep, units[u], y + i, left, wide);
      }
    }
  }
}

Rule make_rule(char const* name, double p, int64_t seed, int64_t offset, double scale, double shift,
               double dropped) {
  expect(p >= 0 && p <= 1, name, "p", "a probability in [0, 1]", p);
  return {static_cast<float>(p),     static_cast<uint64_t>(seed), static_cast<uint64_t>(offset),
          static_cast<float>(scale), static_cast<float>(shift),   static_cast<float>(dropped)};
}

void dropout_fwd(cudaStream_t stream, Array x, Out y, double p, int64_t seed, int64_t offset,
                 double scale, double shift, double dropped) {
  Rule const rule = make_rule("dropout_fwd", p, seed, offset, scale, shift, dropped);
  expect_like("dropout_fwd", "y", y, x);
  int64_t const n = x.size();
  if (n == 0) return;
  dispatch_float("dropout_fwd", "x", x.dtype, [&]<typename T>() {
    constexpr int64_t TILE = int64_t{THREADS} * UNITS * UNIT<T>;
    bool const wide = is_vec_aligned(x.ptr) && is_vec_aligned(y.ptr);
    launch(dropout_kernel<T>, static_cast<unsigned>((n + TILE - 1) / TILE), THREADS, 0, stream,
           rule, n, wide, x.data<T>(), y.data<T>());
  });
}
PYNN_EXPORT(dropout_fwd,
            "(x, y, p, seed, offset, scale, shift, dropped)  y = scale x + shift where number i of "
            "the stream is at least p, else dropped");

void dropout_channels_fwd(cudaStream_t stream, Array x, Out y, double p, int64_t seed,
                          int64_t offset, double scale, double shift, double dropped) {
  char const* const name = "dropout_channels_fwd";
  Rule const rule = make_rule(name, p, seed, offset, scale, shift, dropped);
  expect_ndim(name, "x", x, 3);
  expect_like(name, "y", y, x);
  if (x.size() == 0) return;
  Pixels const shape{x.dims[0], x.dims[1], x.dims[2]};
  dispatch_float(name, "x", x.dtype, [&]<typename T>() {
    int64_t const units = (shape.channels + UNIT<T> - 1) / UNIT<T>;
    unsigned tx = 1;
    while (tx < 32 && tx < units) tx *= 2;
    unsigned const ty = THREADS / tx;
    constexpr int64_t MOST = 65535;
    int64_t const rows = int64_t{ty} * PIXELS;
    dim3 const grid(static_cast<unsigned>((units + tx - 1) / tx),
                    static_cast<unsigned>(std::min((shape.pixels + rows - 1) / rows, MOST)),
                    static_cast<unsigned>(std::min(shape.samples, MOST)));
    bool const wide =
        is_vec_aligned(x.ptr) && is_vec_aligned(y.ptr) && shape.channels % UNIT<T> == 0;
    launch(dropout_channels_kernel<T>, grid, dim3(tx, ty), 0, stream, rule, shape, wide,
           x.data<T>(), y.data<T>());
  });
}
PYNN_EXPORT(dropout_channels_fwd,
            "(x, y, p, seed, offset, scale, shift, dropped)  as dropout_fwd with number (n, c) of "
            "the stream for x[n, :, c]");

}  // namespace pynn::dropout
