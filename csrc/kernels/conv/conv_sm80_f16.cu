// conv_sm80_f16.cu — conv_sm80.cuh for float16. A file for each type: compilers share them.

#include "kernels/conv/conv_sm80.cuh"

namespace pynn::conv {

void conv_sm80_f16(cudaStream_t stream, Problem const& problem, Tile tile) {
  run_sm80<__half>(stream, problem, tile);
}

}  // namespace pynn::conv
