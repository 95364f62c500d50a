// far_conv.cu — one piece of work of a convolution by itself, the last of billions of outputs.
//
//   The arrays are mapped and hardly touched, so that a tile past 2^31 elements can be computed in a
//   moment by the kernels' own code: csrc/kernels/conv/conv_simt.cuh, conv_sm80.cuh.

#include "common/vec.cuh"

#include "kernels/conv/conv_simt.cuh"
#include "kernels/conv/conv_sm80.cuh"
#include "entry.h"

namespace pynn::conv {
namespace {

using T = __half;
using Tile = gemm::SmallTile;

template <Pass PASS>
__global__ void simt_kernel(Problem const p, int64_t index) {
  conv_simt_piece<T, 1, Tile::BM, PASS>(p, index);
}

template <Pass PASS>
__global__ void sm80_kernel(Problem const p, int64_t index) {
  using F = Chunks<T, PASS, Tile>;
  conv_sm80_piece<T, PASS, Tile, typename F::A, typename F::B>(p, index);
}

template <Pass PASS>
void launch_last(Problem const& p, bool sm80) {
  int64_t const index = gemm::count_work<Tile::BM, Tile::BN>(p.gemm) - 1;
  using S = Sm80<T, PASS, Tile>;
  if (sm80) return launch(sm80_kernel<PASS>, 1, S::THREADS, S::SMEM_BYTES, nullptr, p, index);
  launch(simt_kernel<PASS>, 1, gemm::SIMT_THREADS, 0, nullptr, p, index);
}

}  // namespace
}  // namespace pynn::conv

// numbers: N H W C P Q K R S, stride and padding of both axes, splits. d is f16, of wgrad f32 in parts.
// dgrad: the last phase.
extern "C" const char* far_conv(int pass, int sm80, void const* a, void const* b, void* d,
                                int64_t const* numbers) {
  using namespace pynn;
  using namespace pynn::conv;
  return guarded([=] {
    auto const whole = [=](int i) { return static_cast<int>(numbers[i]); };
    Shape s{};
    s.N = numbers[0];
    s.H = whole(1);
    s.W = whole(2);
    s.C = numbers[3];
    s.P = whole(4);
    s.Q = whole(5);
    s.K = numbers[6];
    s.R = whole(7);
    s.S = whole(8);
    s.stride_h = s.stride_w = whole(9);
    s.pad_h = s.pad_w = whole(10);
    s.groups = s.dilation_h = s.dilation_w = 1;
    gemm::Epilogue e{};
    e.d = d;
    e.dtype = pass == 2 ? DType::f32 : DType::f16;
    e.aligned = true;
    auto const which = static_cast<Pass>(pass);
    Problem p = problem(which, s, a, b, e);
    p.gemm.epilogue.N = p.gemm.epilogue.ld = p.gemm.N;
    p.gemm.splits = whole(11);
    if (which == Pass::dgrad) p = phase(p, s.stride_h - 1, s.stride_w - 1);
    if (which == Pass::fprop) return launch_last<Pass::fprop>(p, sm80);
    if (which == Pass::dgrad) return launch_last<Pass::dgrad>(p, sm80);
    launch_last<Pass::wgrad>(p, sm80);
  });
}
