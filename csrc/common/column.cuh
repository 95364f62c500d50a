// column.cuh — sums down the columns of (outer, n, inner), with inner the contiguous axis.
//
//   CTA   256 threads as TX x TY: TX vectors of columns, TY rows at a time      inner ──►
//   thread  WIDTH columns, every TY-th row of its split, 4 rows in flight      ┌──┬──┬──┬──┐
//   then    TY states a column are joined in shared memory, by halves        n │t0│t1│t2│t3│
//                                                                            │ ├──┼──┼──┼──┤
//   grid  tiles of inner x splits of n x outer                               ▼ │t4│t5│t6│t7│
//                                                                              └──┴──┴──┴──┘
//   split   n is cut where outer x tiles would not fill the device; the parts go to a workspace and
//           are joined by a second kernel. The cut depends on shapes alone, so bits do not change
//           with the device.
//
//   Nothing here has been measured on a GPU yet.

#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "common/check.h"
#include "common/launch.h"
#include "common/shared.cuh"
#include "common/vec.cuh"

namespace pynn {

inline constexpr int COLUMN_THREADS = 256;
inline constexpr int COLUMN_ROWS = 4;  // in flight
// CTAs that keep a large device busy: 132 SMs, 8 CTAs each.
inline constexpr int64_t ENOUGH_CTAS = 1024;

// How the work is cut; the same for every thread.
struct ColumnPlan {
  int64_t outer;
  int64_t n;
  int64_t inner;
  int64_t tiles;   // of inner
  int64_t splits;  // of n
  int64_t rows;    // of a split
  int log_tx;

  int64_t ctas() const { return outer * splits * tiles; }
};

// most_splits: how many the workspace has room for.
inline ColumnPlan plan_columns(int64_t outer, int64_t n, int64_t inner, int width,
                               int64_t most_splits) {
  uint64_t const vecs = static_cast<uint64_t>(inner) / width;
  uint64_t const widest = n < 8 ? COLUMN_THREADS : 32;
  uint64_t const tx = std::min(std::bit_ceil(std::max<uint64_t>(vecs, 1)), widest);
  int64_t const ty = COLUMN_THREADS / static_cast<int64_t>(tx);
  ColumnPlan plan{outer, n, inner, 0, 1, n, std::countr_zero(tx)};
  plan.tiles = static_cast<int64_t>((vecs + tx - 1) / tx);
  int64_t const wanted = ENOUGH_CTAS / std::max<int64_t>(1, outer * plan.tiles);
  int64_t const useful = n / (ty * COLUMN_ROWS * 4);
  plan.splits = std::max<int64_t>(1, std::min({wanted, useful, most_splits}));
  plan.rows = (n + plan.splits - 1) / plan.splits;
  return plan;
}

inline unsigned column_grid(char const* op, ColumnPlan const& plan) {
  constexpr int64_t MAX_CTAS = std::numeric_limits<int32_t>::max();
  expect(plan.ctas() <= MAX_CTAS, op, "x", "at most " + show(MAX_CTAS) + " tiles", plan.ctas());
  return static_cast<unsigned>(plan.ctas());
}

// What one thread works on.
struct ColumnWork {
  int64_t outer;
  int64_t split;
  int64_t column;  // the first of WIDTH
  int64_t row;     // the first of this thread; then every `step`-th
  int64_t end;     // of the split's rows
  int step;
  int ty;
  bool inside;  // whether the columns exist
};

template <int WIDTH>
__device__ inline ColumnWork column_work(ColumnPlan const& plan) {
  ColumnWork work;
  int const tx = static_cast<int>(threadIdx.x) & ((1 << plan.log_tx) - 1);
  work.ty = static_cast<int>(threadIdx.x) >> plan.log_tx;
  work.step = COLUMN_THREADS >> plan.log_tx;
  int64_t const block = blockIdx.x;
  int64_t const tile = block % plan.tiles;
  work.split = block / plan.tiles % plan.splits;
  work.outer = block / plan.tiles / plan.splits;
  work.column = ((tile << plan.log_tx) + tx) * WIDTH;
  work.inside = work.column < plan.inner;
  work.row = work.split * plan.rows + work.ty;
  work.end = min((work.split + 1) * plan.rows, plan.n);
  return work;
}

// Joins the states of the threads that share a column; the threads of ty = 0 have the result. Every
// thread of the CTA calls. V has operator+.
template <int WIDTH, typename V>
__device__ inline void join_columns(ColumnPlan const& plan, V (&states)[WIDTH]) {
  auto& board = shared<V[WIDTH][COLUMN_THREADS], "board">();
  int const t = static_cast<int>(threadIdx.x);
  for (int half = COLUMN_THREADS / 2; half >= 1 << plan.log_tx; half /= 2) {
    if (t >= half && t < 2 * half) {
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) board[k][t] = states[k];
    }
    __syncthreads();
    if (t < half) {
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) states[k] = states[k] + board[k][t + half];
    }
  }
}

}  // namespace pynn
