// conv_sm80.cuh — convolution on tensor cores through mma.sync: every GPU from Ampere on.
//
//   T = f16 | bf16, or f32 rounded to tf32;  f32 sums; fprop, dgrad, wgrad; problem: conv.cuh
//   chunks     pointers aligned to 16 bytes, C and K of a group multiples of 8 (tf32: 4)
//   elements   16 bits, any C, K and alignment: the three channels of a picture, say
//
//   The ring, the tiles, their picture and the mainloop are gemm_sm80.cuh's. A chunk of 16 bytes of
//   an operand of windows is 8 channels of one pixel; where the pixel is padding, or the window does
//   not exist, cp.async fills in zeros and reads nothing.
//
//            GEMM_K ──►  r s c                 a thread keeps, of each of its windows, where it
//          ┌───────────┬───────────┬──         begins, and one (tap, tap, channel) for all of them,
//   window │ tap 0,0   │ tap 0,1   │           which it advances by BK with carries
//     m    │ c0 c8 ..  │ c0 c8 ..  │
//          └───────────┴───────────┴──
//
//   With elements a warp loads 32 neighbours along a line, and the tile is 64 x 64 of D, of 8 warps
//   as 4 x 2: a thread remembers 8 windows and 8 others, more would spill. Taps need no padding: of
//   a picture's window of 7 x 7 x 3 = 147 the last k are zeros up to 160.
//
//   bytes  sizeof(T) (MK N/BN + NK M/BM) from L2: windows overlap, so from HBM about x + w + y
//   FLOPs  2 GEMM_M GEMM_N GEMM_K, each k up to a multiple of BK = 32
//   bound  tensor cores once C and K ≳ 64; elements: the load unit, where 2 bytes come and go by
//          an instruction each, for every 32 multiply-adds
//
//   CUTLASS, media/docs/implicit_gemm_convolution.md

#pragma once

#include "kernels/conv/source.cuh"
#include "kernels/conv/variants.h"
#include "kernels/gemm/gemm_sm80.cuh"

namespace pynn::conv {

template <typename T, Pass PASS, class TILE>
using Sm80 = gemm::Sm80<T, A_MAJOR<PASS>, B_MAJOR<PASS>, TILE>;

// CTAs on a multiprocessor: two of the large tile would leave too few registers for the windows.
template <typename T, class TILE>
inline constexpr int SM80_CTAS = sizeof(T) == 2 && TILE::WARPS_M * TILE::WARPS_N < 8 ? 2 : 1;

// One piece of work, wherever it lies; A and B say how their stages are filled.
template <typename T, Pass PASS, class TILE, class A, class B>
__device__ inline void conv_sm80_piece(Problem const& p, int64_t index) {
  using S = Sm80<T, PASS, TILE>;
  gemm::Problem const& g = p.gemm;
  Work const work = gemm::find_work<TILE::BM, TILE::BN, S::BK>(g, index);
  gemm::Sm80Sums<T, A_MAJOR<PASS>, B_MAJOR<PASS>, TILE> sums;
  auto const multiply = [&](auto&& a, auto&& b) { sums.multiply(a, b, work.k1 - work.k0); };
  if constexpr (PASS == Pass::fprop) {
    int const ns = static_cast<int>(min(int64_t{TILE::BN}, g.N - work.n0));
    multiply(WindowSource<T, A>(p, work),
             gemm::Sm80Source<T, Major::K, B>(g.B, g, work, work.n0, ns));
  } else if constexpr (PASS == Pass::dgrad) {
    multiply(WindowSource<T, A>(p, work), FilterSource<T, B>(p, work));
  } else {
    int const ms = static_cast<int>(min(int64_t{TILE::BM}, g.M - work.m0));
    multiply(gemm::Sm80Source<T, Major::MN, A>(g.A, g, work, work.m0, ms),
             PixelSource<T, B>(p, work));
  }
  Finish<PASS> finish(p, work);
  sums.each(finish);
  if constexpr (PASS == Pass::fprop) {
    if (p.moments == nullptr) return;
    static_assert(S::WN == 32, "a lane finishes the same 4 columns in every row");
    constexpr int PARTS = TILE::WARPS_M * 4;
    int const part = sums.warp() / TILE::WARPS_N * 4 + sums.lane() / 8;
    put_moments<TILE::BM, TILE::BN, PARTS, S::THREADS>(p, work, finish.sums,
                                                       dynamic_shared<BoardEntry>(), part,
                                                       sums.n_warp() + sums.lane() % 8 * 4);
  }
}

template <typename T, Pass PASS, class TILE, class A, class B>
__global__ void __launch_bounds__(Sm80<T, PASS, TILE>::THREADS, SM80_CTAS<T, TILE>)
    conv_sm80_kernel(__grid_constant__ Problem const p) {
  int64_t const all = gemm::count_work<TILE::BM, TILE::BN>(p.gemm);
  for (int64_t index = blockIdx.x; index < all; index += gridDim.x) {
    conv_sm80_piece<T, PASS, TILE, A, B>(p, index);
  }
}

// How stages are filled.
template <typename T, Pass PASS, class TILE>
struct Chunks : Sm80<T, PASS, TILE> {};
template <typename T, Pass PASS, class TILE>
struct Elements {
  using S = Sm80<T, PASS, TILE>;
  using A = gemm::Sm80Elements<typename S::A, T, A_MAJOR<PASS>, TILE::BM, S::THREADS>;
  using B = gemm::Sm80Elements<typename S::B, T, B_MAJOR<PASS>, TILE::BN, S::THREADS>;
};

template <typename T, Pass PASS, class TILE, template <typename, Pass, class> class FILLED>
void launch_sm80(cudaStream_t stream, Problem const& p) {
  using S = Sm80<T, PASS, TILE>;
  using F = FILLED<T, PASS, TILE>;
  launch(conv_sm80_kernel<T, PASS, TILE, typename F::A, typename F::B>,
         gemm::grid_of(gemm::count_work<TILE::BM, TILE::BN>(p.gemm)), S::THREADS, S::SMEM_BYTES,
         stream, p);
}

template <typename T, class TILE, template <typename, Pass, class> class FILLED>
void launch_sm80_pass(cudaStream_t stream, Problem const& p) {
  switch (p.pass) {
    case Pass::fprop:
      return launch_sm80<T, Pass::fprop, TILE, FILLED>(stream, p);
    case Pass::dgrad:
      return launch_sm80<T, Pass::dgrad, TILE, FILLED>(stream, p);
    case Pass::wgrad:
      return launch_sm80<T, Pass::wgrad, TILE, FILLED>(stream, p);
  }
}

template <typename T>
void run_sm80(cudaStream_t stream, Problem const& p, Tile tile) {
  if (tile == Tile::large) return launch_sm80_pass<T, gemm::LargeTile, Chunks>(stream, p);
  launch_sm80_pass<T, gemm::SmallTile, Chunks>(stream, p);
}

}  // namespace pynn::conv
