// gemm_sm80.cuh — D = epilogue(A B) on tensor cores through mma.sync: every GPU from Ampere on.
//
//   T = f16 | bf16, f32 rounded to tf32, or f32 as three bf16;  f32 sums;  NT, NN, TN;  any M, N, K
//   operands aligned to 16 bytes, lines too (ld a multiple of 8, tf32: 4); edges are predicated. Of 16
//   bits any others too, element by element, in the elements' tile
//
//   grid  one CTA per piece of work (gemm.cuh)
//   CTA   large: 128 x 128 of D, 8 warps as 2 x 4, 64 KB       K ──►
//         small:  64 x 64 of D,  4 warps as 2 x 2, 32 KB     ┌──┬──┬──┬──┐
//   warp  64 x 32 (small: 32 x 32) of D                    BM│s0│s1│s2│s3│  ring of STAGES = 4 in
//         = 4 x 4 (2 x 4) mma, 64 (32) sums a lane           └──┴──┴──┴──┘  shared memory,
//   lane  2 rows x 2 columns of each mma                     BK = 64 bytes  filled by cp.async
//                                                            of K           while mma reads
//
//   stage  lines of 16-byte chunks, as they lie in global memory: no operand is turned on its way.
//          Chunk c of line l goes to c ^ f(l), so that the stores of 8 lanes, and the 8 rows of an
//          ldmatrix, touch every bank once:
//            K-major         line = m or n, chunks of k   f = l/2 % 4    two lines fill the banks
//            MN-major        line = k, chunks of m or n   f = l % 8      ldmatrix.trans turns them
//            MN-major, tf32  the same                     f = 2 (l % 4)  lanes read words: ldmatrix
//                                                                        turns 16-bit elements only
//
//   for each BK of K   wait for the oldest stage; barrier; ask for the stage that it freed; read
//                      the fragments of the next row of mma while this row runs
//   epilogue           16 rows of the warp at a time through its own part of the ring (lines of
//                      WN + 8 floats: no bank conflict), then 4 neighbours a lane
//   sums of A's lines  by the warps that hold the first columns: one more mma for 16 rows, times a
//                      matrix of ones in column m and zeros elsewhere, so that the 4 (2) rows of
//                      mma of a warp share one accumulator
//   three bf16         x = x0 + x1 + x2, each rounded to nearest, the smallest 2^-17 of x at most.
//                      a0 b0 + a0 b1 + a1 b0 + a0 b2 + a1 b1 + a2 b0 leaves out at most 2^-24 of a
//                      product, and from sums of 4 on errs less than a chain of multiply-adds.
//                      Tensor cores round sums down: 16 of k are summed in one, then added to the
//                      rest as f32. A sum that is not finite is made again by multiply-adds, for
//                      the parts of inf, and of what rounds to it, are NaN.
//
//   bytes  sizeof(T) (MK N/BN + NK M/BM) from L2, at best MK + NK from HBM, and D    FLOPs 2 MNK
//   a k-step of a 64 x 32 warp tile: 6 ldmatrix.x4 for 16 mma (MN-major tf32: 4 words for each)
//   bound  tensor cores once M, N, K ≳ 1k; on sm_90 mma.sync reaches only part of what wgmma does;
//          three bf16: six mma for one, and 3 conversions of each element in every warp that reads it
//
//   CUTLASS, media/docs/efficient_gemm.md;  PTX ISA, "mma.m16n8k16", "ldmatrix", "cp.async";
//   Henry, Tang, Heinecke 2019, arXiv:1904.06376 (three bf16);  Ootomo, Yokota 2022, arXiv:2203.03341
//   (sums outside the tensor cores)
//
//   Over 400 lines: three kinds of operand and the mainloop that takes them, in the order of the ring

#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "common/shared.cuh"
#include "common/vec.cuh"

#include "arch/cp_async.cuh"
#include "arch/ldmatrix.cuh"
#include "arch/mma.cuh"

#include "kernels/gemm/gemm.cuh"
#include "kernels/gemm/variants.h"

namespace pynn::gemm {

struct LargeTile {
  static constexpr int BM = 128, BN = 128, WARPS_M = 2, WARPS_N = 4;
};
struct SmallTile {
  static constexpr int BM = 64, BN = 64, WARPS_M = 2, WARPS_N = 2;
};

// For stages that are filled element by element: more would not fit the registers.
struct ElementTile {
  static constexpr int BM = 64, BN = 64, WARPS_M = 4, WARPS_N = 2;
};

// An f32 that is multiplied as three bf16.
struct Triple {
  float value;
};

inline constexpr int SM80_STAGES = 4;
inline constexpr int SM80_BK_CHUNKS = 4;  // 64 bytes of K
inline constexpr int CHUNK = 16;          // bytes

// ---- one operand of one stage: EXTENT of m or n, BK of k

template <typename T, Major MAJOR, int EXTENT, int THREADS>
struct Sm80Operand {
  static constexpr int PER_CHUNK = CHUNK / sizeof(T);
  static constexpr int BK = SM80_BK_CHUNKS * PER_CHUNK;
  static constexpr int LINES = MAJOR == Major::K ? EXTENT : BK;
  static constexpr int CHUNKS = (MAJOR == Major::K ? BK : EXTENT) / PER_CHUNK;
  static constexpr int BYTES = LINES * CHUNKS * CHUNK;
  static constexpr int LOADS = LINES * CHUNKS / THREADS;
  static_assert(LOADS * THREADS == LINES * CHUNKS, "every thread fills as many chunks");

  // Where a chunk lies in the stage.
  __device__ static uint32_t place(int line, int chunk) {
    int const turned = CHUNKS < 8                             ? line / 2 % 4
                       : MAJOR == Major::MN && sizeof(T) == 4 ? line % 4 * 2
                                                              : line % 8;
    return static_cast<uint32_t>(line * CHUNKS + (chunk ^ turned)) * CHUNK;
  }

  // This thread's first chunk; the others follow STEP lines apart.
  static constexpr int STEP = THREADS / CHUNKS;
  static_assert(STEP % 8 == 0, "all chunks of a thread are turned alike");
  __device__ static int line() { return static_cast<int>(threadIdx.x) / CHUNKS; }
  __device__ static int chunk() { return static_cast<int>(threadIdx.x) % CHUNKS; }
  __device__ static int along() { return chunk() * PER_CHUNK; }  // elements into the line

  // Asks for the chunks of this thread; `ks` of k are left.
  template <class Source>
  __device__ static void fill(uint32_t stage, Source const& source, int ks) {
    uint32_t const to = stage + place(line(), chunk());
#pragma unroll
    for (int l = 0; l < LOADS; ++l) {
      Piece<T> const piece = source.at(l, ks);
      ptx::cp_async_cg_zfill(to + l * STEP * CHUNKS * CHUNK, piece.from, piece.inside ? CHUNK : 0);
    }
  }

  // Two 8 x 8 blocks along m or n, two along k; lane l gets element (l/4, l%4) of 32 bits of each:
  //   (mn, k) (mn + 8, k) (mn, k + half) (mn + 8, k + half)
  // mn = warp_mn + step_mn, warp_mn a multiple of 32; k in chunks; both from the stage's begin
  __device__ static void load(uint32_t (&r)[4], uint32_t stage, int warp_mn, int step_mn,
                              int k_chunk) {
    int const lane = static_cast<int>(threadIdx.x) % 32;
    int const mn = warp_mn + step_mn;
    if constexpr (MAJOR == Major::K) {
      ptx::ldmatrix_x4(r, stage + place(mn + lane % 16, k_chunk + lane / 16));
    } else if constexpr (sizeof(T) == 2) {
      int const k = k_chunk * PER_CHUNK + lane / 16 * 8 + lane % 8;
      ptx::ldmatrix_x4_trans(r, stage + place(k, mn / PER_CHUNK + lane / 8 % 2));
    } else {
      // place() with what differs between lanes apart from what differs between calls
      int const turned = lane % 4 * 2;
      int const column = (warp_mn / PER_CHUNK + lane / 16) * CHUNK + lane / 4 % 4 * int{sizeof(T)};
      uint32_t const begin = stage + lane % 4 * CHUNKS * CHUNK + column;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        int const line = (k_chunk + i / 2) * PER_CHUNK;
        int const chunk = (step_mn / PER_CHUNK + i % 2 * 2) ^ turned;
        r[i] = load_word(begin + line * CHUNKS * CHUNK + chunk * CHUNK);
      }
    }
    if constexpr (std::is_same_v<T, float>) {
#pragma unroll
      for (int i = 0; i < 4; ++i) r[i] = ptx::cvt_rna_tf32(__uint_as_float(r[i]));
    }
  }

  __device__ static uint32_t load_word(uint32_t address) {
    auto const* const words = dynamic_shared<uint32_t>();
    return words[(address - ptx::smem_u32(words)) / sizeof(uint32_t)];
  }
};

// The same stage filled element by element, where chunks do not begin at 16 bytes in global memory.
// Neighbours along a line are those of a warp; a thread's are STEP lines apart. All are loaded
// before the first is stored, and the barrier that a stage waits for is the mainloop's.
template <class OPERAND, typename T, Major MAJOR, int EXTENT, int THREADS>
struct Sm80Elements {
  static constexpr int BK = OPERAND::BK;
  static constexpr int ACROSS = MAJOR == Major::K ? BK : EXTENT;
  static constexpr int STEP = THREADS / ACROSS;
  static constexpr int LOADS = OPERAND::LINES / STEP;

  __device__ static int line() { return static_cast<int>(threadIdx.x) / ACROSS; }
  __device__ static int along() { return static_cast<int>(threadIdx.x) % ACROSS; }

  template <class Source>
  __device__ static void fill(uint32_t stage, Source const& source, int ks) {
    T elements[LOADS];
#pragma unroll
    for (int l = 0; l < LOADS; ++l) {
      Piece<T> const piece = source.at(l, ks);
      elements[l] = piece.inside ? *piece.from : T(0.f);
    }
    T* const ring = dynamic_shared<T>();
    constexpr int PER_CHUNK = OPERAND::PER_CHUNK;
    uint32_t const begin = (stage - ptx::smem_u32(ring)) / sizeof(T) + along() % PER_CHUNK;
#pragma unroll
    for (int l = 0; l < LOADS; ++l) {
      uint32_t const chunk = OPERAND::place(line() + l * STEP, along() / PER_CHUNK);
      ring[begin + chunk / sizeof(T)] = elements[l];
    }
  }
};

// What this thread asks for of a dense operand: chunk l lies STEP lines below the one before.
template <typename T, Major MAJOR, class TO>
struct Sm80Source {
  using Loading = TO;
  T const* next;
  int64_t ld;
  int64_t step;  // to the next stage
  int mns;       // of the tile, inside

  __device__ Sm80Source(Operand const& operand, Problem const& p, Work const& work, int64_t mn0,
                        int mns_inside)
      : next(operand.corner<T>(p.inner, work.z, mn0, work.k0) + TO::line() * operand.ld +
             TO::along()),
        ld(operand.ld),
        step(operand.step_k(TO::BK)),
        mns(mns_inside) {}

  __device__ Piece<T> at(int l, int ks) const {
    int const lines = MAJOR == Major::K ? mns : ks;
    int const columns = MAJOR == Major::K ? ks : mns;
    return {next + l * TO::STEP * ld, TO::line() + l * TO::STEP < lines && TO::along() < columns};
  }
  __device__ void advance() { next += step; }
};

template <typename T>
__device__ inline void mma(float (&d)[4], uint32_t const (&a)[4], uint32_t const (&b)[2]) {
  if constexpr (std::is_same_v<T, float>) {
    ptx::mma_m16n8k8_tf32(d, a, b);
  } else if constexpr (std::is_same_v<T, __half>) {
    ptx::mma_m16n8k16_f16(d, a, b);
  } else {
    ptx::mma_m16n8k16_bf16(d, a, b);
  }
}

// Two ones as an operand of mma.
template <typename T>
inline constexpr uint32_t ONES = std::is_same_v<T, float>    ? 0x3F800000
                                 : std::is_same_v<T, __half> ? 0x3C003C00
                                                             : 0x3F803F80;

// Two f32 as three pairs of bf16, each rounded to nearest; their sums are x and y.
__device__ inline void split(float x, float y, uint32_t& first, uint32_t& second, uint32_t& third) {
  auto const pack = [](float low, float high) {
    __nv_bfloat162 const pair = __floats2bfloat162_rn(low, high);
    return uint32_t{__bfloat16_as_ushort(pair.x)} | uint32_t{__bfloat16_as_ushort(pair.y)} << 16;
  };
  auto const low = [](uint32_t pair) { return __uint_as_float(pair << 16); };
  auto const high = [](uint32_t pair) { return __uint_as_float(pair & 0xFFFF0000); };
  first = pack(x, y);
  float const x1 = x - low(first);
  float const y1 = y - high(first);
  second = pack(x1, y1);
  third = pack(x1 - low(second), y1 - high(second));
}

// ---- sizes

template <typename T, Major A_MAJOR, Major B_MAJOR, class TILE>
struct Sm80 {
  static constexpr int THREADS = TILE::WARPS_M * TILE::WARPS_N * 32;
  using A = Sm80Operand<T, A_MAJOR, TILE::BM, THREADS>;
  using B = Sm80Operand<T, B_MAJOR, TILE::BN, THREADS>;
  static constexpr int BK = A::BK;
  static constexpr int WM = TILE::BM / TILE::WARPS_M;
  static constexpr int WN = TILE::BN / TILE::WARPS_N;
  static constexpr int MMA_M = WM / 16;  // mma down a warp's tile
  static constexpr int MMA_N = WN / 8;   // and across
  static constexpr int K_STEPS = SM80_BK_CHUNKS / 2;
  static constexpr int STAGE_BYTES = A::BYTES + B::BYTES;
  static constexpr int SMEM_BYTES = SM80_STAGES * STAGE_BYTES;
  static constexpr int PITCH = WN + 8;  // floats of a staged row
  static_assert(16 * PITCH * 4 * THREADS / 32 <= SMEM_BYTES, "the epilogue fits into the ring");
};

// ---- a tile

// The sums of one lane, and how they come about.
template <typename T, Major A_MAJOR, Major B_MAJOR, class TILE>
struct Sm80Sums {
  using S = Sm80<T, A_MAJOR, B_MAJOR, TILE>;
  float at[S::MMA_M][S::MMA_N][4] = {};
  float lines[4] = {};  // of A: of row m of mma in column m

  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ static int warp() { return static_cast<int>(threadIdx.x) / 32; }
  __device__ static int m_warp() { return warp() / TILE::WARPS_N * S::WM; }
  __device__ static int n_warp() { return warp() % TILE::WARPS_N * S::WN; }

  // Sums over `left` of K, which begin where the sources stand; of A's lines, too, if they are wanted
  // of this warp.
  template <class SourceA, class SourceB>
  __device__ void multiply(SourceA& a, SourceB& b, int64_t left, bool want_lines = false) {
    static_assert(SourceA::Loading::BK == S::BK, "a source fills stages of this ring");
    uint32_t const ring = ptx::smem_u32(dynamic_shared<unsigned char>());
    int const steps = static_cast<int>((left + S::BK - 1) / S::BK);
    int const last = static_cast<int>(left - int64_t{steps - 1} * S::BK);  // of the last, inside
    auto const fill = [&](int step) {
      if (step < steps) {
        uint32_t const stage = ring + step % SM80_STAGES * S::STAGE_BYTES;
        int const ks = step + 1 < steps ? S::BK : last;
        SourceA::Loading::fill(stage, a, ks);
        SourceB::Loading::fill(stage + S::A::BYTES, b, ks);
        a.advance();
        b.advance();
      }
      ptx::cp_async_commit_group();  // an empty one too: a step is a group
    };

    // fill all stages but one
#pragma unroll
    for (int s = 0; s < SM80_STAGES - 1; ++s) fill(s);

    for (int step = 0; step < steps; ++step) {
      // wait for stage
      ptx::cp_async_wait_group<SM80_STAGES - 2>();
      __syncthreads();  // of every thread; and all are done with the stage before
      fill(step + SM80_STAGES - 1);

      uint32_t const sA = ring + step % SM80_STAGES * S::STAGE_BYTES;
      uint32_t const sB = sA + S::A::BYTES;
      if constexpr (std::is_same_v<T, Triple>) {
        multiply_triples(sA, sB, want_lines);
      } else {
        multiply_stage(sA, sB, want_lines);
      }
    }
    ptx::cp_async_wait_group<0>();
    __syncthreads();
  }

  // Rows of mma, one after another, while the fragments of the next are on their way.
  __device__ void multiply_stage(uint32_t sA, uint32_t sB, bool want_lines) {
    uint32_t rA[2][4];
    uint32_t rB[2][S::MMA_N / 2][4];
    auto const load = [&](int row) {  // row = k_step x MMA_M + m
      int const k_step = row / S::MMA_M;
      if (row % S::MMA_M == 0) {
#pragma unroll
        for (int n = 0; n < S::MMA_N / 2; ++n) {
          S::B::load(rB[k_step % 2][n], sB, n_warp(), n * 16, k_step * 2);
        }
      }
      S::A::load(rA[row % 2], sA, m_warp(), row % S::MMA_M * 16, k_step * 2);
    };
    constexpr int ROWS = S::K_STEPS * S::MMA_M;
    load(0);
#pragma unroll
    for (int row = 0; row < ROWS; ++row) {
      if (row + 1 < ROWS) load(row + 1);
#pragma unroll
      for (int n = 0; n < S::MMA_N; ++n) {
        uint32_t const(&rB_now)[4] = rB[row / S::MMA_M % 2][n / 2];
        mma<T>(at[row % S::MMA_M][n], rA[row % 2], {rB_now[n % 2], rB_now[n % 2 + 2]});
      }
      if (want_lines) {
        uint32_t const one = ones(row % S::MMA_M);
        mma<T>(lines, rA[row % 2], {one, one});
      }
    }
  }

  // The whole stage is 16 of k: words (0, 4), (8, 12) of k are the pairs of a lane, of A and of B.
  __device__ void multiply_triples(uint32_t sA, uint32_t sB, bool want_lines) {
    uint32_t rB[S::MMA_N / 2][3][4];
#pragma unroll
    for (int n = 0; n < S::MMA_N / 2; ++n) load_triples<typename S::B>(rB[n], sB, n_warp(), n * 16);
#pragma unroll
    for (int m = 0; m < S::MMA_M; ++m) {
      uint32_t rA[3][4];
      load_triples<typename S::A>(rA, sA, m_warp(), m * 16);
#pragma unroll
      for (int n = 0; n < S::MMA_N; ++n) {
        float sums[4] = {};
#pragma unroll
        for (int product = 0; product < 6; ++product) {  // the smallest first
          constexpr int OF_A[] = {2, 1, 0, 1, 0, 0};
          constexpr int OF_B[] = {0, 1, 2, 0, 1, 0};
          uint32_t const(&rB_now)[4] = rB[n / 2][OF_B[product]];
          mma<T>(sums, rA[OF_A[product]], {rB_now[n % 2], rB_now[n % 2 + 2]});
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) at[m][n][i] += sums[i];
      }
      if (want_lines) {
        float sums[4] = {};
        uint32_t const one = ones(m);
#pragma unroll
        for (int piece = 2; piece >= 0; --piece) mma<T>(sums, rA[piece], {one, one});
#pragma unroll
        for (int i = 0; i < 4; ++i) lines[i] += sums[i];
      }
    }
  }

  template <class OPERAND>
  __device__ static void load_triples(uint32_t (&r)[3][4], uint32_t stage, int warp_mn,
                                      int step_mn) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t words[4];
      OPERAND::load(words, stage, warp_mn, step_mn, half * 2);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        int const to = half * 2 + i;
        split(__uint_as_float(words[i]), __uint_as_float(words[i + 2]), r[0][to], r[1][to],
              r[2][to]);
      }
    }
  }

  // Both registers of a B with ones in column m.
  __device__ static uint32_t ones(int m) { return lane() / 4 == m ? ONES<T> : 0; }

  // finish(m, sum) of the lines of A, m in the tile.
  template <class Finish>
  __device__ void each_line(Finish&& finish) const {
    int const first = lane() % 4 * 2;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (first + i % 2 < S::MMA_M) {
        finish(m_warp() + (first + i % 2) * 16 + i / 2 * 8 + lane() / 4, lines[i]);
      }
    }
  }

  // finish(m, n, vector) of 4 neighbours along n, m and n in the tile: 16 rows of the warp at a
  // time, through its own part of the ring.
  template <class Finish>
  __device__ void each(Finish&& finish) const {
    constexpr int WIDTH = 4;
    constexpr int ACROSS = S::WN / WIDTH;
    float* const staged = dynamic_shared<float>() + warp() * 16 * S::PITCH;
#pragma unroll
    for (int m = 0; m < S::MMA_M; ++m) {
#pragma unroll
      for (int n = 0; n < S::MMA_N; ++n) {
        float* const to = staged + lane() / 4 * S::PITCH + n * 8 + lane() % 4 * 2;
        store_vec<2>(to, Vec<float, 2>{at[m][n][0], at[m][n][1]});
        store_vec<2>(to + 8 * S::PITCH, Vec<float, 2>{at[m][n][2], at[m][n][3]});
      }
      __syncwarp();
#pragma unroll 1
      for (int i = lane(); i < 16 * ACROSS; i += 32) {
        int const row = i / ACROSS;
        int const column = i % ACROSS * WIDTH;
        finish(m_warp() + m * 16 + row, n_warp() + column,
               load_vec<WIDTH>(staged + row * S::PITCH + column));
      }
      __syncwarp();
    }
    __syncthreads();  // the next work fills the ring again
  }
};

// ---- sums of three bf16 that are not finite, by multiply-adds

// v, elements (m, n ... n + 3) of the tile, again where they are inf or NaN.
__device__ inline void make_finite(Problem const& p, Work const& work, int m, int n,
                                   Vec<float, 4>& v) {
  unsigned wrong = 0;  // a bit for each, since registers cannot be indexed
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (!std::isfinite(v.at[j]) && work.n0 + n + j < p.N) wrong |= 1u << j;
  }
#pragma unroll 1
  for (int j = 0; wrong >> j != 0; ++j) {
    if ((wrong >> j & 1) == 0) continue;
    float const* a = p.A.corner<float>(p.inner, work.z, work.m0 + m, work.k0);
    float const* b = p.B.corner<float>(p.inner, work.z, work.n0 + n + j, work.k0);
    float sum = 0.f;
    for (int64_t k = work.k0; k < work.k1; ++k, a += p.A.step_k(1), b += p.B.step_k(1)) {
      sum = fmaf(*a, *b, sum);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) v.at[i] = i == j ? sum : v.at[i];
  }
}

__device__ inline float add_line(Problem const& p, Work const& work, int m) {
  float const* a = p.A.corner<float>(p.inner, work.z, work.m0 + m, work.k0);
  float sum = 0.f;
  for (int64_t k = work.k0; k < work.k1; ++k, a += p.A.step_k(1)) sum += *a;
  return sum;
}

// ---- kernel

// How stages are filled.
template <typename T, Major A_MAJOR, Major B_MAJOR, class TILE>
struct Sm80Fill {
  using A = typename Sm80<T, A_MAJOR, B_MAJOR, TILE>::A;
  using B = typename Sm80<T, A_MAJOR, B_MAJOR, TILE>::B;
};
template <typename T, Major A_MAJOR, Major B_MAJOR>
struct Sm80Fill<T, A_MAJOR, B_MAJOR, ElementTile> {
  using S = Sm80<T, A_MAJOR, B_MAJOR, ElementTile>;
  using A = Sm80Elements<typename S::A, T, A_MAJOR, ElementTile::BM, S::THREADS>;
  using B = Sm80Elements<typename S::B, T, B_MAJOR, ElementTile::BN, S::THREADS>;
};

template <typename T, Major A_MAJOR, Major B_MAJOR, class TILE>
__global__ void __launch_bounds__(Sm80<T, A_MAJOR, B_MAJOR, TILE>::THREADS, sizeof(T) == 2 ? 2 : 1)
    gemm_sm80_kernel(__grid_constant__ Problem const p) {
  using S = Sm80<T, A_MAJOR, B_MAJOR, TILE>;
  using Fill = Sm80Fill<T, A_MAJOR, B_MAJOR, TILE>;
  int64_t const all = count_work<TILE::BM, TILE::BN>(p);

  for (int64_t index = blockIdx.x; index < all; index += gridDim.x) {
    Work const work = find_work<TILE::BM, TILE::BN, S::BK>(p, index);
    int const ms = static_cast<int>(min(int64_t{TILE::BM}, p.M - work.m0));
    int const ns = static_cast<int>(min(int64_t{TILE::BN}, p.N - work.n0));
    Sm80Source<T, A_MAJOR, typename Fill::A> a(p.A, p, work, work.m0, ms);
    Sm80Source<T, B_MAJOR, typename Fill::B> b(p.B, p, work, work.n0, ns);
    Sm80Sums<T, A_MAJOR, B_MAJOR, TILE> sums;
    bool want_lines = false;
    if constexpr (A_MAJOR == Major::MN) {
      want_lines = p.epilogue.sums != nullptr && work.n0 + sums.n_warp() == 0;
    }
    sums.multiply(a, b, work.k1 - work.k0, want_lines);
    if (want_lines) {
      sums.each_line([&](int m, float sum) {
        if (m >= ms) return;
        if (std::is_same_v<T, Triple> && !std::isfinite(sum)) sum = add_line(p, work, m);
        finish_sum(p.epilogue, work.row + m, sum);
      });
    }
    sums.each([&](int m, int n, Vec<float, 4> v) {
      if (m >= ms) return;
      if constexpr (std::is_same_v<T, Triple>) make_finite(p, work, m, n, v);
      finish(p.epilogue, work.row + m, work.n0 + n, v);
    });
  }
}

// ---- launch

template <typename T, Major A_MAJOR, Major B_MAJOR, class TILE>
void launch_sm80(cudaStream_t stream, Problem const& p) {
  using S = Sm80<T, A_MAJOR, B_MAJOR, TILE>;
  launch(gemm_sm80_kernel<T, A_MAJOR, B_MAJOR, TILE>, grid_of(count_work<TILE::BM, TILE::BN>(p)),
         S::THREADS, S::SMEM_BYTES, stream, p);
}

template <typename T, class TILE>
void launch_sm80_layout(cudaStream_t stream, Problem const& p) {
  if (p.A.major == Major::MN) return launch_sm80<T, Major::MN, Major::MN, TILE>(stream, p);
  if (p.B.major == Major::MN) return launch_sm80<T, Major::K, Major::MN, TILE>(stream, p);
  launch_sm80<T, Major::K, Major::K, TILE>(stream, p);
}

template <typename T>
void run_sm80(cudaStream_t stream, Problem const& p, Tile tile) {
  if (tile == Tile::large) return launch_sm80_layout<T, LargeTile>(stream, p);
  launch_sm80_layout<T, SmallTile>(stream, p);
}

}  // namespace pynn::gemm
