// gemm_sm80_f32.cu — gemm_sm80.cuh for f32 as three bf16. A file for each type: compilers share them.

#include "kernels/gemm/gemm_sm80.cuh"

namespace pynn::gemm {

void gemm_sm80_f32(cudaStream_t stream, Problem const& problem, Tile tile) {
  run_sm80<Triple>(stream, problem, tile);
}

}  // namespace pynn::gemm
