// conv_sm80_bf16.cu — conv_sm80.cuh for bfloat16. A file for each type: compilers share them.

#include "kernels/conv/conv_sm80.cuh"

namespace pynn::conv {

void conv_sm80_bf16(cudaStream_t stream, Problem const& problem, Tile tile) {
  run_sm80<__nv_bfloat16>(stream, problem, tile);
}

}  // namespace pynn::conv
