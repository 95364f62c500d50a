// gemm_sm80_elements.cu — gemm_sm80.cuh for 16 bits whose lines do not begin at 16 bytes: an odd K,
// or a view that begins in the middle of a chunk.

#include "kernels/gemm/gemm_sm80.cuh"

namespace pynn::gemm {

void gemm_sm80_elements(cudaStream_t stream, DType dtype, Problem const& problem) {
  if (dtype == DType::f16) return launch_sm80_layout<__half, ElementTile>(stream, problem);
  launch_sm80_layout<__nv_bfloat16, ElementTile>(stream, problem);
}

}  // namespace pynn::gemm
