// moments.cuh — the moments of y's channels out of fprop's tiles, for the batch norm behind it.
//
//   parts (ceil(M / 64), K), each the moments (common/moments.cuh) of 64 rows of y (M = N P Q, K)
//   after bias and rounding: of y as it is read again. group_statistics of kernels/norm joins them.
//
//   thread   4 neighbouring columns, of the rows that it finishes: sums about the first of them
//   64 rows  the threads' sums to a board in shared memory, then a thread for each column joins
//            them in order: the same bits in every run                        columns ──►
//                                                                       part ┌──┬──┬──┬──┐
//   sm80, simt   the whole tile after its last row                       0   │t0│t1│t2│..│
//   sm90         32 columns after another, four warps by shuffles        1   │t8│t9│..│  │
//                first; a named barrier for each (conv_sm90.cuh)         ..  │  │  │  │  │
//   moments.cu   y once more, where D comes from split-K or depthwise        └──┴──┴──┴──┘
//
//   bytes  16 for 64 rows: 1/8 of y in 16 bits, written and read again, where a pass of its own
//          would read all of y

#pragma once

#include "common/moments.cuh"
#include "common/vec.cuh"

#include "kernels/conv/conv.cuh"

namespace pynn::conv {

// A thread's sums over some rows of W neighbouring columns.
template <int W>
struct ColumnSums {
  Shifted at[W];
  float rows = 0.f;

  __device__ void add(Vec<float, W> const& v) {
#pragma unroll
    for (int k = 0; k < W; ++k) {
      if (rows == 0.f) at[k].k = v.at[k];
      at[k].add(v.at[k]);
    }
    rows += 1.f;
  }
};

// What lies on the board: k, sum, squares, rows.
using BoardEntry = Vec<float, 4>;

__device__ inline Moments moments_of(BoardEntry const& e) {
  return Shifted{e.at[0], e.at[1], e.at[2]}.moments(e.at[3]);
}

// Leaves the moments of the tile's columns; `part` says which of PARTS threads over a column this
// is, `column` the first of its 4. By every thread of the CTA, which no longer uses the board's
// memory.
template <int BM, int BN, int PARTS, int THREADS>
__device__ inline void put_moments(Problem const& p, Work const& work, ColumnSums<4> const& sums,
                                   BoardEntry* board, int part, int column) {
  constexpr int SLOTS = BM / MOMENTS_ROWS;
  constexpr int EACH = PARTS / SLOTS;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    Shifted const& s = sums.at[k];
    board[part * BN + column + k] = {s.k, s.sum, s.squares, sums.rows};
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < SLOTS * BN; i += THREADS) {
    int64_t const slot = work.m0 / MOMENTS_ROWS + i / BN;
    int64_t const n = work.n0 + i % BN;
    if (n >= p.gemm.N || slot * MOMENTS_ROWS >= p.gemm.M) continue;
    Moments joined;
#pragma unroll
    for (int e = 0; e < EACH; ++e) {
      joined = joined + moments_of(board[(i / BN * EACH + e) * BN + i % BN]);
    }
    p.moments[slot * p.shape.K + work.z * p.gemm.N + n] = joined;
  }
  __syncthreads();
}

}  // namespace pynn::conv
