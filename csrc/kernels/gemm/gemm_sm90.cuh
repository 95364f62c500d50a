// gemm_sm90.cuh — D = epilogue(A B) on Hopper: TMA fills a ring, two warpgroups multiply by wgmma.
//
//   T = f16 | bf16, f32 sums;  NT, NN, TN;  any M, N, K >= 1 below 2^31
//   operands aligned to 16 bytes, lines too (ld a multiple of 8); TMA fills edges with zeros
//
//   grid     persistent: one CTA per multiprocessor, each takes pieces of work (gemm.cuh) in turn
//   tile     wide:   128 x 256 of D, 4 stages of 48 KB, cluster of 2      BN ──►
//            square: 128 x 128 of D, 6 stages of 32 KB, no cluster     ┌────────────┐
//   cluster  one tile above the other: half of B from each CTA,   CTA 0│ warpgroup 0│ 64 rows
//            multicast to both, so B crosses L2 once for two tiles     │ warpgroup 1│ 64 rows
//   CTA      3 warpgroups of 128 threads                               ├────────────┤
//              0, 1  consumers, 64 x BN of D each, BN/2 sums      CTA 1│     ...    │
//              2     one thread of it produces, with 40 registers      └────────────┘
//
//   stage    A 128 x 64 and B BN x 64 (64 of K, 128 bytes), with the 128-byte swizzle of TMA
//              K-major   lines of k, 8 to an atom of 1024 bytes       K + 16: 32 bytes on
//              MN-major  boxes of 64 m or n x 64 k, 8 KB each         K + 16: 2048 bytes on
//            wgmma reads both majors: no operand is turned
//   full[s]  1 arrival and the stage's bytes, the peer's half of B among them
//   empty[s] an arrival of each consumer warp of the cluster: a load also writes to the peer
//
//   consumers  wait for stage; 4 wgmma m64 n(BN) k16; with them under way, release the stage before
//   epilogue   32 columns at a time through 2.5 KB of each warp's own, then 4 neighbours a lane;
//              meanwhile the producer fills stages of the next tile
//
//   registers  consumers 232, producer 40 (setmaxnreg): 256 x 232 + 128 x 40 <= 65,536
//   bytes      2 (MK N/BN + NK M/256) from L2 (wide), at best 2 (MK + NK) from HBM, and D
//   FLOPs      2 MNK    shared memory reads: 64 x 256 x 16 takes (64 + 256) 32 bytes for 128 clocks
//              of tensor core: 80 of 128 bytes a clock; 64 x 128: 96
//   bound      tensor cores once M, N, K ≳ 1k
//
//   PTX ISA, "wgmma.mma_async", "cp.async.bulk.tensor", "mbarrier";  CUTLASS, sm90 warp-specialized
//   persistent kernels;  DeepGEMM, sm90 bf16

#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "common/chip.h"
#include "common/shared.cuh"
#include "common/vec.cuh"

#include "arch/cluster.cuh"
#include "arch/mbarrier.cuh"
#include "arch/tma.cuh"
#include "arch/wgmma.cuh"

#include "kernels/gemm/gemm.cuh"
#include "kernels/gemm/variants.h"

namespace pynn::gemm {

struct WideTile {
  static constexpr int BM = 128, BN = 256, CLUSTER = 2, STAGES = 4;
};
struct SquareTile {
  static constexpr int BM = 128, BN = 128, CLUSTER = 1, STAGES = 6;
};

inline constexpr int SM90_BK = 64;
inline constexpr int SM90_LINE = 128;            // bytes
inline constexpr int SM90_BOX = 64 * SM90_LINE;  // 64 lines
inline constexpr int SM90_ATOM = 8 * SM90_LINE;  // 8 lines, the period of the swizzle
inline constexpr int SM90_CONSUMERS = 256;
inline constexpr int SM90_THREADS = SM90_CONSUMERS + 128;

template <class TILE>
struct Sm90 {
  static constexpr int A_BYTES = TILE::BM * SM90_LINE;
  static constexpr int B_BYTES = TILE::BN * SM90_LINE;
  static constexpr int STAGE_BYTES = A_BYTES + B_BYTES;
  static constexpr int CLUSTER_BM = TILE::BM * TILE::CLUSTER;
  static constexpr int SLAB = 32;         // columns that are staged at a time
  static constexpr int PITCH = SLAB + 8;  // floats of a staged row: no bank conflict
  static constexpr int WARP_FLOATS = 16 * PITCH;
  static constexpr int RING_BYTES = TILE::STAGES * STAGE_BYTES;
  static constexpr int SMEM_BYTES = RING_BYTES + SM90_CONSUMERS / 32 * WARP_FLOATS * 4;
};

struct Sm90Params {
  TensorMap A;
  TensorMap B;
  Problem problem;
};

// ---- the ring

// Where a role is: the stage, and the parity of its turn.
template <int STAGES>
struct Turn {
  int stage = 0;
  uint32_t parity = 0;

  __device__ void next() {
    if (++stage == STAGES) {
      stage = 0;
      parity ^= 1;
    }
  }
};

struct Barriers {
  uint32_t full;
  uint32_t empty;

  __device__ uint32_t full_at(int stage) const { return full + stage * 8; }
  __device__ uint32_t empty_at(int stage) const { return empty + stage * 8; }
};

// This CTA's share of an operand's part of a stage: everything, or one half to both of a cluster.
template <Major MAJOR, int EXTENT, int CLUSTER>
__device__ inline void load_share(TensorMap const& map, Operand const& operand, uint32_t to,
                                  uint32_t bar, int mn, int k, Work const& work, int64_t inner) {
  constexpr int SHARE = EXTENT / CLUSTER;
  constexpr int LINES = MAJOR == Major::K ? SHARE : 64;
  int const outer_z = operand.outer_step ? static_cast<int>(work.z / inner) : 0;
  int const inner_z = operand.inner_step ? static_cast<int>(work.z % inner) : 0;
  int const begin = CLUSTER == 1 ? 0 : static_cast<int>(ptx::cluster_ctarank()) * SHARE;
#pragma unroll
  for (int i = begin; i < begin + SHARE; i += LINES) {
    uint32_t const box = to + i * SM90_LINE;
    int const x = MAJOR == Major::K ? k : mn + i;
    int const y = MAJOR == Major::K ? mn + i : k;
    if constexpr (CLUSTER == 1) {
      ptx::cp_async_bulk_tensor_load(box, map, bar, x, y, inner_z, outer_z);
    } else {
      constexpr uint16_t ALL = (1 << CLUSTER) - 1;
      ptx::cp_async_bulk_tensor_load_multicast(box, map, bar, ALL, x, y, inner_z, outer_z);
    }
  }
}

// Descriptor of 16 of k of lines that begin at `address`.
template <Major MAJOR>
__device__ inline uint64_t describe(uint32_t address, int k16) {
  return MAJOR == Major::K
             ? ptx::wgmma_descriptor(address + k16 * 32, 0, SM90_ATOM, ptx::Swizzle::B128)
             : ptx::wgmma_descriptor(address + k16 * 16 * SM90_LINE, SM90_BOX, SM90_ATOM,
                                     ptx::Swizzle::B128);
}

template <Major MAJOR>
inline constexpr ptx::Major WGMMA_MAJOR = MAJOR == Major::K ? ptx::Major::K : ptx::Major::MN;

// ---- roles

template <Major A_MAJOR, Major B_MAJOR, class TILE>
__device__ inline void produce(Sm90Params const& q, Barriers bars, uint32_t ring) {
  using S = Sm90<TILE>;
  Problem const& p = q.problem;
  int64_t const all = count_work<S::CLUSTER_BM, TILE::BN>(p);
  int const rank = TILE::CLUSTER == 1 ? 0 : static_cast<int>(ptx::cluster_ctarank());
  ptx::prefetch_tensormap(q.A);
  ptx::prefetch_tensormap(q.B);
  Turn<TILE::STAGES> turn;
  for (int64_t index = blockIdx.x / TILE::CLUSTER; index < all;
       index += gridDim.x / TILE::CLUSTER) {
    Work const work = find_work<S::CLUSTER_BM, TILE::BN, SM90_BK>(p, index);
    int const m0 = static_cast<int>(work.m0) + rank * TILE::BM;
    int const n0 = static_cast<int>(work.n0);
    for (int64_t k = work.k0; k < work.k1; k += SM90_BK, turn.next()) {
      // wait until free
      ptx::mbarrier_wait_parity(bars.empty_at(turn.stage), turn.parity ^ 1);
      uint32_t const bar = bars.full_at(turn.stage);
      uint32_t const stage = ring + turn.stage * S::STAGE_BYTES;
      // fill stage
      ptx::mbarrier_arrive_expect_tx(bar, S::STAGE_BYTES);
      load_share<A_MAJOR, TILE::BM, 1>(q.A, p.A, stage, bar, m0, static_cast<int>(k), work,
                                       p.inner);
      load_share<B_MAJOR, TILE::BN, TILE::CLUSTER>(q.B, p.B, stage + S::A_BYTES, bar, n0,
                                                   static_cast<int>(k), work, p.inner);
    }
  }
}

// One arrival of this warp, at each CTA of the cluster.
template <int CLUSTER>
__device__ inline void release(uint32_t bar) {
  int const lane = static_cast<int>(threadIdx.x) % 32;
  if constexpr (CLUSTER == 1) {
    if (lane == 0) ptx::mbarrier_arrive(bar);
  } else {
    if (lane < CLUSTER) ptx::mbarrier_arrive_cluster(ptx::mapa(bar, lane));
  }
}

// D of one warp, 16 rows of a tile: sums[i] is (lane/4 + 8 (i/2 % 2), 8 (i/4) + 2 (lane%4) + i%2).
template <class TILE>
__device__ inline void finish_rows(Epilogue const& e, float const (&sums)[TILE::BN / 2],
                                   float* staged, int64_t row, int rows, int64_t n0) {
  using S = Sm90<TILE>;
  constexpr int WIDTH = 4;
  constexpr int ACROSS = S::SLAB / WIDTH;
  int const lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll 1
  for (int slab = 0; slab < TILE::BN / S::SLAB; ++slab) {
    // every slab spelled out, since registers cannot be counted through; one of them is this
#pragma unroll
    for (int s = 0; s < TILE::BN / S::SLAB; ++s) {
      if (s != slab) continue;
#pragma unroll
      for (int j = 0; j < S::SLAB / 8; ++j) {
        float* const to = staged + lane / 4 * S::PITCH + j * 8 + lane % 4 * 2;
        int const i = (s * S::SLAB / 8 + j) * 4;
        store_vec<2>(to, Vec<float, 2>{sums[i], sums[i + 1]});
        store_vec<2>(to + 8 * S::PITCH, Vec<float, 2>{sums[i + 2], sums[i + 3]});
      }
    }
    __syncwarp();
#pragma unroll 1
    for (int i = lane; i < 16 * ACROSS; i += 32) {
      int const r = i / ACROSS;
      int const column = i % ACROSS * WIDTH;
      if (r < rows) {
        finish(e, row + r, n0 + slab * S::SLAB + column,
               load_vec<WIDTH>(staged + r * S::PITCH + column));
      }
    }
    __syncwarp();
  }
}

template <typename T, Major A_MAJOR, Major B_MAJOR, class TILE>
__device__ inline void consume(Sm90Params const& q, Barriers bars, uint32_t ring) {
  using S = Sm90<TILE>;
  Problem const& p = q.problem;
  int const group = static_cast<int>(threadIdx.x) / 128;
  int const warp = static_cast<int>(threadIdx.x) / 32;
  int const rank = TILE::CLUSTER == 1 ? 0 : static_cast<int>(ptx::cluster_ctarank());
  float* const staged = dynamic_shared<float>() + S::RING_BYTES / 4 + warp * S::WARP_FLOATS;
  int64_t const all = count_work<S::CLUSTER_BM, TILE::BN>(p);
  Turn<TILE::STAGES> turn;
  for (int64_t index = blockIdx.x / TILE::CLUSTER; index < all;
       index += gridDim.x / TILE::CLUSTER) {
    Work const work = find_work<S::CLUSTER_BM, TILE::BN, SM90_BK>(p, index);
    float sums[TILE::BN / 2] = {};
    int before = -1;  // the stage that wgmma may still be reading
    for (int64_t k = work.k0; k < work.k1; k += SM90_BK, turn.next()) {
      // wait for stage
      ptx::mbarrier_wait_parity(bars.full_at(turn.stage), turn.parity);
      uint32_t const sA = ring + turn.stage * S::STAGE_BYTES + group * 64 * SM90_LINE;
      uint32_t const sB = ring + turn.stage * S::STAGE_BYTES + S::A_BYTES;
      // multiply
      ptx::wgmma_fence();
#pragma unroll
      for (int k16 = 0; k16 < SM90_BK / 16; ++k16) {
        ptx::wgmma_mma_async<T, WGMMA_MAJOR<A_MAJOR>, WGMMA_MAJOR<B_MAJOR>>(
            sums, describe<A_MAJOR>(sA, k16), describe<B_MAJOR>(sB, k16), true);
      }
      ptx::wgmma_commit_group();
      // release the stage before
      ptx::wgmma_wait_group<1>();
      if (before >= 0) release<TILE::CLUSTER>(bars.empty_at(before));
      before = turn.stage;
    }
    ptx::wgmma_wait_group<0>();
    ptx::wgmma_keep(sums);
    if (before >= 0) release<TILE::CLUSTER>(bars.empty_at(before));

    // epilogue
    int const first = rank * TILE::BM + warp * 16;
    int64_t const rows = min(int64_t{16}, p.M - work.m0 - first);
    finish_rows<TILE>(p.epilogue, sums, staged, work.row + first, static_cast<int>(rows), work.n0);
  }
}

// ---- kernel

template <typename T, Major A_MAJOR, Major B_MAJOR, class TILE>
__global__ void __launch_bounds__(SM90_THREADS, 1)
    gemm_sm90_kernel(__grid_constant__ Sm90Params const q) {
  auto& full = shared<uint64_t[TILE::STAGES], "full">();
  auto& empty = shared<uint64_t[TILE::STAGES], "empty">();
  uint32_t const ring = ptx::smem_u32(dynamic_shared<unsigned char>());
  Barriers const bars{ptx::smem_u32(full), ptx::smem_u32(empty)};
  if (threadIdx.x == 0) {
    for (int s = 0; s < TILE::STAGES; ++s) {
      ptx::mbarrier_init(bars.full_at(s), 1);
      ptx::mbarrier_init(bars.empty_at(s), SM90_CONSUMERS / 32 * TILE::CLUSTER);
    }
    ptx::fence_mbarrier_init();
  }
  auto const meet = [] {
    if constexpr (TILE::CLUSTER == 1) {
      __syncthreads();
    } else {
      ptx::barrier_cluster_arrive();
      ptx::barrier_cluster_wait();
    }
  };
  meet();

  if (threadIdx.x < SM90_CONSUMERS) {
    ptx::setmaxnreg_inc<232>();
    consume<T, A_MAJOR, B_MAJOR, TILE>(q, bars, ring);
  } else {
    ptx::setmaxnreg_dec<40>();
    if (threadIdx.x == SM90_CONSUMERS) produce<A_MAJOR, B_MAJOR, TILE>(q, bars, ring);
    __syncwarp();
  }

  // no CTA ends while its peer may still write or arrive here
  if constexpr (TILE::CLUSTER > 1) meet();
}

// ---- launch

// An operand as (contiguous, lines, inner batch, outer batch); a repeated axis has length 1.
template <typename T>
TensorMap map_operand(Operand const& operand, int64_t mn, int64_t k, int64_t inner, int64_t batch,
                      int box_lines) {
  bool const k_major = operand.major == Major::K;
  TiledTensor t{};
  t.dtype = std::is_same_v<T, __half> ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                      : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  t.rank = 4;
  t.address = const_cast<void*>(operand.ptr);
  t.dims[0] = k_major ? k : mn;
  t.dims[1] = k_major ? mn : k;
  t.dims[2] = operand.inner_step ? inner : 1;
  t.dims[3] = operand.outer_step ? batch / inner : 1;
  int64_t const matrix = operand.ld * static_cast<int64_t>(t.dims[1]);
  t.strides[0] = operand.ld * sizeof(T);
  t.strides[1] = (operand.inner_step ? operand.inner_step : matrix) * sizeof(T);
  t.strides[2] = (operand.outer_step ? operand.outer_step : matrix) * sizeof(T);
  t.box[0] = SM90_LINE / sizeof(T);
  t.box[1] = box_lines;
  t.box[2] = t.box[3] = 1;
  t.swizzle = CU_TENSOR_MAP_SWIZZLE_128B;
  return tensor_map_tiled(t);
}

template <typename T, Major A_MAJOR, Major B_MAJOR, class TILE>
void launch_sm90(cudaStream_t stream, Problem const& p) {
  using S = Sm90<TILE>;
  constexpr int A_LINES = A_MAJOR == Major::K ? TILE::BM : 64;
  constexpr int B_LINES = B_MAJOR == Major::K ? TILE::BN / TILE::CLUSTER : 64;
  Sm90Params const q{map_operand<T>(p.A, p.M, p.K, p.inner, p.batch, A_LINES),
                     map_operand<T>(p.B, p.N, p.K, p.inner, p.batch, B_LINES), p};
  int64_t const work = count_work<S::CLUSTER_BM, TILE::BN>(p);
  int64_t const clusters = std::min<int64_t>(work, std::max(chip().sms / TILE::CLUSTER, 1));
  LaunchConfig const how{static_cast<unsigned>(clusters * TILE::CLUSTER), SM90_THREADS,
                         S::SMEM_BYTES, stream, TILE::CLUSTER};
  launch(gemm_sm90_kernel<T, A_MAJOR, B_MAJOR, TILE>, how, q);
}

template <typename T, class TILE>
void launch_sm90_layout(cudaStream_t stream, Problem const& p) {
  if (p.A.major == Major::MN) return launch_sm90<T, Major::MN, Major::MN, TILE>(stream, p);
  if (p.B.major == Major::MN) return launch_sm90<T, Major::K, Major::MN, TILE>(stream, p);
  launch_sm90<T, Major::K, Major::K, TILE>(stream, p);
}

template <typename T>
void run_sm90(cudaStream_t stream, Problem const& p, Tile tile) {
  if (tile == Tile::large) return launch_sm90_layout<T, WideTile>(stream, p);
  launch_sm90_layout<T, SquareTile>(stream, p);
}

}  // namespace pynn::gemm
