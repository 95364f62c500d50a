// gemm_sm80_bf16.cu — gemm_sm80.cuh for bfloat16. A file for each type: compilers share them.

#include "kernels/gemm/gemm_sm80.cuh"

namespace pynn::gemm {

void gemm_sm80_bf16(cudaStream_t stream, Problem const& problem, Tile tile) {
  run_sm80<__nv_bfloat16>(stream, problem, tile);
}

}  // namespace pynn::gemm
