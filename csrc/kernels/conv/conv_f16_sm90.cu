// conv_f16_sm90.cu — conv_sm90.cuh for float16. A file for each type: compilers share them.

#include "kernels/conv/conv_sm90.cuh"

namespace pynn::conv {

void conv_sm90_f16(cudaStream_t stream, Problem const& problem, Tile tile) {
  run_sm90<__half>(stream, problem, tile);
}

}  // namespace pynn::conv
