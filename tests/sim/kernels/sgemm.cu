// sgemm.cu — C = A B in f32 on the ordinary cores: tiles in shared memory, 4 x 4 elements a thread.
//
//   A (M, K), B (K, N), C (M, N) row-major; every M, N, K
//
//   grid  ceil(N/64) x ceil(M/64), CTA 256 threads as 16 x 16
//   bytes 4 (MK N/64 + KN M/64 + MN)   FLOPs 2 MNK

#include "common/launch.h"
#include "common/shared.cuh"
#include "entry.h"

namespace pynn {
namespace {

constexpr int TILE = 64, BK = 16, THREADS = 256, EACH = 4;

__global__ void __launch_bounds__(THREADS)
    sgemm_kernel(const float* A, const float* B, float* C, int M, int N, int K) {
  auto& sA = shared<float[BK][TILE], "sA">();  // k, m
  auto& sB = shared<float[BK][TILE], "sB">();  // k, n
  const int t = threadIdx.x, tm = t / 16 * EACH, tn = t % 16 * EACH;
  const int m0 = blockIdx.y * TILE, n0 = blockIdx.x * TILE;
  float sum[EACH][EACH] = {};

  for (int k0 = 0; k0 < K; k0 += BK) {
    // fill tile
    for (int i = t; i < BK * TILE; i += THREADS) {
      const int m = i / BK, k = i % BK;
      sA[k][m] = m0 + m < M && k0 + k < K ? A[size_t(m0 + m) * K + k0 + k] : 0;
      const int n = i % TILE, kb = i / TILE;
      sB[kb][n] = n0 + n < N && k0 + kb < K ? B[size_t(k0 + kb) * N + n0 + n] : 0;
    }
    __syncthreads();

    // multiply
    for (int k = 0; k < BK; ++k) {
#pragma unroll
      for (int i = 0; i < EACH; ++i) {
#pragma unroll
        for (int j = 0; j < EACH; ++j) sum[i][j] += sA[k][tm + i] * sB[k][tn + j];
      }
    }
    __syncthreads();
  }

  // epilogue
  for (int i = 0; i < EACH; ++i) {
    for (int j = 0; j < EACH; ++j) {
      const int m = m0 + tm + i, n = n0 + tn + j;
      if (m < M && n < N) C[size_t(m) * N + n] = sum[i][j];
    }
  }
}

}  // namespace
}  // namespace pynn

extern "C" const char* sgemm(const float* A, const float* B, float* C, int M, int N, int K) {
  using namespace pynn;
  return guarded([=] {
    const dim3 grid((N + TILE - 1) / TILE, (M + TILE - 1) / TILE);
    launch(sgemm_kernel, grid, THREADS, 0, nullptr, A, B, C, M, N, K);
  });
}
