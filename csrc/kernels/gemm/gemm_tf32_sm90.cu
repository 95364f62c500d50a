// gemm_tf32_sm90.cu — gemm_sm90.cuh for tf32, which wgmma multiplies K-major alone: NT.

#include "kernels/gemm/gemm_sm90.cuh"

namespace pynn::gemm {

void gemm_sm90_tf32(cudaStream_t stream, Problem const& problem, Tile tile) {
  if (tile == Tile::large) {
    return launch_sm90<float, Major::K, Major::K, sm90::WideTile>(stream, problem);
  }
  launch_sm90<float, Major::K, Major::K, sm90::SquareTile>(stream, problem);
}

}  // namespace pynn::gemm
