// mainloop_sm90.cuh — products on Hopper: TMA fills a ring, two warpgroups multiply by wgmma.
//
//   D = epilogue(A B), T = f16 | bf16, or K-major tf32 | e4m3 | e5m2, f32 sums. Which product it
//   is, where A and B come from and where D goes is said by a plan; a kernel is one plan, and
//   multiply<T>(plan) by every thread.
//
//   grid     persistent: one CTA per multiprocessor, each takes pieces of work in turn
//   tile     wide:   128 x 256 of D, 4 stages of 48 KB, cluster of 2      BN ──►
//            medium: 128 x 192 of D, 5 stages of 40 KB, cluster of 2   ┌────────────┐
//            square: 128 x 128 of D, 6 stages of 32 KB, no cluster     │ warpgroup 0│ 64 rows
//            narrow: 128 x  64 of D, 8 stages of 24 KB, no cluster     │ warpgroup 1│ 64 rows
//   cluster  one tile above the other: half of B from each CTA,   CTA 0├────────────┤
//            multicast to both, so B crosses L2 once for two tiles     │            │
//   CTA      3 warpgroups of 128 threads                          CTA 1│     ...    │
//              0, 1  consumers, 64 x BN of D each, BN/2 sums           └────────────┘
//              2     one thread of it produces, with 40 registers
//
//   stage    A 128 x 64 and B BN x 64 (128 bytes of K: 64, tf32 32, fp8 128), swizzle of 128 bytes
//              K-major   lines of k, 8 to an atom of 1024 bytes       K + 16: 32 bytes on
//              MN-major  boxes of 64 m or n x 64 k, 8 KB each         K + 16: 2048 bytes on
//            wgmma reads both majors of 16 bits: no operand is turned
//   full[s]  1 arrival and the stage's bytes, the peer's half of B among them
//   empty[s] an arrival of each consumer warp of the cluster: a load also writes to the peer
//
//   consumers  wait for stage; 4 wgmma m64 n(BN) k16; with them under way, release the stage before
//   epilogue   meanwhile the producer fills stages of the next tile; D leaves each warp, 16 rows,
//              through shared memory of its own
//                boxes   D of 16 bits where nothing else is read or written: 64 columns at a time
//                        are finished and rounded in registers, laid by stmatrix into a box of 16
//                        lines, 128-byte swizzle, and stored by TMA while the next are made; the last
//                        box is still on its way when the next tile begins
//                vectors all else: 32 columns of f32 at a time, then 4 neighbours a lane
//
//   a plan     Tile, A_MAJOR, B_MAJOR, Work, Loader
//     count()          pieces of work: a tile of D each, CLUSTER tiles for a cluster
//     find(index)      a piece, as a Work: `steps` stages, -1 for no piece, and what the plan
//                      remembers of it
//     row(work, m)     where row m of the piece is in D, or -1: nowhere
//     column(work, n)  where column n is, or the epilogue's N: nowhere; 4 neighbours stay together
//     epilogue(work)   epilogue.cuh
//     Moments          if it has such: told of the elements as they are stored, 32 columns of this
//                      warp at a time; its part of shared memory has room behind MOMENTS_AT
//     wants_sums(work) whether to sum the lines of A over k as well, by one more wgmma, of 8 columns
//                      times ones; asked where SUMS_A is true
//     stores(work)     whether D leaves in boxes, and then store(work, m, n, box): a box of 16 rows
//                      from m and 64 columns from n on, at their place; asked where BOXES is true
//     prefetch()       its tensor maps
//     Loader(plan, work, rank), load(stage, bar)     the loads by this CTA of one stage after another
//
//   registers  consumers 232, producer 40 (setmaxnreg): 256 x 232 + 128 x 40 <= 65,536
//   bound      tensor cores; shared memory reads: 64 x 256 x 16 takes (64 + 256) 32 bytes for 128
//              clocks of tensor core: 80 of 128 bytes a clock; 64 x 128: 96, 64 x 64: 128
//
//   PTX ISA, "wgmma.mma_async", "cp.async.bulk.tensor", "mbarrier";  CUTLASS, sm90 warp-specialized
//   persistent kernels;  DeepGEMM, sm90 bf16;  fast.cu (stmatrix, TMA stores)
//
//   Over 400 lines: the roles of one kernel and the two ways its results leave, in their order

#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "common/chip.h"
#include "common/launch.h"
#include "common/shared.cuh"
#include "common/vec.cuh"

#include "arch/cluster.cuh"
#include "arch/ldmatrix.cuh"
#include "arch/mbarrier.cuh"
#include "arch/tma.cuh"
#include "arch/wgmma.cuh"

#include "kernels/gemm/epilogue.cuh"
#include "kernels/gemm/gemm.cuh"

namespace pynn::gemm::sm90 {

struct WideTile {
  static constexpr int BM = 128, BN = 256, CLUSTER = 2, STAGES = 4;
};
struct MediumTile {
  static constexpr int BM = 128, BN = 192, CLUSTER = 2, STAGES = 5;
};
struct SquareTile {
  static constexpr int BM = 128, BN = 128, CLUSTER = 1, STAGES = 6;
};
struct NarrowTile {
  static constexpr int BM = 128, BN = 64, CLUSTER = 1, STAGES = 8;
};

inline constexpr int LINE = 128;  // bytes
inline constexpr int BK = 64;     // of 16-bit types
template <typename T>
inline constexpr int BK_OF = LINE / sizeof(T);
inline constexpr int K_STEPS = LINE / 32;  // wgmma take 32 bytes of K
inline constexpr int BOX = 64 * LINE;      // 64 lines
inline constexpr int ATOM = 8 * LINE;      // 8 lines, the period of the swizzle
inline constexpr int CONSUMERS = 256;
inline constexpr int THREADS = CONSUMERS + 128;
inline constexpr int MOST_BYTES = 226 << 10;  // of 227 KB; barriers have the rest

template <class TILE>
struct Sizes {
  static constexpr int A_BYTES = TILE::BM * LINE;
  static constexpr int B_BYTES = TILE::BN * LINE;
  static constexpr int STAGE_BYTES = A_BYTES + B_BYTES;
  static constexpr int CLUSTER_BM = TILE::BM * TILE::CLUSTER;
  static constexpr int RING_BYTES = TILE::STAGES * STAGE_BYTES;
  static constexpr int BOXES = TILE::BN % 128 == 0 ? 2 : 1;  // of each warp, in turn
  static constexpr int SLAB = 32;         // columns of a warp's 16 rows of floats
  static constexpr int PITCH = SLAB + 8;  // floats of a row: no bank conflict
  static constexpr int WARP_BYTES =
      RING_BYTES + (CONSUMERS / 32 * 4 + 1) * ATOM <= MOST_BYTES ? 4 * ATOM : 3 * ATOM;
  static constexpr int MOMENTS_AT = 16 * PITCH * 4;  // of a warp's part, behind the floats
  static constexpr int ONES_AT = RING_BYTES + CONSUMERS / 32 * WARP_BYTES;  // an atom of them
  static constexpr int SMEM_BYTES = ONES_AT + ATOM;
  static_assert(MOMENTS_AT < WARP_BYTES, "floats of 16 rows fit a warp's part");
  static_assert(SMEM_BYTES <= MOST_BYTES, "a CTA has so much");
};

template <class PLAN>
inline constexpr bool SUMS_A = requires { requires PLAN::SUMS_A; };
template <class PLAN>
inline constexpr bool BOXES = requires { requires PLAN::BOXES; };

// What a plan without Moments does.
struct NoMoments {
  template <class PLAN>
  __device__ explicit NoMoments(PLAN const&) {}
  template <class V>
  __device__ void add(V const&) {}
  template <class PLAN>
  __device__ void put(PLAN const&, typename PLAN::Work const&, int) {}
};

template <class PLAN>
struct MomentsOf {
  using Type = NoMoments;
};
template <class PLAN>
  requires requires { typename PLAN::Moments; }
struct MomentsOf<PLAN> {
  using Type = typename PLAN::Moments;
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
  __device__ int before() const { return stage == 0 ? STAGES - 1 : stage - 1; }
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

// Descriptor of step `k` of K, 32 bytes (MN: 16 lines), of lines that begin at `address`.
template <Major MAJOR>
__device__ inline uint64_t describe(uint32_t address, int k) {
  return MAJOR == Major::K
             ? ptx::wgmma_descriptor(address + k * 32, 0, ATOM, ptx::Swizzle::B128)
             : ptx::wgmma_descriptor(address + k * 16 * LINE, BOX, ATOM, ptx::Swizzle::B128);
}

template <typename T>
using WgmmaType = std::conditional_t<std::is_same_v<T, float>, ptx::tf32, T>;

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

// The sums of A's lines of one warp: line_sums[2 i] is that of row lane/4 + 8 i.
template <class PLAN>
__device__ inline void finish_sums(PLAN const& plan, typename PLAN::Work const& work,
                                   float const (&line_sums)[4], int first) {
  int const lane = static_cast<int>(threadIdx.x) % 32;
  if (lane % 4 != 0) return;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    int64_t const row = plan.row(work, first + lane / 4 + i * 8);
    if (row >= 0) finish_sum(plan.epilogue(work), row, line_sums[i * 2]);
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
  unsigned most = 0;
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
    typename MomentsOf<PLAN>::Type moments(plan);
#pragma unroll 1
    for (int r = lane / ACROSS; r < 16; r += 32 / ACROSS) {
      int64_t const row = __shfl_sync(EVERY_LANE, own_row, r);
      if (row >= 0) {
        Vec<float, WIDTH> const sums_here = load_vec<WIDTH>(staged + r * S::PITCH + column);
        Vec<float, WIDTH> const stored = finish(plan.epilogue(work), row, n, sums_here);
        moments.add(stored);
        most = greatest(plan.epilogue(work), n, stored, most);
      }
    }
    __syncwarp();
    moments.put(plan, work, slab * S::SLAB);
  }
  finish_amax(plan.epilogue(work), most);
}

// Two numbers, rounded, as one word.
template <typename T>
__device__ inline uint32_t pack(float low, float high) {
  if constexpr (std::is_same_v<T, __half>) {
    __half2 const pair = __floats2half2_rn(low, high);
    return uint32_t{__half_as_ushort(pair.x)} | uint32_t{__half_as_ushort(pair.y)} << 16;
  } else {
    __nv_bfloat162 const pair = __floats2bfloat162_rn(low, high);
    return uint32_t{__bfloat16_as_ushort(pair.x)} | uint32_t{__bfloat16_as_ushort(pair.y)} << 16;
  }
}

// The same in boxes of 16 rows x 64 columns of T. Lane 8 i + r of stmatrix points at row r of its
// matrix i: rows 0 and 8 of 8 columns, then of the next 8.
template <typename T, class PLAN>
__device__ inline void store_rows(PLAN const& plan, typename PLAN::Work const& work,
                                  float const (&sums)[PLAN::Tile::BN / 2], uint32_t boxes,
                                  int first) {
  using S = Sizes<typename PLAN::Tile>;
  constexpr int COLUMNS = LINE / sizeof(T);
  constexpr int SLABS = PLAN::Tile::BN / COLUMNS;
  static_assert(SLABS % S::BOXES == 0, "a piece begins with the first box");
  if (plan.row(work, first) < 0) return;
  int const lane = static_cast<int>(threadIdx.x) % 32;
  uint32_t const line = (lane % 8 + lane / 8 % 2 * 8) * LINE;
  Epilogue const& e = plan.epilogue(work);
  unsigned most = 0;
#pragma unroll 1
  for (int slab = 0; slab < SLABS; ++slab) {
    float v[COLUMNS / 2];
#pragma unroll
    for (int s = 0; s < SLABS; ++s) {  // spelled out, as above
      if (s != slab) continue;
#pragma unroll
      for (int i = 0; i < COLUMNS / 2; ++i) v[i] = sums[s * (COLUMNS / 2) + i];
    }
    int64_t const n = plan.column(work, slab * COLUMNS) + lane % 4 * 2;
    finish_fragment<T>(e, n, v);
    if (e.amax != nullptr) {
      bool const inside[] = {plan.row(work, first + lane / 4) >= 0,
                             plan.row(work, first + lane / 4 + 8) >= 0};
#pragma unroll
      for (int i = 0; i < COLUMNS / 2; ++i) {
        if (inside[i / 2 % 2] && n + i / 4 * 8 < e.N) most = greatest(most, v[i]);
      }
    }

    // wait until the box was read
    uint32_t const box = boxes + slab % S::BOXES * 2 * ATOM;
    if (lane == 0) ptx::cp_async_bulk_wait_group_read<S::BOXES - 1>();
    __syncwarp();
    // fill box
#pragma unroll
    for (int chunk = 0; chunk < LINE / 16; chunk += 2) {
      uint32_t words[4];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        words[i] = pack<T>(v[chunk * 4 + i * 2], v[chunk * 4 + i * 2 + 1]);
      ptx::stmatrix_x4(box + line + ((chunk + lane / 16) ^ lane % 8) * 16, words);
    }
    // store box
    ptx::fence_proxy_async_shared();
    __syncwarp();
    if (lane == 0) {
      plan.store(work, first, slab * COLUMNS, box);
      ptx::cp_async_bulk_commit_group();
    }
  }
  finish_amax(e, __float_as_uint(static_cast<float>(static_cast<T>(__uint_as_float(most)))));
}

// The sums of one piece of work; with SUMS, of the lines of A too: columns of ones, all alike. A
// function for each, for wgmma in a branch of the loop would be serialized.
template <typename T, class PLAN, bool SUMS>
__device__ inline void multiply_steps(float (&sums)[PLAN::Tile::BN / 2], float (&line_sums)[4],
                                      Turn<PLAN::Tile::STAGES>& turn, int steps, Barriers bars,
                                      uint32_t ring) {
  using TILE = typename PLAN::Tile;
  using S = Sizes<TILE>;
  constexpr ptx::Major A_MAJOR = WGMMA_MAJOR<PLAN::A_MAJOR>;
  constexpr ptx::Major B_MAJOR = WGMMA_MAJOR<PLAN::B_MAJOR>;
  int const group = static_cast<int>(threadIdx.x) / 128;
  for (int step = 0; step < steps; ++step, turn.next()) {
    // wait for stage
    ptx::mbarrier_wait_parity(bars.full_at(turn.stage), turn.parity);
    uint32_t const sA = ring + turn.stage * S::STAGE_BYTES + group * 64 * LINE;
    uint32_t const sB = ring + turn.stage * S::STAGE_BYTES + S::A_BYTES;
    // multiply
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < K_STEPS; ++k) {
      ptx::wgmma_mma_async<WgmmaType<T>, A_MAJOR, B_MAJOR>(sums, describe<PLAN::A_MAJOR>(sA, k),
                                                           describe<PLAN::B_MAJOR>(sB, k), true);
      if constexpr (SUMS) {
        ptx::wgmma_mma_async<T, A_MAJOR>(line_sums, describe<PLAN::A_MAJOR>(sA, k),
                                         describe<Major::K>(ring + S::ONES_AT, 0), true);
      }
    }
    ptx::wgmma_commit_group();
    // release the stage before
    ptx::wgmma_wait_group<1>();
    if (step > 0) release<TILE::CLUSTER>(bars.empty_at(turn.before()));
  }
  ptx::wgmma_wait_group<0>();
  ptx::wgmma_keep(sums);
  if constexpr (SUMS) ptx::wgmma_keep(line_sums);
  if (steps > 0) release<TILE::CLUSTER>(bars.empty_at(turn.before()));
}

template <typename T, class PLAN>
__device__ inline void consume(PLAN const& plan, Barriers bars, uint32_t ring) {
  using TILE = typename PLAN::Tile;
  using S = Sizes<TILE>;
  auto const warp = [] { return static_cast<int>(threadIdx.x) / 32; };
  auto const first = [&] { return rank_in_cluster<TILE::CLUSTER>() * TILE::BM + warp() * 16; };
  Turn<TILE::STAGES> turn;
  for (int64_t index = blockIdx.x / TILE::CLUSTER; index < plan.count();
       index += gridDim.x / TILE::CLUSTER) {
    auto const work = plan.find(index);
    if (work.steps < 0) continue;
    float sums[TILE::BN / 2] = {};
    bool wants_sums = false;
    if constexpr (SUMS_A<PLAN>) wants_sums = plan.wants_sums(work);
    if (wants_sums) {
      float line_sums[4] = {};
      multiply_steps<T, PLAN, SUMS_A<PLAN>>(sums, line_sums, turn, work.steps, bars, ring);
      finish_sums(plan, work, line_sums, first());
    } else {
      float none[4];
      multiply_steps<T, PLAN, false>(sums, none, turn, work.steps, bars, ring);
    }
    int const own = S::RING_BYTES + warp() * S::WARP_BYTES;
    if constexpr (BOXES<PLAN>) {
      if (plan.stores(work)) {
        if constexpr (sizeof(T) == 2) {
          store_rows<T>(plan, work, sums, ring + own, first());
        } else if (plan.epilogue(work).dtype == DType::f16) {
          store_rows<__half>(plan, work, sums, ring + own, first());
        } else {
          store_rows<__nv_bfloat16>(plan, work, sums, ring + own, first());
        }
        continue;
      }
      // wait until the boxes of the piece before were read: floats go where they lie
      ptx::cp_async_bulk_wait_group_read<0>();
      __syncwarp();
    }
    finish_rows(plan, work, sums, dynamic_shared<float>() + own / 4, first());
  }
  // no CTA ends while its boxes are read
  if constexpr (BOXES<PLAN>) ptx::cp_async_bulk_wait_group_read<0>();
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
  if constexpr (SUMS_A<PLAN>) {
    constexpr int SIZE = ATOM / sizeof(T);
    T* const ones = dynamic_shared<T>() + Sizes<TILE>::ONES_AT / sizeof(T);
    for (int i = static_cast<int>(threadIdx.x); i < SIZE; i += THREADS) ones[i] = T(1.f);
    ptx::fence_proxy_async();
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
    std::is_same_v<T, float>    ? CU_TENSOR_MAP_DATA_TYPE_TFLOAT32
    : sizeof(T) == 1            ? CU_TENSOR_MAP_DATA_TYPE_UINT8
    : std::is_same_v<T, __half> ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;

template <class PLAN>
void launch_plan(void (*kernel)(PLAN), cudaStream_t stream, PLAN const& plan) {
  using TILE = typename PLAN::Tile;
  int64_t const clusters = std::min<int64_t>(plan.count(), std::max(chip().sms / TILE::CLUSTER, 1));
  LaunchConfig const how{static_cast<unsigned>(clusters * TILE::CLUSTER), THREADS,
                         Sizes<TILE>::SMEM_BYTES, stream, TILE::CLUSTER};
  launch(kernel, how, plan);
}

}  // namespace pynn::gemm::sm90
