// gemm_simt.cuh — D = epilogue(A B), one multiply-add at a time: any GPU, shape and alignment.
//
//   T = f32 | f16 | bf16 | fp8 with f32 sums, f64 with f64 sums;  NT, NN, TN;  any M, N, K
//   fp8: A and B may be of different formats; amax is brought
//
//   grid    one CTA per piece of work (gemm.cuh)
//   CTA     256 threads as 16 x 16, a TILE x TILE tile of D           n0 ──► TILE
//   thread  V x V elements in each quarter of the tile            m0 ┌────┬────┐
//           (V = 4: 64 sums at TILE 128, 16 at TILE 64), so that     │ ▪  │ ▪  │
//           its 16 lanes read 16 V neighbours of a line of B         ├────┼────┤
//                                                                    │ ▪  │ ▪  │
//   for each BK (8, 16) of K                                         └────┴────┘
//     fetch  the next A and B tiles into registers, WIDTH elements a load, along whichever axis is
//            contiguous; an element outside is 0
//     sum    BK outer products of vectors of A[k][m] and B[k][n]
//     put    what was fetched into the other of two buffers; one barrier
//
//   A and B lie k by k in shared memory, so a K-major operand is turned on its way in. Lines are
//   padded by 16 bytes. An element of D is one chain of fused multiply-adds in each split, k
//   ascending; of f32 in tiles of 64, which have registers left, it is a sum of chains of 32.
//
//   WIDTH   4 elements (f64: 2) where both operands are aligned to it, 1 otherwise
//   bytes   sizeof(T) (MK N/TILE + NK M/TILE) from L2, at best MK + NK from HBM, and D
//   FLOPs   2 MNK
//   bound   TILE 128: the FMA pipe, 4 shared loads for 64 multiply-adds;  TILE 64: shared memory,
//           2 for 16
//
//   Volkov, Demmel 2008, "Benchmarking GPUs to tune dense linear algebra";  Boehm 2022, "How to
//   optimize a CUDA matmul kernel for cuBLAS-like performance"

#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include "common/shared.cuh"
#include "common/vec.cuh"

#include "kernels/gemm/gemm.cuh"

namespace pynn::gemm {

inline constexpr int SIMT_THREADS = 256;
inline constexpr int SIMT_EDGE = 16;  // threads along each side of a tile

__device__ inline float multiply_add(float a, float b, float c) {
  return fmaf(a, b, c);
}
__device__ inline double multiply_add(double a, double b, double c) {
  return fma(a, b, c);
}

// A tile of one operand, BK of k by TILE of m or n, on its way from global memory.
template <typename T, int WIDTH, int TILE>
struct SimtTile {
  using V = std::conditional_t<std::is_same_v<T, double>, double, float>;
  static constexpr int BK = TILE == 128 ? 8 : 16;
  static constexpr int PITCH = TILE + VEC_BYTES / int{sizeof(V)};
  static constexpr int LOADS = TILE * BK / WIDTH / SIMT_THREADS;
  using Shared = V[BK][PITCH];

  Vec<T, WIDTH> loads[LOADS];

  // Load l of this thread: WIDTH elements of a line, which runs along the contiguous axis.
  struct Place {
    int line;
    int along;
  };
  __device__ static Place place(Major major, int l) {
    int const i = static_cast<int>(threadIdx.x) + l * SIMT_THREADS;
    if (major == Major::K) return {i / (BK / WIDTH), i % (BK / WIDTH) * WIDTH};
    return {i / (TILE / WIDTH), i % (TILE / WIDTH) * WIDTH};
  }

  // `ks` of k are left.
  template <class Source>
  __device__ void fetch(Source const& source, int ks) {
#pragma unroll
    for (int l = 0; l < LOADS; ++l) {
      Piece<T> const piece = source.at(l, ks);
      loads[l] = {};
      if (piece.inside) loads[l] = load_vec<WIDTH>(piece.from);
    }
  }

  __device__ void put(Major major, Shared& s) const {
#pragma unroll
    for (int l = 0; l < LOADS; ++l) {
      Place const at = place(major, l);
#pragma unroll
      for (int i = 0; i < WIDTH; ++i) {
        V& to = major == Major::K ? s[at.along + i][at.line] : s[at.line][at.along + i];
        to = static_cast<V>(loads[l].at[i]);
      }
    }
  }
};

// Two buffers of both operands; afterwards, what each thread is about to finish.
template <typename T, int WIDTH, int TILE>
union SimtSmem {
  using Tile = SimtTile<T, WIDTH, TILE>;
  using V = typename Tile::V;
  static constexpr int VEC = VEC_BYTES / sizeof(V);  // elements of one shared load
  static constexpr int QUARTER = SIMT_EDGE * VEC;    // from one piece of a thread to its next
  static constexpr int PIECES = TILE / QUARTER;      // along each side

  struct {
    typename Tile::Shared A[2];  // k, m
    typename Tile::Shared B[2];  // k, n
  };
  Vec<V, VEC> staged[VEC][PIECES][SIMT_THREADS];
};

// What the loads of a tile of a dense operand read.
template <typename T, int WIDTH, int TILE>
struct SimtSource {
  using Loads = SimtTile<T, WIDTH, TILE>;
  T const* corner;
  int64_t ld;
  int64_t step;  // to the next tile along k
  int mns;       // lines or columns of it inside
  Major major;

  __device__ SimtSource(Operand const& operand, Problem const& p, Work const& work, int64_t mn0,
                        int64_t extent)
      : corner(operand.corner<T>(p.inner, work.z, mn0, work.k0)),
        ld(operand.ld),
        step(operand.step_k(Loads::BK)),
        mns(static_cast<int>(min(int64_t{TILE}, extent - mn0))),
        major(operand.major) {}

  __device__ Piece<T> at(int l, int ks) const {
    auto const [line, along] = Loads::place(major, l);
    bool const k_major = major == Major::K;
    bool const inside = (k_major ? along : line) < ks && (k_major ? line : along) < mns;
    return {corner + line * ld + along, inside};
  }
  __device__ void advance() { corner += step; }
};

template <class Source>
using ElementOf = std::remove_cvref_t<decltype(*std::declval<Source const&>().at(0, 0).from)>;

// The sums of one thread, in vectors of neighbours along n, and where they lie in the tile.
template <typename T, int WIDTH, int TILE>
struct SimtSums {
  using Smem = SimtSmem<T, WIDTH, TILE>;
  using V = typename Smem::V;
  static constexpr int VEC = Smem::VEC;
  static constexpr int QUARTER = Smem::QUARTER;
  static constexpr int PIECES = Smem::PIECES;
  static constexpr int BK = Smem::Tile::BK;

  Vec<V, VEC> at[PIECES][VEC][PIECES] = {};  // m, n

  __device__ static int x() { return static_cast<int>(threadIdx.x) % SIMT_EDGE * VEC; }
  __device__ static int y() { return static_cast<int>(threadIdx.x) / SIMT_EDGE * VEC; }

  // Sums over `left` of K. With PART, every PART tiles along k are summed by themselves and then
  // added: roundings grow as the root of BK PART and of K / (BK PART), not of K.
  template <int PART, class SourceA, class SourceB>
  __device__ void multiply(Smem& smem, SourceA& source_a, SourceB& source_b, int64_t left) {
    Vec<V, VEC> part[PIECES][VEC][PIECES] = {};
    auto& sums = PART > 0 ? part : at;
    SimtTile<ElementOf<SourceA>, WIDTH, TILE> a;
    SimtTile<ElementOf<SourceB>, WIDTH, TILE> b;
    auto const fetch = [&] {
      int const ks = static_cast<int>(min(int64_t{BK}, left));
      a.fetch(source_a, ks);
      b.fetch(source_b, ks);
    };

    // first tiles
    fetch();
    a.put(source_a.major, smem.A[0]);
    b.put(source_b.major, smem.B[0]);
    __syncthreads();

    for (int step = 0; left > 0; ++step) {
      int const buffer = step % 2;
      // fetch next
      left -= BK;
      if (left > 0) {
        source_a.advance();
        source_b.advance();
        fetch();
      }

      // sum outer products
#pragma unroll
      for (int i = 0; i < BK; ++i) {
        Vec<V, VEC> rA[PIECES];
        Vec<V, VEC> rB[PIECES];
#pragma unroll
        for (int q = 0; q < PIECES; ++q) {
          rA[q] = load_vec<VEC>(&smem.A[buffer][i][q * QUARTER + y()]);
          rB[q] = load_vec<VEC>(&smem.B[buffer][i][q * QUARTER + x()]);
        }
#pragma unroll
        for (int m = 0; m < PIECES * VEC; ++m) {
#pragma unroll
          for (int n = 0; n < PIECES * VEC; ++n) {
            V& sum = sums[m / VEC][m % VEC][n / VEC].at[n % VEC];
            sum = multiply_add(rA[m / VEC].at[m % VEC], rB[n / VEC].at[n % VEC], sum);
          }
        }
      }

      // add part
      if constexpr (PART > 0) {
        if (step % PART == PART - 1 || left <= 0) {
#pragma unroll
          for (int i = 0; i < PIECES * VEC * PIECES * VEC; ++i) {
            int const m = i / (PIECES * VEC);
            int const n = i % (PIECES * VEC);
            at[m / VEC][m % VEC][n / VEC].at[n % VEC] +=
                part[m / VEC][m % VEC][n / VEC].at[n % VEC];
            part[m / VEC][m % VEC][n / VEC].at[n % VEC] = 0;
          }
        }
      }

      // put next
      if (left > 0) {
        a.put(source_a.major, smem.A[buffer ^ 1]);
        b.put(source_b.major, smem.B[buffer ^ 1]);
      }
      __syncthreads();
    }
  }

  // finish(m, n, vector) of each vector, m and n in the tile: through shared memory, so that a loop
  // can count through what were registers.
  template <class Finish>
  __device__ void each(Smem& smem, Finish&& finish) const {
#pragma unroll
    for (int q = 0; q < PIECES; ++q) {
#pragma unroll
      for (int i = 0; i < VEC * PIECES; ++i) {
        smem.staged[i / PIECES][i % PIECES][threadIdx.x] = at[q][i / PIECES][i % PIECES];
      }
#pragma unroll 1
      for (int i = 0; i < VEC * PIECES; ++i) {
        finish(q * QUARTER + y() + i / PIECES, i % PIECES * QUARTER + x(),
               smem.staged[i / PIECES][i % PIECES][threadIdx.x]);
      }
    }
    __syncthreads();
  }
};

// CTAs on a multiprocessor, as registers allow.
template <typename T, int WIDTH, int TILE>
inline constexpr int SIMT_CTAS = sizeof(T) == 8                ? 1
                                 : TILE == 128                 ? (sizeof(T) == 4 ? 2 : 1)
                                 : WIDTH < 4 || sizeof(T) == 4 ? 2
                                                               : 3;

template <typename T, int WIDTH, int TILE, typename T_B = T>
__global__ void __launch_bounds__(SIMT_THREADS, SIMT_CTAS<T, WIDTH, TILE>)
    gemm_simt_kernel(__grid_constant__ Problem const p) {
  using Sums = SimtSums<T, WIDTH, TILE>;
  constexpr int PART = sizeof(T) == 4 && TILE == 64 ? 32 / Sums::BK : 0;
  auto& smem = shared<SimtSmem<T, WIDTH, TILE>, "tiles">();
  int64_t const all = count_work<TILE, TILE>(p);

  for (int64_t index = blockIdx.x; index < all; index += gridDim.x) {
    Work const work = find_work<TILE, TILE, Sums::BK>(p, index);
    SimtSource<T, WIDTH, TILE> a(p.A, p, work, work.m0, p.M);
    SimtSource<T_B, WIDTH, TILE> b(p.B, p, work, work.n0, p.N);
    Sums sums;
    sums.template multiply<PART>(smem, a, b, work.k1 - work.k0);
    [[maybe_unused]] unsigned most = 0;
    sums.each(smem, [&](int m, int n, auto const& v) {
      if (work.m0 + m >= p.M) return;
      if constexpr (sizeof(T) == 1) {
        auto const stored = finish(p.epilogue, work.row + m, work.n0 + n, v);
        most = greatest(p.epilogue, work.n0 + n, stored, most);
      } else {
        finish(p.epilogue, work.row + m, work.n0 + n, v);
      }
    });
    if constexpr (sizeof(T) == 1) finish_amax(p.epilogue, most);
  }
}

}  // namespace pynn::gemm
