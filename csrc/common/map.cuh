// map.cuh — y[i] = op(a[i], b[i], ...): one pass over memory, mathematics in f32, one rounding.
//
//   y, a, b ...  n elements each, any n;  y may be one of the inputs, not overlap one partly
//
//   grid    ceil(n / TILE), one CTA per tile         tile of one CTA, LOADS = 2
//   CTA     256 threads                              ┌────┬────┬──────┬────┬────┬──────┐
//   thread  LOADS vectors of WIDTH elements,         │ t0 │ t1 │ t255 │ t0 │ t1 │ t255 │
//           all loaded before the first is used      └────┴────┴──────┴────┴────┴──────┘
//
//   WIDTH   16 bytes of the widest type where every pointer is 16-byte aligned, 1 element otherwise
//   tail    the n % WIDTH last elements, one a thread, in the last CTA
//
//   bytes (inputs + 1) n sizeof(T)    bound: memory, or issue where op is long and T is 16-bit
//
//   Two 16-byte loads a thread at 2048 threads keep 64 KB per SM in flight; Little's law asks an
//   H200 for 4.8 TB/s x 0.8 us / 132 = 29 KB. No figure here has been measured on a GPU yet.

#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <stdexcept>

#include "common/check.h"
#include "common/launch.h"
#include "common/vec.cuh"

namespace pynn {

inline constexpr int MAP_THREADS = 256;
inline constexpr int MAP_LOADS = 2;

template <typename T, int WIDTH>
struct MapTile {
  Vec<T, WIDTH> load[MAP_LOADS];
};

// Element where load l of this thread begins.
template <int WIDTH>
__device__ inline int64_t map_index(int l) {
  return ((int64_t{blockIdx.x} * MAP_LOADS + l) * MAP_THREADS + threadIdx.x) * WIDTH;
}

template <int WIDTH, typename T>
__device__ inline MapTile<T, WIDTH> load_tile(T const* x, int64_t n) {
  MapTile<T, WIDTH> tile{};
#pragma unroll
  for (int l = 0; l < MAP_LOADS; ++l) {
    int64_t const i = map_index<WIDTH>(l);
    if (i + WIDTH <= n) tile.load[l] = load_vec<WIDTH>(x + i);
  }
  return tile;
}

template <int WIDTH, typename Op, typename T, typename... In>
__device__ inline void map_tile(Op const& op, int64_t n, T* y, MapTile<In, WIDTH> const&... tiles) {
#pragma unroll
  for (int l = 0; l < MAP_LOADS; ++l) {
    int64_t const i = map_index<WIDTH>(l);
    if (i + WIDTH > n) return;
    Vec<T, WIDTH> result;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) {
      result.at[k] = static_cast<T>(op(static_cast<float>(tiles.load[l].at[k])...));
    }
    store_vec<WIDTH>(y + i, result);
  }
}

template <int WIDTH, typename Op, typename T, typename... In>
__global__ void __launch_bounds__(MAP_THREADS)
    map_kernel(Op op, int64_t n, T* y, In const*... inputs) {
  map_tile<WIDTH>(op, n, y, load_tile<WIDTH>(inputs, n)...);

  // tail
  int64_t const i = n / WIDTH * WIDTH + threadIdx.x;
  if (blockIdx.x == gridDim.x - 1 && i < n) {
    y[i] = static_cast<T>(op(static_cast<float>(inputs[i])...));
  }
}

template <int WIDTH, typename Op, typename T, typename... In>
void map_width(cudaStream_t stream, Op op, int64_t n, T* y, In const*... inputs) {
  constexpr int64_t TILE = int64_t{MAP_THREADS} * MAP_LOADS * WIDTH;
  int64_t const tiles = n / TILE + (n % TILE != 0);
  constexpr int64_t MAX_TILES = std::numeric_limits<int32_t>::max();
  if (tiles > MAX_TILES) {
    throw std::invalid_argument(
        message("map", "y", "at most " + show(TILE * MAX_TILES) + " elements", n));
  }
  launch(map_kernel<WIDTH, Op, T, In...>, static_cast<unsigned>(tiles), MAP_THREADS, 0, stream, op,
         n, y, inputs...);
}

// n = 0 launches nothing.
template <typename Op, typename T, typename... In>
void map(cudaStream_t stream, Op op, int64_t n, T* y, In const*... inputs) {
  if (n == 0) return;
  constexpr int WIDTH = VEC_BYTES / static_cast<int>(std::max({sizeof(T), sizeof(In)...}));
  if (is_vec_aligned(y) && (is_vec_aligned(inputs) && ...)) {
    map_width<WIDTH>(stream, op, n, y, inputs...);
  } else {
    map_width<1>(stream, op, n, y, inputs...);
  }
}

}  // namespace pynn
