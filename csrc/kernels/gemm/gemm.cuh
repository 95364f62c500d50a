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
//     gemm.cu          launchers and choose();  second_pass.cu: after split-K and stream-K
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
//
//   Stream-K, where tiles do not fill the last turn of `workers` that take them in turn (sm90): whole
//   tiles for all turns but the last, then the steps along K of the tiles that are left, as one line
//   that is cut into equal parts. A part reaches into two tiles at most, and is two pieces of work:
//
//     tiles left   |····0····|····1····|····2····|      f32 sums of a piece go to its own slot of the
//     workers      |·0·|·1·|·2·|·3·|·4·|·5·|·6·|·7·|    workspace (2 workers, BM, BN); a second pass
//                                                       adds those of a tile in order

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
  int workers;      // of stream-K, 0 without
  float* parts;     // of stream-K: workspace
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

// A piece over all of its part of K, where tiles are BM x BN and steps BK.
__host__ __device__ inline Work find_work(Problem const& p, int64_t index, int64_t BM, int64_t BN,
                                          int64_t BK) {
  constexpr int64_t GROUP = 8;
  int64_t const tiles_m = (p.M + BM - 1) / BM;
  int64_t const tiles_n = (p.N + BN - 1) / BN;
  int64_t const tiles = tiles_m * tiles_n;
  int64_t const matrix = index / tiles;  // (split, z)
  int64_t const tile = index % tiles;
  int64_t const split = matrix / p.batch;

  int64_t const first = tile / (GROUP * tiles_n) * GROUP;
  int64_t const rows = tiles_m - first < GROUP ? tiles_m - first : GROUP;
  int64_t const in_group = tile % (GROUP * tiles_n);

  int64_t const k_tiles = (p.K + BK - 1) / BK;
  Work work;
  work.z = matrix % p.batch;
  work.m0 = (first + in_group % rows) * BM;
  work.row = matrix * p.M + work.m0;
  work.n0 = in_group / rows * BN;
  work.k0 = k_tiles * split / p.splits * BK;
  work.k1 = k_tiles * (split + 1) / p.splits * BK;
  if (work.k1 > p.K) work.k1 = p.K;
  return work;
}

template <int BM, int BN, int BK>
__device__ inline Work find_work(Problem const& p, int64_t index) {
  return find_work(p, index, BM, BN, BK);
}

// ---- stream-K

// The steps of K of `tiles`, of `steps` each, as one line of which every worker gets `share`, and the
// first `rest` one more.
struct Stream {
  int64_t first;  // tile, of all; those before it are whole
  int tiles;      // fewer than workers
  int steps;
  int workers;
  int share;
  int rest;

  __host__ __device__ int begin(int worker) const {
    return worker * share + (worker < rest ? worker : rest);
  }
};

struct StreamPiece {
  int tile;   // of those left
  int begin;  // steps of it
  int end;    // no more than begin if there is no such piece
};

// Piece 0 or 1 of a worker.
__host__ __device__ inline StreamPiece find_piece(Stream const& s, int worker, int piece) {
  int const begin = s.begin(worker);
  int const end = s.begin(worker + 1);
  int const tile = begin / s.steps + piece;
  int const before = tile * s.steps;
  int const last = end - before;
  return {tile, piece == 0 ? begin - before : 0, last < s.steps ? last : s.steps};
}

// Of tiles of BM x BN and steps of BK.
inline Stream stream_of(Problem const& p, int64_t BM, int64_t BN, int64_t BK) {
  int64_t const all = (p.M + BM - 1) / BM * ((p.N + BN - 1) / BN) * p.batch;
  Stream s{};
  s.workers = p.workers;
  s.first = all / s.workers * s.workers;
  s.tiles = static_cast<int>(all - s.first);
  s.steps = static_cast<int>((p.K + BK - 1) / BK);
  s.share = s.tiles * s.steps / s.workers;
  s.rest = s.tiles * s.steps % s.workers;
  return s;
}

}  // namespace pynn::gemm
