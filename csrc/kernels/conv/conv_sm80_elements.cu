// conv_sm80_elements.cu — conv_sm80.cuh for 16 bits whose chunks of 16 bytes do not fit.

#include "kernels/conv/conv_sm80.cuh"

namespace pynn::conv {

void conv_sm80_elements(cudaStream_t stream, DType dtype, Problem const& p) {
  if (dtype == DType::f16) return launch_sm80_pass<__half, gemm::ElementTile, Elements>(stream, p);
  launch_sm80_pass<__nv_bfloat16, gemm::ElementTile, Elements>(stream, p);
}

}  // namespace pynn::conv
