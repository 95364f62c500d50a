// tiles.cuh — a copy that turns the contiguous axis: y's is i, x's is j, and a tile of both goes
// through shared memory, so that global memory sees whole sectors on both sides.
//
//   Other axes are batches, a tile never crosses them. V elements are 16 bytes (8 of one byte: 8).
//
//   blocks   where pointers, strides and lengths are in steps of V: 8 V x 8 V elements by 64
//            threads, 4 tiles a CTA. A thread loads a block of V rows, 16 bytes of j each, turns it
//            in registers, and stores V rows of 16 bytes of i
//              x   j ──►                     shared: row j, its 8 chunks of i
//              i ┌──────┬──────┐             chunk c of row j lies at c xor (j / V): 8 threads
//              │ │ V x V│      │ 8 lanes     that store chunk c of rows j, j + V, .. , and 8 that
//              ▼ │  t0  │  t1  │ a row       load the chunks of one row, meet 8 different banks
//                └──────┴──────┘ 128 bytes   of 16 bytes: no conflict either way
//   single   otherwise: 32 x 32 elements by 256 threads, 4 in flight, rows of shared memory one
//            element longer than the tile, so that a column meets 32 banks
//
//   bytes 2 n sizeof(T), as 16-byte accesses in `blocks`    bound: memory

#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/copy/walk.h"

#include "common/launch.h"
#include "common/shared.cuh"
#include "common/vec.cuh"

namespace pynn::copy {

inline constexpr int TILE_THREADS = 256;
inline constexpr int SHORTEST = 8;  // of a turned axis; shorter, its sectors come from L1 as well

inline bool is_aligned(void const* p, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(p) % static_cast<uint64_t>(bytes) == 0;
}

// Strides in elements.
struct Tiles {
  int64_t i;   // length of y's contiguous axis
  int64_t j;   // of x's
  int64_t xi;  // stride of i in x
  int64_t yj;  // of j in y
  Divisor across_i;
  Divisor across_j;
  uint32_t count;
  Path batches;
};

// The tile of a thread: where it begins.
struct Tile {
  int64_t i;
  int64_t j;
  Step step;
};

template <int EDGE>
__device__ inline Tile find_tile(Tiles const& tiles, uint32_t index) {
  uint32_t const rest = tiles.across_i.divide(index);
  uint32_t const batch = tiles.across_j.divide(rest);
  Tile tile;
  tile.i = int64_t{index - rest * tiles.across_i.value} * EDGE;
  tile.j = int64_t{rest - batch * tiles.across_j.value} * EDGE;
  tile.step = find_step(tiles.batches, batch);
  return tile;
}

template <typename T, int V>
struct Blocks {
  static constexpr int EDGE = 8 * V;
  static constexpr int THREADS = 64;
  static constexpr int TILES = TILE_THREADS / THREADS;

  __device__ static void copy(Tiles const& tiles, T const* x, T* y) {
    auto& tile_of = shared<Vec<T, V>[TILES][EDGE][8], "tiles">();
    int const team = static_cast<int>(threadIdx.x) / THREADS;
    int const t = static_cast<int>(threadIdx.x) % THREADS;
    uint32_t const index = blockIdx.x * TILES + team;
    bool const inside = index < tiles.count;
    Tile const tile = find_tile<EDGE>(tiles, inside ? index : 0);
    auto& rows = tile_of[team];

    // load block, turn
    int const bi = t / 8;
    int const bj = t % 8;
    int64_t const j = tile.j + bj * V;
    Vec<T, V> block[V]{};
#pragma unroll
    for (int r = 0; r < V; ++r) {
      int64_t const i = tile.i + bi * V + r;
      if (inside && i < tiles.i && j < tiles.j) {
        block[r] = load_vec<V>(x + tile.step.x + i * tiles.xi + j);
      }
    }
#pragma unroll
    for (int r = 0; r < V; ++r) {
      Vec<T, V> turned;
#pragma unroll
      for (int k = 0; k < V; ++k) turned.at[k] = block[k].at[r];
      rows[bj * V + r][bi ^ bj] = turned;
    }
    __syncthreads();

    // store rows
    int64_t const i = tile.i + t % 8 * V;
#pragma unroll
    for (int r = 0; r < V; ++r) {
      int const row = t / 8 + r * 8;
      if (inside && i < tiles.i && tile.j + row < tiles.j) {
        store_vec<V>(y + tile.step.y + (tile.j + row) * tiles.yj + i, rows[row][t % 8 ^ row / V]);
      }
    }
  }
};

template <typename T>
struct Single {
  static constexpr int EDGE = 32;
  static constexpr int TILES = 1;
  static constexpr int ROWS = TILE_THREADS / EDGE;

  __device__ static void copy(Tiles const& tiles, T const* x, T* y) {
    auto& rows = shared<T[EDGE][EDGE + 1], "tile">();
    int const lane = static_cast<int>(threadIdx.x) % EDGE;
    int const first = static_cast<int>(threadIdx.x) / EDGE;
    Tile const tile = find_tile<EDGE>(tiles, blockIdx.x);
#pragma unroll
    for (int r = first; r < EDGE; r += ROWS) {
      if (tile.i + r < tiles.i && tile.j + lane < tiles.j) {
        rows[r][lane] = x[tile.step.x + (tile.i + r) * tiles.xi + tile.j + lane];
      }
    }
    __syncthreads();
#pragma unroll
    for (int r = first; r < EDGE; r += ROWS) {
      if (tile.i + lane < tiles.i && tile.j + r < tiles.j) {
        y[tile.step.y + (tile.j + r) * tiles.yj + tile.i + lane] = rows[lane][r];
      }
    }
  }
};

template <typename Way, typename T>
__global__ void __launch_bounds__(TILE_THREADS)
    tiles_kernel(__grid_constant__ Tiles const tiles, T const* x, T* y) {
  Way::copy(tiles, x, y);
}

// `across` is the axis j; the last is i.
template <typename Way, typename T>
void launch_tiles(cudaStream_t stream, Walk const& walk, int across) {
  constexpr auto item = static_cast<int64_t>(sizeof(T));
  auto const tiles_along = [](Axis const& axis) {
    return (axis.length + Way::EDGE - 1) / Way::EDGE;
  };
  auto const count = [&](Walk const& part) {
    Axis const& i = part.last();
    Axis const& j = part.axes[across];
    return part.size() / (i.length * j.length) * tiles_along(i) * tiles_along(j);
  };
  in_parts(walk, count, [&](Walk part) {
    int64_t const all = count(part);
    Axis const i = part.last();
    Axis const j = part.axes[across];
    part.drop(part.ndim - 1);
    part.drop(across);
    if (part.ndim == 0) part.axes[part.ndim++] = {1, 0, 0};
    Tiles const tiles{i.length,
                      j.length,
                      i.x / item,
                      j.y / item,
                      Divisor(static_cast<uint32_t>(tiles_along(i))),
                      Divisor(static_cast<uint32_t>(tiles_along(j))),
                      static_cast<uint32_t>(all),
                      plan_path(part, item)};
    launch(tiles_kernel<Way, T>, static_cast<unsigned>((all + Way::TILES - 1) / Way::TILES),
           TILE_THREADS, 0, stream, tiles, reinterpret_cast<T const*>(part.x),
           reinterpret_cast<T*>(part.y));
  });
}

template <typename T>
void choose_tiles(cudaStream_t stream, Walk const& walk, int across) {
  constexpr int V = sizeof(T) == 1 ? 8 : VEC_BYTES / static_cast<int>(sizeof(T));
  constexpr int64_t BYTES = V * static_cast<int64_t>(sizeof(T));
  bool blocks = is_aligned(walk.x, BYTES) && is_aligned(walk.y, BYTES) &&
                walk.last().length % V == 0 && walk.axes[across].length % V == 0;
  for (int d = 0; d < walk.ndim; ++d) {
    blocks = blocks && (d == across || walk.axes[d].x % BYTES == 0) &&
             (d == walk.ndim - 1 || walk.axes[d].y % BYTES == 0);
  }
  blocks ? launch_tiles<Blocks<T, V>, T>(stream, walk, across)
         : launch_tiles<Single<T>, T>(stream, walk, across);
}

// Copies by tiles if y's contiguous axis is not x's, and both are long enough; else returns false.
inline bool copy_tiles(cudaStream_t stream, Walk const& walk, int64_t item) {
  Axis const& i = walk.last();
  if (i.y != item || i.x == item || i.length < SHORTEST) return false;
  for (int d = 0; d < walk.ndim - 1; ++d) {
    if (walk.axes[d].x != item || walk.axes[d].length < SHORTEST) continue;
    if (item == 1) choose_tiles<uint8_t>(stream, walk, d);
    if (item == 2) choose_tiles<uint16_t>(stream, walk, d);
    if (item == 4) choose_tiles<uint32_t>(stream, walk, d);
    if (item == 8) choose_tiles<uint64_t>(stream, walk, d);
    return true;
  }
  return false;
}

}  // namespace pynn::copy
