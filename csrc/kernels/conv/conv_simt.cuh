// conv_simt.cuh — convolution, one multiply-add at a time: any GPU, shape, dtype and alignment.
//
//   T = f32 | f16 | bf16 with f32 sums; fprop, dgrad, wgrad;  problem and operands: conv.cuh
//
//   The mainloop, the tiles and their picture are gemm_simt.cuh's; an operand of windows is fetched
//   piece by piece from the image (source.cuh).
//
//   f32     32 products are summed by themselves, then added: a long GEMM_K of one chain of roundings
//           would err by more than twice as much as dgrad's reference, which adds tap by tap
//   WIDTH   4 elements a load where channels and pointers allow it, in f32; else 1. Half types come
//           here only before Ampere, so they have WIDTH 1 alone.
//   bytes   sizeof(T) (MK N/TILE + NK M/TILE), the windows' overlap from L1 and L2
//   FLOPs   2 GEMM_M GEMM_N GEMM_K      bound: the FMA pipe (TILE 128), shared memory (TILE 64)

#pragma once

#include <type_traits>

#include "common/shared.cuh"

#include "kernels/conv/source.cuh"
#include "kernels/gemm/gemm_simt.cuh"

namespace pynn::conv {

// The loads of one thread, as gemm_simt.cuh lays them.
template <typename T, int WIDTH, int TILE, Major MAJOR>
struct SimtLoading {
  using Loads = gemm::SimtTile<T, WIDTH, TILE>;
  static constexpr int BK = Loads::BK;
  static constexpr int LOADS = Loads::LOADS;
  static constexpr int STEP = gemm::SIMT_THREADS / ((MAJOR == Major::K ? BK : TILE) / WIDTH);

  __device__ static int line() { return Loads::place(MAJOR, 0).line; }
  __device__ static int along() { return Loads::place(MAJOR, 0).along; }
};

// One piece of work, wherever it lies.
template <typename T, int WIDTH, int TILE, Pass PASS>
__device__ inline void conv_simt_piece(Problem const& p, int64_t index) {
  using Sums = gemm::SimtSums<T, WIDTH, TILE>;
  using Dense = gemm::SimtSource<T, WIDTH, TILE>;
  using AlongK = SimtLoading<T, WIDTH, TILE, Major::K>;
  using AlongN = SimtLoading<T, WIDTH, TILE, Major::MN>;
  auto& smem = shared<gemm::SimtSmem<T, WIDTH, TILE>, "tiles">();
  constexpr int PART = sizeof(T) == 4 ? 32 / Sums::BK : 0;
  gemm::Problem const& g = p.gemm;
  Work const work = gemm::find_work<TILE, TILE, Sums::BK>(g, index);
  Sums sums;
  auto const multiply = [&](auto&& a, auto&& b) {
    sums.template multiply<PART>(smem, a, b, work.k1 - work.k0);
  };
  if constexpr (PASS == Pass::fprop) {
    multiply(WindowSource<T, AlongK>(p, work), Dense(g.B, g, work, work.n0, g.N));
  } else if constexpr (PASS == Pass::dgrad) {
    multiply(WindowSource<T, AlongK>(p, work), FilterSource<T, AlongN>(p, work));
  } else {
    multiply(Dense(g.A, g, work, work.m0, g.M), PixelSource<T, AlongN>(p, work));
  }
  Finish<PASS> finish(p, work);
  sums.each(smem, finish);
  if constexpr (PASS == Pass::fprop && TILE == MOMENTS_ROWS) {
    if (p.moments == nullptr) return;
    constexpr int PARTS = gemm::SIMT_EDGE;
    static_assert(PARTS * TILE * sizeof(BoardEntry) <= sizeof(smem), "the board fits");
    put_moments<TILE, TILE, PARTS, gemm::SIMT_THREADS>(
        p, work, finish.sums, reinterpret_cast<BoardEntry*>(&smem),
        static_cast<int>(threadIdx.x) / gemm::SIMT_EDGE, Sums::x());
  }
}

template <typename T, int WIDTH, int TILE, Pass PASS>
__global__ void __launch_bounds__(gemm::SIMT_THREADS, TILE == 128 || WIDTH == 1 ? 1 : 2)
    conv_simt_kernel(__grid_constant__ Problem const p) {
  int64_t const all = gemm::count_work<TILE, TILE>(p.gemm);
  for (int64_t index = blockIdx.x; index < all; index += gridDim.x) {
    conv_simt_piece<T, WIDTH, TILE, PASS>(p, index);
  }
}

}  // namespace pynn::conv
