// cross_entropy_sm90.cu — cross entropy of long rows, each held by a cluster of CTAs: one read of
// the logits, and one write of their gradient where that is wanted. Mathematics, arguments and bytes
// as in cross_entropy.cu.
//
//   grid     clusters of 1, 2, 4 or 8 CTAs, one a row: common/cluster_row.cuh
//   CTA      512 threads with up to 64 logits each, so 262,144 classes in 8 CTAs
//   rows     in 16-byte steps
//   sums     the maximum, sum e^(x - max), and with smoothing sum w x: a cluster barrier each

#include "kernels/softmax/cross_entropy.cuh"

#include "common/cluster_row.cuh"

namespace pynn::cross_entropy {

inline constexpr int THREADS = 512;
inline constexpr int HELD = 64;  // logits of a thread

template <typename T>
__global__ void __launch_bounds__(THREADS)
    cross_entropy_fwd_cluster_kernel(T const* x, Params p, Losses out, Gradient<T> gradient) {
  constexpr int WIDTH = VEC_BYTES / static_cast<int>(sizeof(T));
  using Lane = Row<T, WIDTH, THREADS, HELD / WIDTH>;
  Slice const slice(p.classes, WIDTH);
  int const n = slice.n;
  x += slice.row * p.classes;

  Lane rx;
  rx.load(x + slice.begin, n);

  ClusterTeam<THREADS> cluster;
  float const peak = finite_peak(cluster.reduce(Lane::fold(-INFINITY, n, Max{}, rx), Max{}));
  Sum sum = Lane::fold(0.f, n, Add{}, [&](int v, int k) { return expf(rx(v, k) - peak); });
  sum = cluster.reduce(sum, Add{});
  Sum smooth;
  if (p.smoothing != 0.f) {
    smooth = Lane::fold(0.f, n, Add{}, [&](int v, int k) {
      return p.smooth(slice.begin + Lane::at(v) + k, rx(v, k) - peak);
    });
    smooth = cluster.reduce(smooth, Add{});
  }
  if (gradient.dx != nullptr) {
    RowGradient const d(p, slice.row, peak, sum.value(), gradient.of_loss());
    Lane::map(gradient.dx + slice.row * p.classes + slice.begin, n,
              [&](int v, int k) { return d(p, slice.begin + Lane::at(v) + k, rx(v, k)); });
  }
  if (ptx::cluster_ctarank() == 0 && threadIdx.x == 0) {
    finish(p, out, slice.row, x, peak, sum.value(), smooth.value());
  }
  cluster.finish();
}

template <typename T>
void launch_cluster(char const* op, cudaStream_t stream, T const* x, Params p, Losses out,
                    Gradient<T> gradient) {
  static_assert(CLUSTER_CLASSES == MAX_CLUSTER * THREADS * HELD, "what the greatest cluster holds");
  unsigned const ctas = cluster_size(p.classes, THREADS * HELD);
  unsigned const grid = row_grid<THREADS>(op, p.rows * ctas);
  launch(cross_entropy_fwd_cluster_kernel<T>, LaunchConfig{grid, THREADS, 0, stream, ctas}, x, p,
         out, gradient);
}

template void launch_cluster(char const*, cudaStream_t, float const*, Params, Losses,
                             Gradient<float>);
template void launch_cluster(char const*, cudaStream_t, __half const*, Params, Losses,
                             Gradient<__half>);
template void launch_cluster(char const*, cudaStream_t, __nv_bfloat16 const*, Params, Losses,
                             Gradient<__nv_bfloat16>);

}  // namespace pynn::cross_entropy
