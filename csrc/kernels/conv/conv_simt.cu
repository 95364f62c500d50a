// conv_simt.cu — the launches of conv_simt.cuh: two tiles of f32; single elements if misaligned.

#include "common/dispatch.h"

#include "kernels/conv/conv_simt.cuh"
#include "kernels/conv/variants.h"

namespace pynn::conv {

template <typename T, int WIDTH, int TILE, Pass PASS>
void launch_simt(cudaStream_t stream, Problem const& p) {
  launch(conv_simt_kernel<T, WIDTH, TILE, PASS>,
         gemm::grid_of(gemm::count_work<TILE, TILE>(p.gemm)), gemm::SIMT_THREADS, 0, stream, p);
}

template <typename T, int WIDTH, int TILE>
void launch_simt_pass(cudaStream_t stream, Problem const& p) {
  switch (p.pass) {
    case Pass::fprop:
      return launch_simt<T, WIDTH, TILE, Pass::fprop>(stream, p);
    case Pass::dgrad:
      return launch_simt<T, WIDTH, TILE, Pass::dgrad>(stream, p);
    case Pass::wgrad:
      return launch_simt<T, WIDTH, TILE, Pass::wgrad>(stream, p);
  }
}

void conv_simt(cudaStream_t stream, DType dtype, Problem const& p, Tile tile) {
  if (dtype == DType::f32 && is_aligned<float>(p, 4)) {
    if (tile == Tile::large) return launch_simt_pass<float, 4, 128>(stream, p);
    return launch_simt_pass<float, 4, 64>(stream, p);
  }
  dispatch_float("conv", "x", dtype, [&]<typename T>() { launch_simt_pass<T, 1, 64>(stream, p); });
}

}  // namespace pynn::conv
