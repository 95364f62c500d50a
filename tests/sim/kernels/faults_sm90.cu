// faults_sm90.cu — faults of Hopper's machinery: mbarriers, TMA, wgmma, clusters. See faults.h.

#include "faults.h"

#include "arch/cluster.cuh"
#include "arch/mbarrier.cuh"
#include "arch/tma.cuh"
#include "arch/wgmma.cuh"

namespace pynn::faults {
namespace {

constexpr int TILE = 64, THREADS = 160;
constexpr uint32_t TILE_BYTES = TILE * TILE * 2;

// What is wrong with `multiply`; each fault changes one line.
enum Fault {
  NONE,
  INIT_NOT_FENCED,
  INIT_WITHOUT_BARRIER,
  WRONG_PARITY,
  NO_EXPECT_TX,
  TOO_MANY_BYTES,
  BOX_MISALIGNED,
  SWIZZLE_MISMATCH,
  WRONG_STRIDE,
  DESCRIPTOR_OUTSIDE,
  RELEASED_EARLY,
  NEVER_RELEASED,
  RELEASED_TWICE,
  READ_BEFORE_WAIT,
  WRITTEN_BEFORE_WAIT,
  NO_WGMMA_FENCE,
  MBARRIER_OVERWRITTEN,
  NO_STORE_FENCE,
  STORE_NOT_WAITED,
  STORE_SOURCE_REUSED,
  NO_DATA_WAIT,
};

// C (64 x 64) = sum over tiles of A (64 x 64) A^T, A row-major bf16 (64, 64 tiles); two stages, one producer thread.
template <Fault FAULT>
__global__ void multiply(const __grid_constant__ TensorMap mapA,
                         const __grid_constant__ TensorMap mapC, int tiles) {
  auto& ring = shared<__nv_bfloat16[2][TILE][TILE], "ring", 1024>();
  auto& sC = shared<float[TILE][TILE], "sC", 128>();
  auto& full = shared<uint64_t[2], "full">();
  auto& empty = shared<uint64_t[2], "empty">();
  const int t = threadIdx.x;
  if (t == 0) {
    for (int s = 0; s < 2; ++s) {
      ptx::mbarrier_init(ptx::smem_u32(&full[s]), 1);
      ptx::mbarrier_init(ptx::smem_u32(&empty[s]), 1);
    }
    if (FAULT != INIT_NOT_FENCED) ptx::fence_mbarrier_init();
  }
  if (FAULT != INIT_WITHOUT_BARRIER) __syncthreads();

  if (t == 128) {  // producer
    for (int i = 0; i < tiles; ++i) {
      const int s = i % 2, parity = i / 2 & 1;
      ptx::mbarrier_wait_parity(ptx::smem_u32(&empty[s]), parity ^ 1);
      const uint32_t bar = ptx::smem_u32(&full[s]);
      if (FAULT == NO_EXPECT_TX)
        ptx::mbarrier_arrive(bar);
      else
        ptx::mbarrier_arrive_expect_tx(bar, FAULT == TOO_MANY_BYTES ? 2 * TILE_BYTES : TILE_BYTES);
      const uint32_t to = ptx::smem_u32(ring[s]) + (FAULT == BOX_MISALIGNED && s == 0 ? 64 : 0);
      ptx::cp_async_bulk_tensor_load(to, mapA, bar, i * TILE, 0);
    }
  }
  if (t >= 128) return;

  float d[32] = {};
  for (int i = 0; i < tiles; ++i) {
    const int s = i % 2, parity = i / 2 & 1;
    if (FAULT != NO_DATA_WAIT)
      ptx::mbarrier_wait_parity(ptx::smem_u32(&full[s]), parity ^ (FAULT == WRONG_PARITY));
    if (FAULT != NO_WGMMA_FENCE) ptx::wgmma_fence();
    for (int k = 0; k < TILE * 2; k += 32) {
      const auto swizzle = FAULT == SWIZZLE_MISMATCH ? ptx::Swizzle::NONE : ptx::Swizzle::B128;
      const uint32_t stride = FAULT == WRONG_STRIDE ? 512 : 1024;
      const uint32_t from =
          FAULT == DESCRIPTOR_OUTSIDE ? ptx::smem_u32(ring[1]) + 4096 : ptx::smem_u32(ring[s]);
      const auto a = ptx::wgmma_descriptor(from + k, 0, stride, swizzle);
      ptx::wgmma_mma_async<__nv_bfloat16>(d, a, a, true);
    }
    ptx::wgmma_commit_group();
    if (FAULT == RELEASED_EARLY && t == 0) ptx::mbarrier_arrive(ptx::smem_u32(&empty[s]));
    if (FAULT == WRITTEN_BEFORE_WAIT) d[3] += 1;
    const float early = d[0];
    ptx::wgmma_wait_group<0>();
    if (FAULT == READ_BEFORE_WAIT && i + 1 == tiles) d[0] = early;
    if (FAULT == MBARRIER_OVERWRITTEN && t == 0) full[1] = 0;
    if (FAULT != RELEASED_EARLY && FAULT != NEVER_RELEASED && t == 0) {
      ptx::mbarrier_arrive(ptx::smem_u32(&empty[s]));
      if (FAULT == RELEASED_TWICE) ptx::mbarrier_arrive(ptx::smem_u32(&empty[s]));
    }
  }

  for (int i = 0; i < 32; ++i)
    sC[t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8][i / 4 * 8 + t % 4 * 2 + i % 2] = d[i];
  if (FAULT != NO_STORE_FENCE) ptx::fence_proxy_async_shared();
  ptx::bar_sync(1, 128);
  if (t == 0) {
    ptx::cp_async_bulk_tensor_store(mapC, ptx::smem_u32(sC), 0, 0);
    ptx::cp_async_bulk_commit_group();
    if (FAULT == STORE_SOURCE_REUSED) sC[5][5] = -1;
    if (FAULT != STORE_NOT_WAITED) ptx::cp_async_bulk_wait_group_read<0>();
  }
}

TensorMap matrix(CUtensorMapDataType dtype, int bytes, void* p, int rows, int columns, int box,
                 CUtensorMapSwizzle swizzle) {
  TiledTensor t{};
  t.dtype = dtype;
  t.rank = 2;
  t.address = p;
  t.dims[0] = columns;
  t.dims[1] = rows;
  t.strides[0] = uint64_t(columns) * bytes;
  t.box[0] = box;
  t.box[1] = TILE;
  t.swizzle = swizzle;
  return tensor_map_tiled(t);
}

template <Fault FAULT>
bool gemm(bool faulty) {
  constexpr int TILES = 5, K = TILES * TILE;
  Buffer<__nv_bfloat16> A(TILE * K);
  Buffer<float> C(TILE * TILE);
  for (int i = 0; i < TILE * K; ++i) A[i] = __float2bfloat16_rn(float(i * 7 % 9 - 4));
  const TensorMap mapA =
      matrix(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, A, TILE, K, TILE, CU_TENSOR_MAP_SWIZZLE_128B);
  const TensorMap mapC =
      matrix(CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4, C, TILE, TILE, TILE, CU_TENSOR_MAP_SWIZZLE_NONE);
  run(faulty, multiply<NONE>, multiply<FAULT>, {dim3(1), THREADS}, mapA, mapC, TILES);
  for (int r = 0; r < TILE; ++r)
    for (int c = 0; c < TILE; ++c) {
      float sum = 0;
      for (int k = 0; k < K; ++k)
        sum += __bfloat162float(A[r * K + k]) * __bfloat162float(A[c * K + k]);
      if (!(C[r * TILE + c] == sum)) return false;
    }
  return true;
}

// wgmma reads what ordinary stores wrote.
template <bool BAD>
__global__ void no_proxy_fence(float* y) {
  auto& tile = shared<__nv_bfloat16[TILE][TILE], "tile", 1024>();
  const int t = threadIdx.x;
  for (int i = t; i < TILE * TILE; i += 128) tile[i / TILE][i % TILE] = __float2bfloat16_rn(1);
  if (!BAD) ptx::fence_proxy_async_shared();
  __syncthreads();
  float d[32] = {};
  const auto a = ptx::wgmma_descriptor(ptx::smem_u32(tile), 0, 1024, ptx::Swizzle::B128);
  ptx::wgmma_fence();
  ptx::wgmma_mma_async<__nv_bfloat16>(d, a, a, false);
  ptx::wgmma_commit_group();
  ptx::wgmma_wait_group<0>();
  y[t] = d[0];
}

// Rank 0 loads a box into both blocks; block 1 must not end before it is there.
template <bool BAD>
__global__ void exit_under_multicast(const __grid_constant__ TensorMap map, float* y) {
  auto& tile = shared<__nv_bfloat16[TILE][TILE], "tile", 1024>();
  auto& bar = shared<uint64_t, "bar">();
  const uint32_t rank = ptx::cluster_ctarank(), b = ptx::smem_u32(&bar);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(b, 1);
    ptx::fence_mbarrier_init();
    ptx::mbarrier_arrive_expect_tx(b, TILE_BYTES);
  }
  ptx::barrier_cluster_arrive();
  ptx::barrier_cluster_wait();
  if (rank == 0 && threadIdx.x == 0)
    ptx::cp_async_bulk_tensor_load_multicast(ptx::smem_u32(tile), map, b, 3, 0, 0);
  if (BAD && rank == 1) return;
  ptx::mbarrier_wait_parity(b, 0);
  if (rank == 0) y[threadIdx.x] = __bfloat162float(tile[0][threadIdx.x % 8]);
}

// The offset of a filter tap has 8 bits in two dimensions.
template <bool BAD>
__global__ void tap_too_far(const __grid_constant__ TensorMap map, float* y) {
  auto& tile = shared<__nv_bfloat16[8], "tile", 128>();
  auto& bar = shared<uint64_t, "bar">();
  const uint32_t b = ptx::smem_u32(&bar);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(b, 1);
    ptx::fence_mbarrier_init();
    ptx::mbarrier_arrive_expect_tx(b, 16);
    ptx::cp_async_bulk_tensor_load_im2col_4d(ptx::smem_u32(tile), map, b, 0, 0, 0, 0,
                                             BAD ? 256 : 255, 0);
  }
  __syncthreads();
  ptx::mbarrier_wait_parity(b, 0);
  y[threadIdx.x] = __bfloat162float(tile[threadIdx.x % 8]);
}

template <bool BAD>
__global__ void multicast_outside_cluster(const __grid_constant__ TensorMap map, float* y) {
  auto& tile = shared<__nv_bfloat16[TILE][TILE], "tile", 1024>();
  auto& bar = shared<uint64_t, "bar">();
  const uint32_t b = ptx::smem_u32(&bar);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(b, 1);
    ptx::fence_mbarrier_init();
    ptx::mbarrier_arrive_expect_tx(b, TILE_BYTES);
    ptx::cp_async_bulk_tensor_load_multicast(ptx::smem_u32(tile), map, b,
                                             BAD ? 4 : 1 << ptx::cluster_ctarank(), 0, 0);
  }
  __syncthreads();
  ptx::mbarrier_wait_parity(b, 0);
  if (ptx::cluster_ctarank() == 0) y[threadIdx.x] = 0;
}

template <bool BAD>
__global__ void read_after_peer_exit(float* y) {
  auto& value = shared<float, "value">();
  const uint32_t rank = ptx::cluster_ctarank();
  if (threadIdx.x == 0) value = float(rank + 1);
  ptx::barrier_cluster_arrive();
  ptx::barrier_cluster_wait();
  if (rank == 1) y[threadIdx.x] = ptx::ld_shared_cluster_f32(ptx::mapa(ptx::smem_u32(&value), 0));
  if (BAD) return;
  ptx::barrier_cluster_arrive();
  ptx::barrier_cluster_wait();
}

template <bool BAD>
__global__ void no_cluster_barrier(float* y) {
  auto& value = shared<float, "value">();
  const uint32_t rank = ptx::cluster_ctarank();
  if (threadIdx.x == 0) value = float(rank + 1);
  if (BAD) {
    __syncthreads();
  } else {
    ptx::barrier_cluster_arrive();
    ptx::barrier_cluster_wait();
  }
  const float v = ptx::ld_shared_cluster_f32(ptx::mapa(ptx::smem_u32(&value), 1 - rank));
  ptx::barrier_cluster_arrive();
  ptx::barrier_cluster_wait();
  if (rank == 1) y[threadIdx.x] = v;
}

template <bool BAD>
__global__ void wait_without_arrive(float* y) {
  if (!BAD) ptx::barrier_cluster_arrive();
  ptx::barrier_cluster_wait();
  if (ptx::cluster_ctarank() == 0) y[threadIdx.x] = 1;
}

template <bool BAD>
__global__ void part_of_a_warpgroup(float* y) {
  if (BAD && threadIdx.x >= 96) {
    y[threadIdx.x] = 1;
    return;
  }
  ptx::wgmma_fence();
  y[threadIdx.x] = 1;
}

template <auto CLEAN, auto FAULTY, int THREADS_OF_BLOCK, int EXPECTED>
bool cluster_of_two(bool faulty) {
  Buffer<float> y(THREADS_OF_BLOCK);
  run(faulty, CLEAN, FAULTY, {dim3(2), THREADS_OF_BLOCK, 0, nullptr, dim3(2)}, y.get());
  for (int i = 0; i < THREADS_OF_BLOCK; ++i)
    if (!(y[i] == float(EXPECTED))) return false;
  return true;
}

template <auto CLEAN, auto FAULTY>
bool one_block(bool faulty) {
  Buffer<float> y(128);
  run(faulty, CLEAN, FAULTY, {dim3(1), 128}, y.get());
  return y[0] == 16.0f || y[0] == 1.0f;
}

template <auto CLEAN, auto FAULTY>
bool with_a_map(bool faulty) {
  Buffer<__nv_bfloat16> A(TILE * TILE);
  Buffer<float> y(32);
  const TensorMap map =
      matrix(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, A, TILE, TILE, TILE, CU_TENSOR_MAP_SWIZZLE_128B);
  run(faulty, CLEAN, FAULTY, {dim3(2), 32, 0, nullptr, dim3(2)}, map, y.get());
  return y[0] == 0.0f;
}

bool line_of_pixels(bool faulty) {
  Buffer<__nv_bfloat16> A(8 * 300);
  Buffer<float> y(32);
  Im2colTensor t{};
  t.dtype = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  t.rank = 4;
  t.address = A;
  t.dims[0] = t.channels = 8;
  t.dims[1] = 300;
  t.dims[2] = t.dims[3] = t.pixels = 1;
  t.strides[0] = 16;
  t.strides[1] = t.strides[2] = 16 * 300;
  run(faulty, tap_too_far<false>, tap_too_far<true>, {dim3(1), 32}, tensor_map_im2col(t), y.get());
  return y[0] == float(255 * 8 % 64);
}

const Case CASES[] = {
    {"init_not_fenced", gemm<INIT_NOT_FENCED>},
    {"init_without_barrier", gemm<INIT_WITHOUT_BARRIER>},
    {"wrong_parity", gemm<WRONG_PARITY>},
    {"no_expect_tx", gemm<NO_EXPECT_TX>},
    {"too_many_bytes", gemm<TOO_MANY_BYTES>},
    {"box_misaligned", gemm<BOX_MISALIGNED>},
    {"swizzle_mismatch", gemm<SWIZZLE_MISMATCH>},
    {"wrong_stride", gemm<WRONG_STRIDE>},
    {"descriptor_outside", gemm<DESCRIPTOR_OUTSIDE>},
    {"released_early", gemm<RELEASED_EARLY>},
    {"never_released", gemm<NEVER_RELEASED>},
    {"released_twice", gemm<RELEASED_TWICE>},
    {"read_before_wait", gemm<READ_BEFORE_WAIT>},
    {"written_before_wait", gemm<WRITTEN_BEFORE_WAIT>},
    {"no_wgmma_fence", gemm<NO_WGMMA_FENCE>},
    {"mbarrier_overwritten", gemm<MBARRIER_OVERWRITTEN>},
    {"no_store_fence", gemm<NO_STORE_FENCE>},
    {"store_not_waited", gemm<STORE_NOT_WAITED>},
    {"store_source_reused", gemm<STORE_SOURCE_REUSED>},
    {"no_data_wait", gemm<NO_DATA_WAIT>},
    {"no_proxy_fence", one_block<no_proxy_fence<false>, no_proxy_fence<true>>},
    {"exit_under_multicast", with_a_map<exit_under_multicast<false>, exit_under_multicast<true>>},
    {"multicast_outside_cluster",
     with_a_map<multicast_outside_cluster<false>, multicast_outside_cluster<true>>},
    {"tap_too_far", line_of_pixels},
    {"read_after_peer_exit",
     cluster_of_two<read_after_peer_exit<false>, read_after_peer_exit<true>, 32, 1>},
    {"no_cluster_barrier",
     cluster_of_two<no_cluster_barrier<false>, no_cluster_barrier<true>, 32, 1>},
    {"wait_without_arrive",
     cluster_of_two<wait_without_arrive<false>, wait_without_arrive<true>, 32, 1>},
    {"part_of_a_warpgroup", one_block<part_of_a_warpgroup<false>, part_of_a_warpgroup<true>>},
    {"box_too_wide",
     [](bool faulty) {
       Buffer<__nv_bfloat16> A(TILE * 2 * TILE);
       matrix(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, A, TILE, 2 * TILE, faulty ? 2 * TILE : TILE,
              CU_TENSOR_MAP_SWIZZLE_128B);
       return true;
     }},
    {"pitch_of_9_elements",
     [](bool faulty) {
       Buffer<__nv_bfloat16> A(TILE * 16);
       matrix(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, A, TILE, faulty ? 9 : 16, 8,
              CU_TENSOR_MAP_SWIZZLE_NONE);
       return true;
     }},
};

}  // namespace
}  // namespace pynn::faults

int main(int argc, char** argv) {
  return pynn::faults::main_of(pynn::faults::CASES, argc, argv);
}
