// depthwise.cu — the launches of depthwise.cuh: how channels and outputs are cut.

#include "kernels/conv/depthwise.cuh"

#include "common/column.cuh"
#include "common/dispatch.h"

#include "kernels/conv/variants.h"

namespace pynn::conv {

inline constexpr int64_t FILTER_BYTES = 48 * 1024;  // of the channels of a CTA, in shared memory

template <typename T>
int width_of(Problem const& p) {
  constexpr int WIDTH = VEC_BYTES / sizeof(T);
  bool const aligned = is_vec_aligned(p.gemm.A.ptr) && is_vec_aligned(p.gemm.B.ptr);
  return aligned && p.channels % WIDTH == 0 ? WIDTH : 1;
}

// Lanes over vectors of channels: a power of two, as many as there are vectors, and as filters fit.
DepthwisePlan plan_depthwise(Problem const& p, int width, int64_t filter_bytes) {
  DepthwisePlan plan{};
  int64_t const vectors = (p.channels + width - 1) / width;
  plan.tx = 1;
  while (plan.tx < 32 && plan.tx < vectors && 2 * plan.tx * filter_bytes <= FILTER_BYTES) {
    plan.tx *= 2;
  }
  plan.tiles = (vectors + plan.tx - 1) / plan.tx;
  plan.strips = (p.columns.windows + STRIP - 1) / STRIP;
  plan.splits = 1;
  return plan;
}

bool fits_depthwise(Problem const& p) {
  return p.shape.group_C() == 1 && p.shape.group_K() == 1 &&
         int64_t{p.shape.taps()} * VEC_BYTES <= FILTER_BYTES;
}

// `f` with the number of channels of a vector.
template <typename T, typename F>
void with_width(Problem const& p, F&& f) {
  if (width_of<T>(p) > 1) return f.template operator()<VEC_BYTES / sizeof(T)>();
  f.template operator()<1>();
}

void depthwise(cudaStream_t stream, DType dtype, Problem const& problem) {
  Problem p = problem;  // D of all groups at once
  gemm::Epilogue& e = p.gemm.epilogue;
  e.N = e.ld;
  e.aligned = is_vec_aligned(e.d) && is_vec_aligned(e.bias) && is_vec_aligned(e.z) &&
              is_vec_aligned(e.residual) && e.N % (VEC_BYTES / gemm::bytes_of(dtype)) == 0;
  int64_t const taps = std::max(int64_t{p.rows.taps} * p.columns.taps, int64_t{1});  // of a phase
  dispatch_float("conv", "x", dtype, [&]<typename T>() {
    with_width<T>(p, [&]<int WIDTH>() {
      int64_t const bytes = taps * WIDTH * sizeof(T);
      DepthwisePlan const plan = plan_depthwise(p, WIDTH, bytes);
      int64_t const at_once = DEPTHWISE_THREADS / plan.tx;
      int64_t const strips = p.shape.N * p.rows.windows * plan.strips;
      int64_t const enough = std::max<int64_t>(2 * ENOUGH_CTAS / plan.tiles, 1);
      int64_t const ctas = std::min((strips + at_once - 1) / at_once, enough);
      launch(depthwise_kernel<T, WIDTH>, gemm::grid_of(ctas * plan.tiles), DEPTHWISE_THREADS,
             static_cast<size_t>(plan.tx * bytes), stream, p, plan);
    });
  });
}

int depthwise_wgrad(cudaStream_t stream, DType dtype, Problem const& p, Out workspace) {
  int splits = 1;
  dispatch_float("conv", "x", dtype, [&]<typename T>() {
    with_width<T>(p, [&]<int WIDTH>() {
      DepthwisePlan plan = plan_depthwise(p, WIDTH, 0);
      int64_t const spans = (p.columns.taps + SPAN - 1) / SPAN;
      int64_t const ctas = spans * p.rows.taps * plan.tiles;
      int64_t const wanted = ENOUGH_CTAS / ctas;
      int64_t const useful = p.gemm.K / (4 * DEPTHWISE_THREADS / plan.tx);
      int64_t const room = workspace.size() / (p.channels * p.shape.taps());
      plan.splits = std::max<int64_t>(std::min({wanted, useful, room}), 1);
      launch(depthwise_wgrad_kernel<T, WIDTH>, gemm::grid_of(ctas * plan.splits), DEPTHWISE_THREADS,
             0, stream, p, plan, workspace.data<float>());
      splits = static_cast<int>(plan.splits);
    });
  });
  return splits;
}

}  // namespace pynn::conv
