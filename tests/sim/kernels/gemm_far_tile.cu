// gemm_far_tile.cu — one piece of work of the GEMM ladder by itself: the offsets of a D that no
// simulator could compute whole.

#include "kernels/gemm/gemm_simt.cuh"

#include "entry.h"

namespace pynn::gemm {
namespace {

constexpr int TILE = 64;

// As gemm_simt_kernel, of piece `index` alone.
__global__ void __launch_bounds__(SIMT_THREADS)
    far_tile_kernel(__grid_constant__ Problem const p, int64_t index) {
  using Sums = SimtSums<float, 1, TILE>;
  auto& smem = shared<SimtSmem<float, 1, TILE>, "tiles">();
  Work const work = find_work<TILE, TILE, Sums::BK>(p, index);
  SimtSource<float, 1, TILE> a(p.A, p, work, work.m0, p.M);
  SimtSource<float, 1, TILE> b(p.B, p, work, work.n0, p.N);
  Sums sums;
  sums.multiply<0>(smem, a, b, work.k1 - work.k0);
  sums.each(smem, [&](int m, int n, auto const& v) {
    if (work.m0 + m < p.M) finish(p.epilogue, work.row + m, work.n0 + n, v);
  });
}

}  // namespace
}  // namespace pynn::gemm

// The last tile of D (batch, M, N) = A (batch, M, K) B (batch, N, K)^T + bias.
extern "C" const char* last_tile(const float* a, const float* b, const float* bias, float* d,
                                 int64_t batch, int64_t M, int64_t N, int64_t K) {
  using namespace pynn;
  using namespace pynn::gemm;
  return guarded([=] {
    Problem p{};
    p.A = {a, Major::K, K, 0, M * K};
    p.B = {b, Major::K, K, 0, N * K};
    p.M = M;
    p.N = N;
    p.K = K;
    p.batch = p.inner = batch;
    p.splits = 1;
    p.epilogue.d = d;
    p.epilogue.bias = bias;
    p.epilogue.N = p.epilogue.ld = N;
    p.epilogue.dtype = DType::f32;
    launch(far_tile_kernel, 1, SIMT_THREADS, 0, nullptr, p, count_work<TILE, TILE>(p) - 1);
  });
}
