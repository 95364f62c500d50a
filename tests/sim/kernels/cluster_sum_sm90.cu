// cluster_sum_sm90.cu — sums of rows, each by a cluster of 4 CTAs that add up through distributed shared memory.
//
//   x (R, C) f32, y (R,) f32; the grid is R clusters
//
//   CTA r sums a quarter of the row; then every CTA reads the four partial sums, and rank 0 writes

#include "common/launch.h"
#include "common/shared.cuh"
#include "entry.h"

#include "arch/cluster.cuh"

namespace pynn {
namespace {

constexpr int CLUSTER = 4, THREADS = 64;

__global__ void __launch_bounds__(THREADS) cluster_sum_kernel(const float* x, float* y, int C) {
  auto& partial = shared<float[THREADS], "partial">();
  const uint32_t rank = ptx::cluster_ctarank();
  const int row = blockIdx.x / CLUSTER, t = threadIdx.x;
  float sum = 0;
  for (int c = rank * THREADS + t; c < C; c += CLUSTER * THREADS) sum += x[size_t(row) * C + c];
  partial[t] = sum;
  __syncthreads();
  for (int half = THREADS / 2; half; half /= 2) {
    if (t < half) partial[t] += partial[t + half];
    __syncthreads();
  }

  ptx::barrier_cluster_arrive();
  ptx::barrier_cluster_wait();
  if (rank == 0 && t == 0) {
    float total = 0;
    for (uint32_t r = 0; r < CLUSTER; ++r) {
      total += ptx::ld_shared_cluster_f32(ptx::mapa(ptx::smem_u32(partial), r));
    }
    y[row] = total;
  }
  ptx::barrier_cluster_arrive();  // rank 0 still reads
  ptx::barrier_cluster_wait();
}

}  // namespace
}  // namespace pynn

extern "C" const char* cluster_sum(const float* x, float* y, int R, int C) {
  using namespace pynn;
  return guarded([=] {
    launch(cluster_sum_kernel, LaunchConfig{dim3(R * CLUSTER), THREADS, 0, nullptr, CLUSTER}, x, y,
           C);
  });
}
