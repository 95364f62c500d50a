// mainloop_sm90.cuh — products on Hopper: TMA fills a ring, two warpgroups multiply by wgmma.
//
//   D = epilogue(A B), T = f16 | bf16, f32 sums. Which product it is, where A and B come from and
//   where D goes is said by a plan; a kernel is one plan, and multiply<T>(plan) by every thread.
//
//   grid     persistent: one CTA per multiprocessor, each takes pieces of work in turn
//   tile     wide:   128 x 256 of D, 4 stages of 48 KB, cluster of 2      BN ──►
//            square: 128 x 128 of D, 6 stages of 32 KB, no cluster     ┌────────────┐
//            narrow: 128 x 64 of D, 8 stages of 24 KB, no cluster CTA 0│ warpgroup 0│ 64 rows
//   cluster  one tile above the other: half of B from each CTA,        │ warpgroup 1│ 64 rows
//            multicast to both, so B crosses L2 once for two tiles     ├────────────┤
//   CTA      3 warpgroups of 128 threads                          CTA 1│     ...    │
//              0, 1  consumers, 64 x BN of D each, BN/2 sums           └────────────┘
//              2     one thread of it produces, with 40 registers
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
//   a plan     Tile, A_MAJOR, B_MAJOR, Work, Loader
//     count()          pieces of work: a tile of D each, CLUSTER tiles for a cluster
//     find(index)      a piece, as a Work: `steps` stages, and what the plan remembers of it
//     row(work, m)     where row m of the piece is in D, or -1: nowhere
//     column(work, n)  where column n is, or the epilogue's N: nowhere; 4 neighbours stay together
//     epilogue()       epilogue.cuh
//     prefetch()       its tensor maps
//     Loader(plan, work, rank), load(stage, bar)     the loads by this CTA of one stage after another
//
//   registers  consumers 232, producer 40 (setmaxnreg): 256 x 232 + 128 x 40 <= 65,536
//   bound      tensor cores; shared memory reads: 64 x 256 x 16 takes (64 + 256) 32 bytes for 128
//              clocks of tensor core: 80 of 128 bytes a clock; 64 x 128: 96, 64 x 64: 128
//
//   PTX ISA, "wgmma.mma_async", "cp.async.bulk.tensor", "mbarrier";  CUTLASS, sm90 warp-specialized
//   persistent kernels;  DeepGEMM, sm90 bf16

#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "common/chip.h"
#include "common/launch.h"
#include "common/shared.cuh"
#include "common/vec.cuh"

#include "arch/cluster.cuh"
#include "arch/mbarrier.cuh"
#include "arch/tma.cuh"
#include "arch/wgmma.cuh"

#include "kernels/gemm/epilogue.cuh"
#include "kernels/gemm/gemm.cuh"

namespace pynn::gemm::sm90 {

struct WideTile {
  static constexpr int BM = 128, BN = 256, CLUSTER = 2, STAGES = 4;
};
struct SquareTile {
  static constexpr int BM = 128, BN = 128, CLUSTER = 1, STAGES = 6;
};
struct NarrowTile {
  static constexpr int BM = 128, BN = 64, CLUSTER = 1, STAGES = 8;
};

inline constexpr int BK = 64;
inline constexpr int LINE = 128;       // bytes
inline constexpr int BOX = 64 * LINE;  // 64 lines
inline constexpr int ATOM = 8 * LINE;  // 8 lines, the period of the swizzle
inline constexpr int CONSUMERS = 256;
inline constexpr int THREADS = CONSUMERS + 128;

template <class TILE>
struct Sizes {
  static constexpr int A_BYTES = TILE::BM * LINE;
  static constexpr int B_BYTES = TILE::BN * LINE;
  static constexpr int STAGE_BYTES = A_BYTES + B_BYTES;
  static constexpr int CLUSTER_BM = TILE::BM * TILE::CLUSTER;
  static constexpr int SLAB = 32;         // columns that are staged at a time
  static constexpr int PITCH = SLAB + 8;  // floats of a staged row: no bank conflict
  static constexpr int WARP_FLOATS = 16 * PITCH;
  static constexpr int RING_BYTES = TILE::STAGES * STAGE_BYTES;
  static constexpr int SMEM_BYTES = RING_BYTES + CONSUMERS / 32 * WARP_FLOATS * 4;
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

template <int CLUSTER>
__device__ inline int rank_in_cluster() {
  return CLUSTER == 1 ? 0 : static_cast<int>(ptx::cluster_ctarank());
}

// Calls f(i) for each box that this CTA loads of an operand's part of a stage, i its first line (K)
// or its first column (MN) of EXTENT: every box, or of those that a cluster shares its own.
template <Major MAJOR, int EXTENT, int CLUSTER, class F>
__device__ inline void for_boxes(F&& f) {
  constexpr int SHARE = EXTENT / CLUSTER;
  constexpr int LINES = MAJOR == Major::K ? SHARE : 64;
  int const begin = rank_in_cluster<CLUSTER>() * SHARE;
#pragma unroll
  for (int i = begin; i < begin + SHARE; i += LINES) f(i);
}

// One box at coordinates `at`, to this CTA or to all of a cluster.
template <int CLUSTER, typename... At>
__device__ inline void load_box(uint32_t to, TensorMap const& map, uint32_t bar, At... at) {
  if constexpr (CLUSTER == 1) {
    ptx::cp_async_bulk_tensor_load(to, map, bar, at...);
  } else {
    constexpr uint16_t ALL = (1 << CLUSTER) - 1;
    ptx::cp_async_bulk_tensor_load_multicast(to, map, bar, ALL, at...);
  }
}

// Descriptor of 16 of k of lines that begin at `address`.
template <Major MAJOR>
__device__ inline uint64_t describe(uint32_t address, int k16) {
  return MAJOR == Major::K
             ? ptx::wgmma_descriptor(address + k16 * 32, 0, ATOM, ptx::Swizzle::B128)
             : ptx::wgmma_descriptor(address + k16 * 16 * LINE, BOX, ATOM, ptx::Swizzle::B128);
}

template <Major MAJOR>
inline constexpr ptx::Major WGMMA_MAJOR = MAJOR == Major::K ? ptx::Major::K : ptx::Major::MN;

// ---- roles

template <class PLAN>
__device__ inline void produce(PLAN const& plan, Barriers bars, uint32_t ring) {
  using TILE = typename PLAN::Tile;
  using S = Sizes<TILE>;
  int const rank = rank_in_cluster<TILE::CLUSTER>();
  int64_t const all = plan.count();
  plan.prefetch();
  Turn<TILE::STAGES> turn;
  for (int64_t index = blockIdx.x / TILE::CLUSTER; index < all;
       index += gridDim.x / TILE::CLUSTER) {
    auto const work = plan.find(index);
    typename PLAN::Loader loader(plan, work, rank);
    for (int step = 0; step < work.steps; ++step, turn.next()) {
      // wait until free
      ptx::mbarrier_wait_parity(bars.empty_at(turn.stage), turn.parity ^ 1);
      // fill stage
      uint32_t const bar = bars.full_at(turn.stage);
      ptx::mbarrier_arrive_expect_tx(bar, S::STAGE_BYTES);
      loader.load(ring + turn.stage * S::STAGE_BYTES, bar);
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

// D of one warp, 16 rows of a piece from `first` on: sums[i] is
// (lane/4 + 8 (i/2 % 2), 8 (i/4) + 2 (lane%4) + i%2).
template <class PLAN>
__device__ inline void finish_rows(PLAN const& plan, typename PLAN::Work const& work,
                                   float const (&sums)[PLAN::Tile::BN / 2], float* staged,
                                   int first) {
  using S = Sizes<typename PLAN::Tile>;
  constexpr unsigned EVERY_LANE = 0xFFFFFFFF;
  constexpr int SLABS = PLAN::Tile::BN / S::SLAB;
  constexpr int WIDTH = 4;
  constexpr int ACROSS = S::SLAB / WIDTH;
  int const lane = static_cast<int>(threadIdx.x) % 32;
  int const column = lane % ACROSS * WIDTH;
  int64_t const own_row = plan.row(work, first + lane % 16);
#pragma unroll 1
  for (int slab = 0; slab < SLABS; ++slab) {
    // every slab spelled out, since registers cannot be counted through; one of them is this
#pragma unroll
    for (int s = 0; s < SLABS; ++s) {
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
    int64_t const n = plan.column(work, slab * S::SLAB + column);
#pragma unroll 1
    for (int r = lane / ACROSS; r < 16; r += 32 / ACROSS) {
      int64_t const row = __shfl_sync(EVERY_LANE, own_row, r);
      if (row >= 0) {
        finish(plan.epilogue(), row, n, load_vec<WIDTH>(staged + r * S::PITCH + column));
      }
    }
    __syncwarp();
  }
}

template <typename T, class PLAN>
__device__ inline void consume(PLAN const& plan, Barriers bars, uint32_t ring) {
  using TILE = typename PLAN::Tile;
  using S = Sizes<TILE>;
  int const group = static_cast<int>(threadIdx.x) / 128;
  int const warp = static_cast<int>(threadIdx.x) / 32;
  int const rank = rank_in_cluster<TILE::CLUSTER>();
  float* const staged = dynamic_shared<float>() + S::RING_BYTES / 4 + warp * S::WARP_FLOATS;
  int64_t const all = plan.count();
  Turn<TILE::STAGES> turn;
  for (int64_t index = blockIdx.x / TILE::CLUSTER; index < all;
       index += gridDim.x / TILE::CLUSTER) {
    auto const work = plan.find(index);
    float sums[TILE::BN / 2] = {};
    int before = -1;  // the stage that wgmma may still be reading
    for (int step = 0; step < work.steps; ++step, turn.next()) {
      // wait for stage
      ptx::mbarrier_wait_parity(bars.full_at(turn.stage), turn.parity);
      uint32_t const sA = ring + turn.stage * S::STAGE_BYTES + group * 64 * LINE;
      uint32_t const sB = ring + turn.stage * S::STAGE_BYTES + S::A_BYTES;
      // multiply
      ptx::wgmma_fence();
#pragma unroll
      for (int k16 = 0; k16 < BK / 16; ++k16) {
        ptx::wgmma_mma_async<T, WGMMA_MAJOR<PLAN::A_MAJOR>, WGMMA_MAJOR<PLAN::B_MAJOR>>(
            sums, describe<PLAN::A_MAJOR>(sA, k16), describe<PLAN::B_MAJOR>(sB, k16), true);
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
    finish_rows(plan, work, sums, staged, rank * TILE::BM + warp * 16);
  }
}

// ---- the body of a kernel, and its launch

template <typename T, class PLAN>
__device__ inline void multiply(PLAN const& plan) {
  using TILE = typename PLAN::Tile;
  auto& full = shared<uint64_t[TILE::STAGES], "full">();
  auto& empty = shared<uint64_t[TILE::STAGES], "empty">();
  uint32_t const ring = ptx::smem_u32(dynamic_shared<unsigned char>());
  Barriers const bars{ptx::smem_u32(full), ptx::smem_u32(empty)};
  if (threadIdx.x == 0) {
    for (int s = 0; s < TILE::STAGES; ++s) {
      ptx::mbarrier_init(bars.full_at(s), 1);
      ptx::mbarrier_init(bars.empty_at(s), CONSUMERS / 32 * TILE::CLUSTER);
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

  if (threadIdx.x < CONSUMERS) {
    ptx::setmaxnreg_inc<232>();
    consume<T>(plan, bars, ring);
  } else {
    ptx::setmaxnreg_dec<40>();
    if (threadIdx.x == CONSUMERS) produce(plan, bars, ring);
    __syncwarp();
  }

  // no CTA ends while its peer may still write or arrive here
  if constexpr (TILE::CLUSTER > 1) meet();
}

template <typename T>
inline constexpr CUtensorMapDataType MAP_DTYPE =
    std::is_same_v<T, __half> ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;

template <class PLAN>
void launch_plan(void (*kernel)(PLAN), cudaStream_t stream, PLAN const& plan) {
  using TILE = typename PLAN::Tile;
  int64_t const clusters = std::min<int64_t>(plan.count(), std::max(chip().sms / TILE::CLUSTER, 1));
  LaunchConfig const how{static_cast<unsigned>(clusters * TILE::CLUSTER), THREADS,
                         Sizes<TILE>::SMEM_BYTES, stream, TILE::CLUSTER};
  launch(kernel, how, plan);
}

}  // namespace pynn::gemm::sm90
