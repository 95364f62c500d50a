// gemm_sm80_tf32.cu — gemm_sm80.cuh for tf32. A file for each type: compilers share them.

#include "kernels/gemm/gemm_sm80.cuh"

namespace pynn::gemm {

void gemm_sm80_tf32(cudaStream_t stream, Problem const& problem, Tile tile) {
  run_sm80<float>(stream, problem, tile);
}

}  // namespace pynn::gemm
