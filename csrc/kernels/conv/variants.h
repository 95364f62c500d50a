// variants.h — the rungs of the convolution ladder as conv.cu calls them.
//
// Each takes one problem of conv.cuh: a pass, or one phase of a strided dgrad, over `splits` parts of
// GEMM_K; with several, D is the workspace.

#pragma once

#include "common/array.h"
#include "common/launch.h"

#include "kernels/conv/conv.cuh"
#include "kernels/gemm/variants.h"

namespace pynn::conv {

using gemm::Rung;
using gemm::Tile;

// f32, f16, bf16; any shape, any alignment.
void conv_simt(cudaStream_t stream, DType dtype, Problem const& problem, Tile tile);

// Operands aligned to 16 bytes, and so C and K of a group: multiples of 8 (tf32: 4).
void conv_sm80_bf16(cudaStream_t stream, Problem const& problem, Tile tile);
void conv_sm80_f16(cudaStream_t stream, Problem const& problem, Tile tile);
void conv_sm80_tf32(cudaStream_t stream, Problem const& problem, Tile tile);

// f16 or bf16 of any shape and alignment, in tiles of 64 x 64.
void conv_sm80_elements(cudaStream_t stream, DType dtype, Problem const& problem);

// groups = C = K: fprop, dgrad or a phase of it; and wgrad, which writes parts of dw (splits, K, R S)
// to a workspace with room for at least one, and returns how many.
bool fits_depthwise(Problem const& problem);
void depthwise(cudaStream_t stream, DType dtype, Problem const& problem);
int depthwise_wgrad(cudaStream_t stream, DType dtype, Problem const& problem, Out workspace);

// The moments of y (M, K) of fprop from y itself: problem.moments.
void row_moments(cudaStream_t stream, Problem const& problem);

// The same without tf32, on sm_90 alone; fits_sm90() of windows_sm90.cuh says which, and dgrad comes
// whole, with all of its phases.
void conv_sm90_bf16(cudaStream_t stream, Problem const& problem, Tile tile);
void conv_sm90_f16(cudaStream_t stream, Problem const& problem, Tile tile);

// Whether every piece of `width` elements of both operands, which lies within one tap and one group,
// begins at a multiple of its own size.
template <typename T>
bool is_aligned(Problem const& p, int width) {
  auto const starts_right = [&](void const* pointer) {
    return reinterpret_cast<uintptr_t>(pointer) % (sizeof(T) * width) == 0;
  };
  return starts_right(p.gemm.A.ptr) && starts_right(p.gemm.B.ptr) &&
         p.shape.group_C() % width == 0 &&
         (p.pass == Pass::fprop || p.shape.group_K() % width == 0);
}

}  // namespace pynn::conv
