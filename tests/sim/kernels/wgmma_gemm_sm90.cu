// wgmma_gemm_sm90.cu — C = A B^T in bf16: TMA, mbarriers, wgmma, and a cluster that shares B.
//
//   A (M, K), B (N, K) row-major bf16, C (M, N) f32;  K and N multiples of 8, every M
//
//   cluster  2 CTAs, one above the other: the same columns of C        A0 ─► CTA 0 ◄─┐ B, half from each,
//   CTA      64 x 64 of C; warps 0–3 multiply, warp 4 loads            A1 ─► CTA 1 ◄─┘ multicast to both
//   stage    A 64 x 64, B 64 x 64, 128-byte swizzle, 3 stages
//
//   full[s]   1 arrival, 16 KiB: own A and both halves of B
//   empty[s]  2 arrivals: this stage of both CTAs is free, since a load here also writes there
//
//   bytes 2 (MK N/64 + NK M/128) + 4 MN    FLOPs 2 MNK

#include "common/launch.h"
#include "common/shared.cuh"
#include "entry.h"

#include "arch/cluster.cuh"
#include "arch/mbarrier.cuh"
#include "arch/tma.cuh"
#include "arch/wgmma.cuh"

namespace pynn {
namespace {

constexpr int TILE = 64, STAGES = 3, CLUSTER = 2, CONSUMERS = 128, THREADS = CONSUMERS + 32;
constexpr uint32_t TILE_BYTES = TILE * TILE * 2;

struct Ring {
  __nv_bfloat16 A[STAGES][TILE][TILE];  // m, k
  __nv_bfloat16 B[STAGES][TILE][TILE];  // n, k
};
struct Smem {
  Ring ring;
  float C[TILE][TILE];
};

struct Maps {
  TensorMap A, B, C;
};

__device__ void produce(Ring& ring, const uint64_t* full, const uint64_t* empty, const Maps& maps,
                        int steps, int m0, int n0) {
  const uint32_t rank = ptx::cluster_ctarank();
  const int half = TILE / CLUSTER;
  for (int i = 0; i < steps; ++i) {
    const int s = i % STAGES, parity = i / STAGES & 1;
    ptx::mbarrier_wait_parity(ptx::smem_u32(&empty[s]), parity ^ 1);
    const uint32_t bar = ptx::smem_u32(&full[s]);
    ptx::mbarrier_arrive_expect_tx(bar, 2 * TILE_BYTES);
    ptx::cp_async_bulk_tensor_load(ptx::smem_u32(ring.A[s]), maps.A, bar, i * TILE, m0);
    ptx::cp_async_bulk_tensor_load_multicast(ptx::smem_u32(ring.B[s][rank * half]), maps.B, bar,
                                             (1 << CLUSTER) - 1, i * TILE, n0 + rank * half);
  }
}

__device__ void consume(Smem& smem, const uint64_t* full, const uint64_t* empty, const Maps& maps,
                        int steps, int m0, int n0) {
  constexpr uint32_t ATOM = 1024;  // 8 rows of 128 bytes
  float d[32] = {};
  for (int i = 0; i < steps; ++i) {
    const int s = i % STAGES, parity = i / STAGES & 1;
    // wait for stage
    ptx::mbarrier_wait_parity(ptx::smem_u32(&full[s]), parity);
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < TILE * 2; k += 32) {
      const auto a =
          ptx::wgmma_descriptor(ptx::smem_u32(smem.ring.A[s]) + k, 0, ATOM, ptx::Swizzle::B128);
      const auto b =
          ptx::wgmma_descriptor(ptx::smem_u32(smem.ring.B[s]) + k, 0, ATOM, ptx::Swizzle::B128);
      ptx::wgmma_mma_async<__nv_bfloat16>(d, a, b, true);
    }
    ptx::wgmma_commit_group();
    ptx::wgmma_wait_group<0>();
    // release stage
    if (threadIdx.x < CLUSTER) {
      ptx::mbarrier_arrive_cluster(ptx::mapa(ptx::smem_u32(&empty[s]), threadIdx.x));
    }
  }

  // epilogue
  const int t = threadIdx.x;
  for (int i = 0; i < 32; ++i) {
    smem.C[t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8][i / 4 * 8 + t % 4 * 2 + i % 2] = d[i];
  }
  ptx::fence_proxy_async_shared();
  ptx::bar_sync(1, CONSUMERS);
  if (t == 0) {
    ptx::cp_async_bulk_tensor_store(maps.C, ptx::smem_u32(smem.C), n0, m0);
    ptx::cp_async_bulk_commit_group();
    ptx::cp_async_bulk_wait_group_read<0>();
  }
}

__global__ void __launch_bounds__(THREADS)
    wgmma_gemm_kernel(const __grid_constant__ Maps maps, int K) {
  auto& smem = *dynamic_shared<Smem>();
  auto& full = shared<uint64_t[STAGES], "full">();
  auto& empty = shared<uint64_t[STAGES], "empty">();
  const int m0 = blockIdx.x * TILE, n0 = blockIdx.y * TILE, steps = (K + TILE - 1) / TILE;
  if (threadIdx.x == 0) {
    for (int s = 0; s < STAGES; ++s) {
      ptx::mbarrier_init(ptx::smem_u32(&full[s]), 1);
      ptx::mbarrier_init(ptx::smem_u32(&empty[s]), CLUSTER);
    }
    ptx::fence_mbarrier_init();
  }
  ptx::barrier_cluster_arrive();
  ptx::barrier_cluster_wait();

  if (threadIdx.x < CONSUMERS)
    consume(smem, full, empty, maps, steps, m0, n0);
  else if (threadIdx.x == CONSUMERS)
    produce(smem.ring, full, empty, maps, steps, m0, n0);

  // no CTA ends while its peer may still write or arrive here
  ptx::barrier_cluster_arrive();
  ptx::barrier_cluster_wait();
}

TensorMap matrix(CUtensorMapDataType dtype, int bytes, const void* p, int rows, int columns,
                 uint32_t box_rows, CUtensorMapSwizzle swizzle) {
  TiledTensor t{};
  t.dtype = dtype;
  t.rank = 2;
  t.address = const_cast<void*>(p);
  t.dims[0] = columns;
  t.dims[1] = rows;
  t.strides[0] = uint64_t(columns) * bytes;
  t.box[0] = TILE;
  t.box[1] = box_rows;
  t.swizzle = swizzle;
  return tensor_map_tiled(t);
}

}  // namespace
}  // namespace pynn

extern "C" const char* wgmma_gemm(const __nv_bfloat16* A, const __nv_bfloat16* B, float* C, int M,
                                  int N, int K) {
  using namespace pynn;
  return guarded([=] {
    const Maps maps{
        matrix(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, A, M, K, TILE, CU_TENSOR_MAP_SWIZZLE_128B),
        matrix(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, B, N, K, TILE / CLUSTER,
               CU_TENSOR_MAP_SWIZZLE_128B),
        matrix(CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4, C, M, N, TILE, CU_TENSOR_MAP_SWIZZLE_NONE)};
    const unsigned rows = (M + TILE * CLUSTER - 1) / (TILE * CLUSTER) * CLUSTER;
    const LaunchConfig how{dim3(rows, (N + TILE - 1) / TILE), THREADS, sizeof(Smem), nullptr,
                           CLUSTER};
    launch(wgmma_gemm_kernel, how, maps, K);
  });
}
