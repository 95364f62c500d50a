// mma_gemm.cu — C = A B in bf16 with ldmatrix and mma.sync: one warp for each 16 x 16 tile.
//
//   A (M, K), B (K, N) row-major bf16, C (M, N) f32; every M, N, K
//
//   A through ldmatrix.x4, B (k-rows in shared memory, wanted column by column) through ldmatrix.x4.trans
//   rows of 24 elements: 48 bytes apart, so that 8 rows of 16 bytes fall into different banks

#include "common/launch.h"
#include "common/shared.cuh"
#include "entry.h"

#include "arch/ldmatrix.cuh"
#include "arch/mma.cuh"

namespace pynn {
namespace {

constexpr int TILE = 16, PITCH = 24;
using Tile = __nv_bfloat16[TILE][PITCH];

__global__ void __launch_bounds__(32)
    mma_gemm_kernel(const __nv_bfloat16* A, const __nv_bfloat16* B, float* C, int M, int N, int K) {
  auto& sA = shared<Tile, "sA">();  // m, k
  auto& sB = shared<Tile, "sB">();  // k, n
  const int lane = threadIdx.x, m0 = blockIdx.y * TILE, n0 = blockIdx.x * TILE;
  const __nv_bfloat16 zero = __float2bfloat16_rn(0);
  float d[2][4] = {};

  for (int k0 = 0; k0 < K; k0 += TILE) {
    // fill tile
    for (int i = lane; i < TILE * TILE; i += 32) {
      const int r = i / TILE, c = i % TILE;
      sA[r][c] = m0 + r < M && k0 + c < K ? A[size_t(m0 + r) * K + k0 + c] : zero;
      sB[r][c] = k0 + r < K && n0 + c < N ? B[size_t(k0 + r) * N + n0 + c] : zero;
    }
    __syncwarp();

    // multiply
    uint32_t a[4], b[4];
    ptx::ldmatrix_x4(a, ptx::smem_u32(&sA[lane % 16][lane / 16 * 8]));
    ptx::ldmatrix_x4_trans(b, ptx::smem_u32(&sB[lane % 16][lane / 16 * 8]));
    ptx::mma_m16n8k16_bf16(d[0], a, {b[0], b[1]});
    ptx::mma_m16n8k16_bf16(d[1], a, {b[2], b[3]});
    __syncwarp();
  }

  // epilogue
  for (int half = 0; half < 2; ++half) {
    for (int i = 0; i < 4; ++i) {
      const int m = m0 + lane / 4 + i / 2 * 8, n = n0 + half * 8 + lane % 4 * 2 + i % 2;
      if (m < M && n < N) C[size_t(m) * N + n] = d[half][i];
    }
  }
}

}  // namespace
}  // namespace pynn

extern "C" const char* mma_gemm(const __nv_bfloat16* A, const __nv_bfloat16* B, float* C, int M,
                                int N, int K) {
  using namespace pynn;
  return guarded([=] {
    const dim3 grid((N + TILE - 1) / TILE, (M + TILE - 1) / TILE);
    launch(mma_gemm_kernel, grid, 32, 0, nullptr, A, B, C, M, N, K);
  });
}
