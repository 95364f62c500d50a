// gemm_simt.cuh — D = epilogue(A B), one multiply-add at a time: any GPU, shape and alignment.
//
//   T = f32 | f16 | bf16 with f32 sums, f64 with f64 sums;  NT, NN, TN;  any M, N, K
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
//   ascending.
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

  // Where load l of this thread lies in the tile: neighbours along the contiguous axis.
  struct Place {
    int k;
    int mn;
  };
  __device__ static Place place(Major major, int l) {
    int const i = static_cast<int>(threadIdx.x) + l * SIMT_THREADS;
    if (major == Major::K) return {i % (BK / WIDTH) * WIDTH, i / (BK / WIDTH)};
    return {i / (TILE / WIDTH), i % (TILE / WIDTH) * WIDTH};
  }

  // The tile that begins at `corner`; of it, `mns` by `ks` are inside.
  __device__ void fetch(T const* corner, Operand const& from, int mns, int ks) {
#pragma unroll
    for (int l = 0; l < LOADS; ++l) {
      Place const at = place(from.major, l);
      loads[l] = {};
      if (at.k < ks && at.mn < mns) {
        int64_t const line = from.major == Major::K ? at.mn : at.k;
        int const along = from.major == Major::K ? at.k : at.mn;
        loads[l] = load_vec<WIDTH>(corner + line * from.ld + along);
      }
    }
  }

  __device__ void put(Major major, Shared& s) const {
#pragma unroll
    for (int l = 0; l < LOADS; ++l) {
      Place const at = place(major, l);
#pragma unroll
      for (int i = 0; i < WIDTH; ++i) {
        V& to = major == Major::K ? s[at.k + i][at.mn] : s[at.k][at.mn + i];
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

template <typename T, int WIDTH, int TILE>
__global__ void __launch_bounds__(SIMT_THREADS, TILE == 128 || WIDTH < 4 ? 2 : 3)
    gemm_simt_kernel(__grid_constant__ Problem const p) {
  using Smem = SimtSmem<T, WIDTH, TILE>;
  using V = typename Smem::V;
  constexpr int VEC = Smem::VEC;
  constexpr int QUARTER = Smem::QUARTER;
  constexpr int PIECES = Smem::PIECES;
  constexpr int BK = Smem::Tile::BK;
  auto& smem = shared<Smem, "tiles">();
  int const x = static_cast<int>(threadIdx.x) % SIMT_EDGE * VEC;
  int const y = static_cast<int>(threadIdx.x) / SIMT_EDGE * VEC;
  int64_t const all = count_work<TILE, TILE>(p);

  for (int64_t index = blockIdx.x; index < all; index += gridDim.x) {
    Work const work = find_work<TILE, TILE, BK>(p, index);
    T const* gA = p.A.corner<T>(p.inner, work.z, work.m0, work.k0);
    T const* gB = p.B.corner<T>(p.inner, work.z, work.n0, work.k0);
    int const ms = static_cast<int>(min(int64_t{TILE}, p.M - work.m0));
    int const ns = static_cast<int>(min(int64_t{TILE}, p.N - work.n0));
    int64_t left = work.k1 - work.k0;
    Vec<V, VEC> sums[PIECES][VEC][PIECES] = {};  // m, n
    SimtTile<T, WIDTH, TILE> a;
    SimtTile<T, WIDTH, TILE> b;

    auto const fetch = [&] {
      int const ks = static_cast<int>(min(int64_t{BK}, left));
      a.fetch(gA, p.A, ms, ks);
      b.fetch(gB, p.B, ns, ks);
    };

    // first tiles
    fetch();
    a.put(p.A.major, smem.A[0]);
    b.put(p.B.major, smem.B[0]);
    __syncthreads();

    for (int buffer = 0; left > 0; buffer ^= 1) {
      // fetch next
      left -= BK;
      if (left > 0) {
        gA += p.A.step_k(BK);
        gB += p.B.step_k(BK);
        fetch();
      }

      // sum outer products
#pragma unroll
      for (int i = 0; i < BK; ++i) {
        Vec<V, VEC> rA[PIECES];
        Vec<V, VEC> rB[PIECES];
#pragma unroll
        for (int q = 0; q < PIECES; ++q) {
          rA[q] = load_vec<VEC>(&smem.A[buffer][i][q * QUARTER + y]);
          rB[q] = load_vec<VEC>(&smem.B[buffer][i][q * QUARTER + x]);
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

      // put next
      if (left > 0) {
        a.put(p.A.major, smem.A[buffer ^ 1]);
        b.put(p.B.major, smem.B[buffer ^ 1]);
      }
      __syncthreads();
    }

    // epilogue: through shared memory, so that a loop can count through what were registers
#pragma unroll
    for (int q = 0; q < PIECES; ++q) {
#pragma unroll
      for (int i = 0; i < VEC * PIECES; ++i) {
        smem.staged[i / PIECES][i % PIECES][threadIdx.x] = sums[q][i / PIECES][i % PIECES];
      }
#pragma unroll 1
      for (int i = 0; i < VEC * PIECES; ++i) {
        int const m = q * QUARTER + y + i / PIECES;
        int64_t const n = work.n0 + i % PIECES * QUARTER + x;
        if (m < ms) {
          finish(p.epilogue, work.row + m, n, smem.staged[i / PIECES][i % PIECES][threadIdx.x]);
        }
      }
    }
    __syncthreads();
  }
}

}  // namespace pynn::gemm
