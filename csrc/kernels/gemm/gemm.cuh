// gemm.cuh — what the rungs of the GEMM ladder share: the problem, its tiles, their order.
//
//   D = epilogue(A B), for each of `batch` matrices;  D (M, N) row-major, all arrays dense
//
//   layout   A          B          used by a linear layer y = x W^T for
//   NT       (M, K)     (N, K)     y  = x W^T
//   NN       (M, K)     (K, N)     dx = dy W
//   TN       (K, M)     (K, N)     dW = dy^T x
//
//   An operand is K-major where K is its contiguous axis (A of NT, NN; B of NT), else MN-major.
//
//   the ladder, simplest first
//     gemm_simt.cuh    one FMA at a time, every GPU, every dtype and alignment
//     gemm_sm80.cuh    mma.sync, cp.async ring, ldmatrix: tensor cores from Ampere on
//     gemm_sm90.cuh    wgmma, TMA ring, clusters, a warpgroup that only loads: Hopper
//     gemm.cu          launchers, choose(), and the second pass of split-K
//
//   A piece of work is a tile of D of one matrix of the batch, over one of `splits` parts of K:
//
//     work = (split x batch + z) x tiles + tile         tiles of D, GROUP = 8 tile rows to a group:
//                                                       a group goes down its rows, then right, so
//     splits > 1: f32 sums to a workspace               CTAs that run together share 8 row panels
//     (splits, batch, M, N); a second pass adds         of A and few column panels of B in L2
//     them in order: the same bits in every run            0  8 16 ..
//                                                          1  9 17
//                                                          .. .. ..
//                                                          7 15 23

#pragma once

#include <cstdint>

#include "common/launch.h"

#include "kernels/gemm/epilogue.cuh"

namespace pynn::gemm {

enum class Major { K, MN };

// One input: `ptr` is the first matrix, `ld` the elements from one line to the next. Matrix z of
// the batch is (z / inner, z % inner), each with its own step, 0 where the operand is broadcast.
struct Operand {
  void const* ptr;
  Major major;
  int64_t ld;
  int64_t outer_step;
  int64_t inner_step;

  // Element (mn, k) of matrix z.
  template <typename T>
  __device__ T const* corner(int64_t inner, int64_t z, int64_t mn, int64_t k) const {
    int64_t const matrix = z / inner * outer_step + z % inner * inner_step;
    return static_cast<T const*>(ptr) + matrix + (major == Major::K ? mn * ld + k : k * ld + mn);
  }

  // Elements from one k to the one `steps` further.
  __device__ int64_t step_k(int steps) const { return major == Major::K ? steps : steps * ld; }
};

// One access to an operand: neighbours along its contiguous axis. Outside, they are 0 and not read.
template <typename T>
struct Piece {
  T const* from;
  bool inside;
};

// What the bytes of an operand of fp8 mean.
enum class Fp8 : int64_t { e4m3, e5m2 };

struct Formats {
  Fp8 a;
  Fp8 b;
  bool operator==(Formats const&) const = default;
};

struct Problem {
  Operand A;
  Operand B;
  int64_t M;
  int64_t N;
  int64_t K;
  int64_t batch;
  int64_t inner;  // matrices of the inner batch axis
  int splits;
  Formats formats;  // of fp8 alone
  Epilogue epilogue;
};

// One piece of work.
struct Work {
  int64_t z;
  int64_t row;  // of the output, seen as (splits, batch, M) rows
  int64_t m0;
  int64_t n0;
  int64_t k0;
  int64_t k1;
};

template <int BM, int BN>
__host__ __device__ inline int64_t count_tiles(Problem const& p) {
  return ((p.M + BM - 1) / BM) * ((p.N + BN - 1) / BN);
}

template <int BM, int BN>
__host__ __device__ inline int64_t count_work(Problem const& p) {
  return count_tiles<BM, BN>(p) * p.batch * p.splits;
}

template <int BM, int BN, int BK>
__device__ inline Work find_work(Problem const& p, int64_t index) {
  constexpr int64_t GROUP = 8;
  int64_t const tiles_m = (p.M + BM - 1) / BM;
  int64_t const tiles_n = (p.N + BN - 1) / BN;
  int64_t const tiles = tiles_m * tiles_n;
  int64_t const matrix = index / tiles;  // (split, z)
  int64_t const tile = index % tiles;
  int64_t const split = matrix / p.batch;

  int64_t const first = tile / (GROUP * tiles_n) * GROUP;
  int64_t const rows = min(GROUP, tiles_m - first);
  int64_t const in_group = tile % (GROUP * tiles_n);

  int64_t const k_tiles = (p.K + BK - 1) / BK;
  Work work;
  work.z = matrix % p.batch;
  work.m0 = (first + in_group % rows) * BM;
  work.row = matrix * p.M + work.m0;
  work.n0 = in_group / rows * BN;
  work.k0 = k_tiles * split / p.splits * BK;
  work.k1 = min(p.K, k_tiles * (split + 1) / p.splits * BK);
  return work;
}

}  // namespace pynn::gemm
