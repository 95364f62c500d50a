// scan.cu — running sums along rows, forwards or backwards.
//
//   scan   y[r, i] = x[r, 0] + .. + x[r, i],  or of reverse  x[r, i] + .. + x[r, n - 1]
//   x, y (R, n) of T = f32 | f16 | bf16, any sizes; sums in f64, one rounding; y may be x
//   workspace  f64, any size; it bounds in how many splits a row is cut
//
//   A CTA of 256 threads, or for short rows of 32, walks one split of a row, a tile at a time:
//                                                                       i ──►
//     thread  a vector of WIDTH elements, its own running sums         ┌────┬────┬─────┬──────┐
//     warp    running sums of the threads' totals, by shuffles         │ t0 │ t1 │ ... │ t255 │
//     CTA     those of the warps' totals, through shared memory        └────┴────┴─────┴──────┘
//     and the total of all tiles before is carried on                   a tile, then the next
//   Few long rows are cut in splits: a first launch leaves the splits' totals in the workspace, and
//   the second begins each split with the sum of those before it.
//
//   WIDTH   16 bytes where rows are aligned, 1 element otherwise
//   bytes   2 R n sizeof(T), 3 R n sizeof(T) where rows are cut    bound: memory
//   deterministic: the cut depends on the shape alone
//
//   Blelloch 1990, "Prefix sums and their applications", CMU-CS-90-190

#include <algorithm>
#include <cstdint>
#include <limits>

#include "common/array.h"
#include "common/check.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/launch.h"
#include "common/reduce.cuh"
#include "common/row.cuh"
#include "common/shared.cuh"
#include "common/vec.cuh"

namespace pynn::scan {

inline constexpr int THREADS = 256;
inline constexpr int WARPS = THREADS / 32;
inline constexpr int64_t SHORT = 64;  // vectors of a row that a warp takes
inline constexpr int64_t ENOUGH_CTAS = 1024;
inline constexpr int64_t SHORTEST = 8;  // tiles of a split

struct Rows {
  int64_t n;
  int64_t splits;
  int64_t length;  // of a split, in whole tiles
  bool reverse;

  // Where the vector that is element i of the running order lies; its elements then run backwards.
  __device__ int64_t at(int64_t i, int width) const { return reverse ? n - i - width : i; }
};

template <int WIDTH, typename T>
__device__ inline Vec<T, WIDTH> load_turned(Rows const& rows, T const* row, int64_t i,
                                            int64_t end) {
  Vec<T, WIDTH> turned{};
  if (i >= end) return turned;
  Vec<T, WIDTH> const v = load_vec<WIDTH>(row + rows.at(i, WIDTH));
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) turned.at[k] = rows.reverse ? v.at[WIDTH - 1 - k] : v.at[k];
  return turned;
}

template <typename T, int WIDTH>
__global__ void __launch_bounds__(THREADS) totals_kernel(Rows rows, T const* x, double* totals) {
  int64_t const row = blockIdx.x / rows.splits;
  int64_t const split = blockIdx.x % rows.splits;
  int64_t const end = min((split + 1) * rows.length, rows.n);
  double sum = 0.;
  for (int64_t i = split * rows.length + int64_t{threadIdx.x} * WIDTH; i < end;
       i += THREADS * WIDTH) {
    Vec<T, WIDTH> const v = load_turned<WIDTH>(rows, x + row * rows.n, i, end);
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) sum += static_cast<double>(static_cast<float>(v.at[k]));
  }
  using Cta = Team<THREADS>;
  sum = Cta::reduce(sum, Add{}, shared<typename Cta::template Slots<double>, "sums">());
  if (threadIdx.x == 0) totals[blockIdx.x] = sum;
}

// The sum of what lies before this thread in the CTA, and of the CTA of `used` warps. Every thread
// calls.
struct Before {
  double here;
  double all;
};

__device__ inline Before sum_before(double mine, int used) {
  auto& warps = shared<double[WARPS], "warps">();
  int const lane = static_cast<int>(threadIdx.x) % 32;
  int const warp = static_cast<int>(threadIdx.x) / 32;
  double running = mine;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    double const other = __shfl_up_sync(~0u, running, step);
    if (lane >= step) running = other + running;
  }
  if (lane == 31) warps[warp] = running;
  __syncthreads();
  Before before{__shfl_up_sync(~0u, running, 1), 0.};
  if (lane == 0) before.here = 0.;
  for (int w = 0; w < used; ++w) {
    if (w < warp) before.here = before.here + warps[w];
    before.all += warps[w];
  }
  __syncthreads();
  return before;
}

template <typename T, int WIDTH>
__global__ void __launch_bounds__(THREADS)
    scan_kernel(Rows rows, double const* totals, T const* x, T* y) {
  int64_t const row = blockIdx.x / rows.splits;
  int64_t const split = blockIdx.x % rows.splits;
  int64_t const start = split * rows.length;
  int64_t const end = min(start + rows.length, rows.n);
  int64_t const tile = int64_t{blockDim.x} * WIDTH;

  double carry = 0.;
  if (rows.splits > 1) {
    for (int64_t s = threadIdx.x; s < split; s += THREADS) carry += totals[row * rows.splits + s];
    using Cta = Team<THREADS>;
    carry = Cta::reduce(carry, Add{}, shared<typename Cta::template Slots<double>, "carries">());
  }

  int64_t i = start + int64_t{threadIdx.x} * WIDTH;
  Vec<T, WIDTH> next = load_turned<WIDTH>(rows, x + row * rows.n, i, end);
  for (int64_t first = start; first < end; first += tile, i += tile) {
    Vec<T, WIDTH> const v = next;
    next = load_turned<WIDTH>(rows, x + row * rows.n, i + tile, end);
    double sums[WIDTH];
    double sum = 0.;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) {
      sum += static_cast<double>(static_cast<float>(v.at[k]));
      sums[k] = sum;
    }
    Before const before = sum_before(sum, static_cast<int>(blockDim.x) / 32);
    if (i < end) {
      Vec<T, WIDTH> out;
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) {
        double const total = carry + before.here + sums[k];
        out.at[rows.reverse ? WIDTH - 1 - k : k] = static_cast<T>(static_cast<float>(total));
      }
      store_vec<WIDTH>(y + row * rows.n + rows.at(i, WIDTH), out);
    }
    carry += before.all;
  }
}

void scan(cudaStream_t stream, Array x, Out y, Out workspace, bool reverse) {
  char const* const name = "scan";
  expect_ndim(name, "x", x, 2);
  expect_like(name, "y", y, x);
  expect_dtype(name, "workspace", workspace, DType::f64);
  if (x.size() == 0) return;
  int64_t const count = x.dims[0];
  int64_t const n = x.dims[1];
  dispatch_float(name, "x", x.dtype, [&]<typename T>() {
    auto const run = [&]<int WIDTH>() {
      constexpr int64_t TILE = int64_t{THREADS} * WIDTH;
      int64_t const tiles = n / TILE + (n % TILE != 0);
      int64_t const wanted =
          std::min({ENOUGH_CTAS / count, tiles / SHORTEST, workspace.size() / count});
      int64_t const length =
          (tiles + std::max<int64_t>(wanted, 1) - 1) / std::max<int64_t>(wanted, 1) * TILE;
      Rows const rows{n, (n + length - 1) / length, length, reverse};
      constexpr int64_t MOST = std::numeric_limits<int32_t>::max();
      expect(count * rows.splits <= MOST, name, "x", "at most " + show(MOST) + " rows", count);
      auto const ctas = static_cast<unsigned>(count * rows.splits);
      auto* const totals = workspace.data<double>();
      if (rows.splits > 1) {
        launch(totals_kernel<T, WIDTH>, ctas, THREADS, 0, stream, rows, x.data<T>(), totals);
      }
      unsigned const threads = n <= SHORT * WIDTH ? 32 : THREADS;
      launch(scan_kernel<T, WIDTH>, ctas, threads, 0, stream, rows, totals, x.data<T>(),
             y.data<T>());
    };
    if (row_is_vec<T>(n, is_vec_aligned(x.ptr) && is_vec_aligned(y.ptr))) {
      run.template operator()<VEC_BYTES / static_cast<int>(sizeof(T))>();
    } else {
      run.template operator()<1>();
    }
  });
}
PYNN_EXPORT(scan, "(x, y, workspace, reverse)  y = running sums of the rows of x");

}  // namespace pynn::scan
