// depthwise.cuh — convolution with a filter for each channel: groups = C = K, a sum over taps alone.
//
//   fprop, dgrad   y[n, p, q, c] = b[c] + sum over r, s of  x[n, h, w, c] w[c, r, s]
//                  windows of conv.cuh: dgrad gathers from dy, phase by phase where there is a stride
//   wgrad          dw[c, r, s] = sum over n, p, q of  dy[n, p, q, c] x[n, h, w, c]
//   T = f32 | f16 | bf16, sums in f32
//
//   CTA     256 threads as TX vectors of channels x TY               c ──► TX vectors
//   forward a thread makes STRIP = 4 neighbouring outputs,      strip  ┌──┬──┬──┐
//           tap by tap; where windows are one pixel apart         of   │t0│t1│..│ one at a time,
//           a pixel moves on from one output to the next,      outputs ├──┼──┼──┤ TY strips a CTA
//           so a row of taps loads S + 3 pixels, not 4 S               │  │  │  │
//           the filters of the CTA's channels lie in shared memory     └──┴──┴──┘
//   wgrad   a thread sums SPAN = 4 taps of a row over its outputs; TY are joined in shared memory,
//           and the CTA's sums, one split of the outputs, go to the workspace (splits, K, R S), which
//           a second launch adds in order: the same bits in every run
//
//   WIDTH   16 bytes of channels where C and pointers allow it, 1 otherwise
//   bytes   sizeof(T) (x + w + y); in wgrad R times that from L2, of which rows of taps share it
//   FLOPs   2 N P Q R S C        bound: memory; L1 and issue from 5x5 on in 16 bits

#pragma once

#include <algorithm>
#include <cstdint>

#include "common/shared.cuh"
#include "common/vec.cuh"

#include "kernels/conv/conv.cuh"
#include "kernels/conv/source.cuh"

namespace pynn::conv {

inline constexpr int DEPTHWISE_THREADS = 256;
inline constexpr int STRIP = 4;
inline constexpr int SPAN = 4;

// How the threads of a CTA lie, and how the work is cut.
struct DepthwisePlan {
  int tx;          // vectors of channels of a CTA
  int64_t tiles;   // of channels
  int64_t strips;  // of outputs in a row
  int64_t splits;  // wgrad: parts of the outputs
};

// Index of the first channel of this thread, and whether it exists.
template <int WIDTH>
__device__ inline int64_t own_channel(DepthwisePlan const& plan, int64_t tile) {
  return (tile * plan.tx + static_cast<int>(threadIdx.x) % plan.tx) * WIDTH;
}

template <typename T, int WIDTH>
__device__ inline void load_wide(T const* from, float (&to)[WIDTH]) {
  Vec<T, WIDTH> const v = load_vec<WIDTH>(from);
#pragma unroll
  for (int i = 0; i < WIDTH; ++i) to[i] = static_cast<float>(v.at[i]);
}

// ---- fprop, and dgrad or one phase of it

template <typename T, int WIDTH>
__global__ void __launch_bounds__(DEPTHWISE_THREADS, 2)
    depthwise_kernel(__grid_constant__ Problem const p, DepthwisePlan const plan) {
  T* const filters = dynamic_shared<T>();  // taps, channels of the CTA
  int const ty = static_cast<int>(threadIdx.x) / plan.tx;
  int const rows_at_once = DEPTHWISE_THREADS / plan.tx;
  int const across = plan.tx * WIDTH;
  int64_t const channels = p.channels;
  int64_t const tile = blockIdx.x % plan.tiles;
  auto const* const image = static_cast<T const*>(p.gemm.A.ptr);
  auto const* const w = static_cast<T const*>(p.gemm.B.ptr);
  int const taps = p.rows.taps * p.columns.taps;

  // filters of this phase
  for (int i = static_cast<int>(threadIdx.x); i < taps * across; i += DEPTHWISE_THREADS) {
    int const tap = i / across;
    int64_t const c = tile * across + i % across;
    int const r = p.rows.filter_first + tap / p.columns.taps * p.rows.filter_step;
    int const s = p.columns.filter_first + tap % p.columns.taps * p.columns.filter_step;
    filters[i] = c < channels ? w[(c * p.shape.R + r) * p.shape.S + s] : T(0.f);
  }
  __syncthreads();

  int64_t const c = own_channel<WIDTH>(plan, tile);
  if (c >= channels) return;
  T const* const own = filters + (c - tile * across);
  bool const slides = p.columns.stride == 1 && (p.columns.step == 1 || p.columns.step == -1);
  int const backwards = p.columns.step < 0;  // taps are taken in the order of their pixels
  int const step = p.columns.step < 0 ? -p.columns.step : p.columns.step;
  int64_t const all = p.shape.N * p.rows.windows * plan.strips;
  int64_t const apart = int64_t{gridDim.x} / plan.tiles * rows_at_once;

  for (int64_t strip = blockIdx.x / plan.tiles * rows_at_once + ty; strip < all; strip += apart) {
    int const first = static_cast<int>(strip % plan.strips) * STRIP;
    int64_t const line = strip / plan.strips;
    int const o = static_cast<int>(line % p.rows.windows);
    int64_t const n = line / p.rows.windows;
    int const top = o * p.rows.stride + p.rows.start;
    int const left = first * p.columns.stride + p.columns.start +
                     (backwards ? (p.columns.taps - 1) * p.columns.step : 0);
    float sums[STRIP][WIDTH] = {};

    for (int i = 0; i < p.rows.taps; ++i) {
      int const h = top + i * p.rows.step;
      if (static_cast<unsigned>(h) >= static_cast<unsigned>(p.rows.pixels)) continue;
      T const* const row = image + (n * p.rows.pixels + h) * p.columns.pixels * channels + c;
      float pixels[STRIP][WIDTH];
      auto const load = [&](int j, int tap) {
        int const x = left + j * p.columns.stride + tap * step;
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) pixels[j][k] = 0.f;
        if (static_cast<unsigned>(x) < static_cast<unsigned>(p.columns.pixels)) {
          load_wide(row + x * channels, pixels[j]);
        }
      };
      for (int t = 0; t < p.columns.taps; ++t) {
        if (slides && t > 0) {
#pragma unroll
          for (int j = 0; j + 1 < STRIP; ++j) {
#pragma unroll
            for (int k = 0; k < WIDTH; ++k) pixels[j][k] = pixels[j + 1][k];
          }
          load(STRIP - 1, t);
        } else {
#pragma unroll
          for (int j = 0; j < STRIP; ++j) load(j, t);
        }
        int const tap = i * p.columns.taps + (backwards ? p.columns.taps - 1 - t : t);
        float factors[WIDTH];
        load_wide(own + tap * across, factors);
#pragma unroll
        for (int j = 0; j < STRIP; ++j) {
#pragma unroll
          for (int k = 0; k < WIDTH; ++k) sums[j][k] = fmaf(pixels[j][k], factors[k], sums[j][k]);
        }
      }
    }

    // epilogue, 4 channels at a time
    constexpr int PIECE = WIDTH < 4 ? WIDTH : 4;
#pragma unroll
    for (int j = 0; j < STRIP; ++j) {
      if (first + j >= p.columns.windows) break;
      int64_t const at = row_of(p, {static_cast<int>(n), o, first + j});
#pragma unroll
      for (int k = 0; k < WIDTH; k += PIECE) {
        Vec<float, PIECE> v;
#pragma unroll
        for (int e = 0; e < PIECE; ++e) v.at[e] = sums[j][k + e];
        gemm::finish(p.gemm.epilogue, at, c + k, v);
      }
    }
  }
}

// ---- wgrad

template <typename T, int WIDTH>
__global__ void __launch_bounds__(DEPTHWISE_THREADS, 2)
    depthwise_wgrad_kernel(__grid_constant__ Problem const p, DepthwisePlan const plan,
                           float* parts) {
  auto& board = shared<float[SPAN][DEPTHWISE_THREADS], "board">();
  int const thread = static_cast<int>(threadIdx.x);
  int const rows_at_once = DEPTHWISE_THREADS / plan.tx;
  int const spans = (p.columns.taps + SPAN - 1) / SPAN;
  int64_t const channels = p.channels;
  auto const* const dy = static_cast<T const*>(p.gemm.A.ptr);
  auto const* const image = static_cast<T const*>(p.gemm.B.ptr);

  // this CTA's taps, channels and outputs
  int64_t rest = blockIdx.x;
  int const span = static_cast<int>(rest % spans) * SPAN;
  rest /= spans;
  int const r = static_cast<int>(rest % p.rows.taps);
  rest /= p.rows.taps;
  int64_t const c = own_channel<WIDTH>(plan, rest % plan.tiles);
  int64_t const split = rest / plan.tiles;
  int64_t const all = p.gemm.K;
  int64_t const end = all * (split + 1) / plan.splits;
  float sums[SPAN][WIDTH] = {};

  if (c < channels) {
    Radix const radix = window_radix(p);
    Digits const apart = radix.split(rows_at_once);
    int64_t m = all * split / plan.splits + thread / plan.tx;
    Digits at = radix.split(m);
    for (; m < end; m += rows_at_once, at = radix.add(at, apart)) {
      int const h = at.mid * p.rows.stride + p.rows.start + r * p.rows.step;
      if (static_cast<unsigned>(h) >= static_cast<unsigned>(p.rows.pixels)) continue;
      float g[WIDTH];
      load_wide(dy + m * channels + c, g);
      T const* const row =
          image + (int64_t{at.high} * p.rows.pixels + h) * p.columns.pixels * channels + c;
#pragma unroll
      for (int t = 0; t < SPAN; ++t) {
        int const x = at.low * p.columns.stride + p.columns.start + (span + t) * p.columns.step;
        if (span + t >= p.columns.taps ||
            static_cast<unsigned>(x) >= static_cast<unsigned>(p.columns.pixels)) {
          continue;
        }
        float pixel[WIDTH];
        load_wide(row + x * channels, pixel);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) sums[t][k] = fmaf(pixel[k], g[k], sums[t][k]);
      }
    }
  }

  // join the threads of a channel, one of its vector at a time
  int const taps = p.rows.taps * p.columns.taps;
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
#pragma unroll
    for (int t = 0; t < SPAN; ++t) board[t][thread] = sums[t][k];
    __syncthreads();
    for (int half = DEPTHWISE_THREADS / 2; half >= plan.tx; half /= 2) {
      if (thread < half) {
#pragma unroll
        for (int t = 0; t < SPAN; ++t) board[t][thread] += board[t][thread + half];
      }
      __syncthreads();
    }
    if (thread < plan.tx && c + k < channels) {
      float* const to = parts + (split * channels + c + k) * taps + r * p.columns.taps + span;
      for (int t = 0; t < SPAN && span + t < p.columns.taps; ++t) to[t] = board[t][thread];
    }
    __syncthreads();
  }
}

}  // namespace pynn::conv
