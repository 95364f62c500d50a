// row.cuh — rows of a (rows, n) matrix, each held on chip by the threads that share it.
//
//   A row lives in the registers of a team of threads from its first read to its last use, so that
//   HBM sees one read of each element, however many passes the mathematics makes.
//
//   Row<T, WIDTH, THREADS, VECS>      n <= WIDTH THREADS VECS      elements of the row, THREADS = 4
//   thread t holds the vectors                                     ┌──┬──┬──┬──┬──┬──┬──┬──┐
//   t, t + THREADS, t + 2 THREADS, ...                             │t0│t1│t2│t3│t0│t1│t2│t3│
//   all loaded before the first is used                            └──┴──┴──┴──┴──┴──┴──┴──┘
//
//   choose_row picks the smallest team that holds the row
//
//     row pitch and pointers in 16-byte steps      otherwise: WIDTH = 1
//     WIDTH    16 bytes                            threads x vectors     n up to
//     threads x vectors   bytes of a row up to        32 x 4                 128
//         8 x 1               128                    256 x 8               2,048
//        32 x 4             2,048                    longer rows: false
//       128 x 4             8,192
//       512 x 4            32,768
//      1024 x ...           LONGEST elements    longer rows: false, to be held by a cluster
//                                              (common/cluster_row.cuh) or read more than once
//
//   LONGEST is what a kernel can hold: 1024 threads have 64 registers each, and the compiler keeps
//   16-bit elements as the f32 it computes with: 32 a thread fit, or 16 each of two rows.
//
//   In flight per SM: 64 bytes x 2048 threads = 128 KB, against the 29 KB that Little's law
//   asks of an H200 (4.8 TB/s x 0.8 us / 132). Nothing here has been measured on a GPU yet.

#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "common/check.h"
#include "common/launch.h"
#include "common/reduce.cuh"
#include "common/vec.cuh"

namespace pynn {

// Threads of a CTA: short rows share one.
template <int THREADS>
inline constexpr int ROW_CTA = THREADS < 128 ? 128 : THREADS;

// The row of this thread's team.
template <int THREADS>
__device__ inline int64_t row_index() {
  constexpr int ROWS = ROW_CTA<THREADS> / THREADS;
  return int64_t{blockIdx.x} * ROWS + threadIdx.x / THREADS;
}

template <typename T, int WIDTH, int THREADS, int VECS>
struct Row {
  Vec<T, WIDTH> vecs[VECS];

  // Where in the row vector v of this thread begins.
  __device__ static int at(int v) { return (v * THREADS + Team<THREADS>::rank()) * WIDTH; }

  __device__ void load(T const* x, int n) {
#pragma unroll
    for (int v = 0; v < VECS; ++v) {
      vecs[v] = at(v) < n ? load_vec<WIDTH>(x + at(v)) : Vec<T, WIDTH>{};
    }
  }

  __device__ float operator()(int v, int k) const { return static_cast<float>(vecs[v].at[k]); }

  // y = f(v, k) at element k of vector v
  template <typename F>
  __device__ static void map(T* y, int n, F f) {
#pragma unroll
    for (int v = 0; v < VECS; ++v) {
      if (at(v) >= n) continue;
      Vec<T, WIDTH> result;
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) result.at[k] = static_cast<T>(f(v, k));
      store_vec<WIDTH>(y + at(v), result);
    }
  }

  // This thread's part of op over f(v, k); each vector by itself first, for short chains.
  template <typename V, typename Op, typename F>
  __device__ static V fold(V total, int n, Op op, F f) {
#pragma unroll
    for (int v = 0; v < VECS; ++v) {
      if (at(v) >= n) continue;
      V part = f(v, 0);
#pragma unroll
      for (int k = 1; k < WIDTH; ++k) part = op(part, f(v, k));
      total = op(total, part);
    }
    return total;
  }
};

// CTAs for `rows` teams of THREADS.
template <int THREADS>
unsigned row_grid(char const* op, int64_t rows) {
  constexpr int64_t ROWS = ROW_CTA<THREADS> / THREADS;
  constexpr int64_t MAX_CTAS = std::numeric_limits<int32_t>::max();
  int64_t const ctas = rows / ROWS + (rows % ROWS != 0);
  expect(ctas <= MAX_CTAS, op, "rows", "at most " + show(MAX_CTAS * ROWS), rows);
  return static_cast<unsigned>(ctas);
}

// Whether rows of n elements can be moved 16 bytes at a time, given that their arrays start so.
template <typename T>
bool row_is_vec(int64_t n, bool aligned) {
  return aligned && n % (VEC_BYTES / static_cast<int64_t>(sizeof(T))) == 0;
}

// Calls f.operator()<WIDTH, THREADS, VECS>() for the smallest team that holds a row of n; false if
// n > LONGEST.
template <typename T, int LONGEST, typename F>
bool choose_row(int64_t n, bool aligned, F&& f) {
  constexpr int WIDTH = VEC_BYTES / static_cast<int>(sizeof(T));
  constexpr int LONG_VECS = LONGEST / 1024 / WIDTH;
  if (!row_is_vec<T>(n, aligned)) {
    if (n <= 32 * 4) return f.template operator()<1, 32, 4>(), true;
    if (n <= 256 * 8) return f.template operator()<1, 256, 8>(), true;
    return false;
  }
  int64_t const vecs = n / WIDTH;
  if (vecs <= 8) return f.template operator()<WIDTH, 8, 1>(), true;
  if (vecs <= 32 * 4) return f.template operator()<WIDTH, 32, 4>(), true;
  if (vecs <= 128 * 4) return f.template operator()<WIDTH, 128, 4>(), true;
  if (vecs <= 512 * 4) return f.template operator()<WIDTH, 512, 4>(), true;
  if constexpr (LONG_VECS > 2) {
    if (vecs <= 1024 * LONG_VECS) return f.template operator()<WIDTH, 1024, LONG_VECS>(), true;
  }
  return false;
}

// Calls f.operator()<WIDTH, THREADS>() for the team that goes along a row of n piece by piece,
// whatever its length: a warp for 256 accesses or less, else 256 threads.
template <typename T, typename F>
void choose_walk(int64_t n, bool aligned, F&& f) {
  auto const run = [&]<int WIDTH>() {
    if (n <= 256 * WIDTH) return f.template operator()<WIDTH, 32>();
    f.template operator()<WIDTH, 256>();
  };
  if (row_is_vec<T>(n, aligned)) return run.template operator()<VEC_BYTES / int{sizeof(T)}>();
  run.template operator()<1>();
}

}  // namespace pynn
