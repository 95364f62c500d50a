// moments.cu — the moments of y's channels, read again: behind split-K and depthwise (moments.cuh).
//
//   CTA  256 threads as 32 x 8: 128 columns and 64 rows of y, every 8th of them a thread's
//   bytes  y from L2, where it has just been written, and the parts

#include "kernels/conv/moments.cuh"

#include "common/shared.cuh"

#include "kernels/conv/variants.h"

namespace pynn::conv {

inline constexpr int ACROSS = 128;
inline constexpr int ROW_PARTS = 8;
inline constexpr int THREADS = ROW_PARTS * ACROSS / 4;

__global__ void __launch_bounds__(THREADS) row_moments_kernel(__grid_constant__ Problem const p) {
  auto& board = shared<BoardEntry[ROW_PARTS * ACROSS], "board">();
  int const part = static_cast<int>(threadIdx.x) / (ACROSS / 4);
  int const column = static_cast<int>(threadIdx.x) % (ACROSS / 4) * 4;
  gemm::Epilogue const& e = p.gemm.epilogue;
  int64_t const all = gemm::count_work<MOMENTS_ROWS, ACROSS>(p.gemm);
  for (int64_t index = blockIdx.x; index < all; index += gridDim.x) {
    Work const work = gemm::find_work<MOMENTS_ROWS, ACROSS, 1>(p.gemm, index);
    int64_t const n = work.n0 + column;
    int const count = static_cast<int>(min(p.gemm.N - n, int64_t{4}));
    ColumnSums<4> sums;
    for (int r = part; r < MOMENTS_ROWS && count > 0; r += ROW_PARTS) {
      if (work.m0 + r >= p.gemm.M) break;
      Vec<float, 4> v;
      gemm::with_dtype(e.dtype, [&]<typename T>(T*) {
        auto const* const from = static_cast<T const*>(e.d) + (work.m0 + r) * e.ld + n;
        gemm::load_piece(from, count, e.aligned, v);
      });
      sums.add(v);
    }
    put_moments<MOMENTS_ROWS, ACROSS, ROW_PARTS, THREADS>(p, work, sums, board, part, column);
  }
}

void row_moments(cudaStream_t stream, Problem const& problem) {
  Problem p = problem;  // of all groups at once
  p.gemm.N = p.shape.K;
  p.gemm.batch = p.gemm.inner = p.gemm.splits = 1;
  int64_t const all = gemm::count_work<MOMENTS_ROWS, ACROSS>(p.gemm);
  launch(row_moments_kernel, gemm::grid_of(all), THREADS, 0, stream, p);
}

}  // namespace pynn::conv
