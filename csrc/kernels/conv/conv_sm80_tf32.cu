// conv_sm80_tf32.cu — conv_sm80.cuh for tf32. A file for each type: compilers share them.

#include "kernels/conv/conv_sm80.cuh"

namespace pynn::conv {

void conv_sm80_tf32(cudaStream_t stream, Problem const& problem, Tile tile) {
  run_sm80<float>(stream, problem, tile);
}

}  // namespace pynn::conv
