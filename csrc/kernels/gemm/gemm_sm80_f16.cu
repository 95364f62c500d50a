// gemm_sm80_f16.cu — gemm_sm80.cuh for float16. A file for each type: compilers share them.

#include "kernels/gemm/gemm_sm80.cuh"

namespace pynn::gemm {

void gemm_sm80_f16(cudaStream_t stream, Problem const& problem, Tile tile) {
  run_sm80<__half>(stream, problem, tile);
}

}  // namespace pynn::gemm
