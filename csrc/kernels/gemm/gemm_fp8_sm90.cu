// gemm_fp8_sm90.cu — gemm_sm90.cuh for fp8, which wgmma multiplies K-major alone: NT. A and B of
// one format.
//
//   bytes  MK + NK, and D      FLOPs  2 MNK at twice the rate of 16 bits
//   sums   of the 32 products of a step wgmma on sm_90 keeps about 14 bits, not 24, and so it does
//          when it adds them to the rest (DeepSeek-V3 2024, arXiv:2412.19437, section 3.3.2): what
//          cuBLAS calls fast accumulation

#include <cuda_fp8.h>

#include "kernels/gemm/gemm_sm90.cuh"

namespace pynn::gemm {

template <typename T>
void run_fp8(cudaStream_t stream, Problem const& problem, Tile tile) {
  if (tile == Tile::large) {
    return launch_sm90<T, Major::K, Major::K, sm90::WideTile>(stream, problem);
  }
  launch_sm90<T, Major::K, Major::K, sm90::SquareTile>(stream, problem);
}

void gemm_sm90_fp8(cudaStream_t stream, Problem const& problem, Tile tile) {
  if (problem.formats.a == Fp8::e4m3) return run_fp8<__nv_fp8_e4m3>(stream, problem, tile);
  run_fp8<__nv_fp8_e5m2>(stream, problem, tile);
}

}  // namespace pynn::gemm
