// gemm_simt.cu — the launches of gemm_simt.cuh: two tiles; single elements if misaligned.

#include <cuda_fp8.h>

#include "common/dispatch.h"

#include "kernels/gemm/gemm_simt.cuh"
#include "kernels/gemm/variants.h"

namespace pynn::gemm {

template <typename T, int WIDTH, int TILE, typename T_B = T>
void launch_simt(cudaStream_t stream, Problem const& p) {
  launch(gemm_simt_kernel<T, WIDTH, TILE, T_B>, grid_of(count_work<TILE, TILE>(p)), SIMT_THREADS, 0,
         stream, p);
}

template <typename T>
void run_simt(cudaStream_t stream, Problem const& p, Tile tile) {
  constexpr int WIDTH = sizeof(T) == 8 ? 2 : 4;
  if (!is_aligned<T>(p.A, WIDTH) || !is_aligned<T>(p.B, WIDTH)) {
    return launch_simt<T, 1, 64>(stream, p);
  }
  if constexpr (sizeof(T) < 8) {
    if (tile == Tile::large) return launch_simt<T, WIDTH, 128>(stream, p);
  }
  launch_simt<T, WIDTH, 64>(stream, p);
}

void gemm_simt(cudaStream_t stream, DType dtype, Problem const& p, Tile tile) {
  if (dtype == DType::f64) return run_simt<double>(stream, p, tile);
  dispatch_float("gemm", "a", dtype, [&]<typename T>() { run_simt<T>(stream, p, tile); });
}

void gemm_simt_fp8(cudaStream_t stream, Problem const& p) {
  using E4 = __nv_fp8_e4m3;
  using E5 = __nv_fp8_e5m2;
  if (p.formats == Formats{Fp8::e4m3, Fp8::e4m3}) return launch_simt<E4, 1, 64>(stream, p);
  if (p.formats == Formats{Fp8::e5m2, Fp8::e5m2}) return launch_simt<E5, 1, 64>(stream, p);
  if (p.formats.a == Fp8::e4m3) return launch_simt<E4, 1, 64, E5>(stream, p);
  launch_simt<E5, 1, 64, E4>(stream, p);
}

}  // namespace pynn::gemm
