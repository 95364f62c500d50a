// row_norm_sm90.cu — layer and root mean square normalization of long rows, each held by a cluster
// of CTAs: one read and one write of each element; and dx of such rows. Mathematics and arguments as
// in row_norm_fwd.cu and row_norm_bwd.cu.
//
//   grid   clusters of 2, 4 or 8 CTAs, one a row: common/cluster_row.cuh
//   CTA    512 threads with up to 32 elements each, of x, or of x and dy
//   rows   in 16-byte steps
//
//   bytes  sizeof(T) 2 R C + 16 R, with a residual 4 R C;  dx 3 R C, with dsum 4 R C
//   bound: memory

#include "kernels/norm/row_norm.cuh"

#include "common/cluster_row.cuh"

namespace pynn::norm {

inline constexpr int THREADS = 512;
inline constexpr int CLUSTER_HELD = 32;  // elements of a thread

template <typename Kind, typename T>
__global__ void __launch_bounds__(THREADS)
    row_norm_fwd_cluster_kernel(T const* x, Addition<T> add, int64_t columns, float eps,
                                RowAffine<T> affine, T* y, RowStatistics statistics) {
  constexpr int WIDTH = VEC_BYTES / static_cast<int>(sizeof(T));
  using Lane = Row<T, WIDTH, THREADS, CLUSTER_HELD / WIDTH>;
  Slice const slice(columns, WIDTH);
  int const n = slice.n;
  int64_t const offset = slice.row * columns + slice.begin;

  add = add.at(offset);
  Held<T, WIDTH, THREADS, CLUSTER_HELD / WIDTH> rx;
  rx.load(x + offset, add.residual, n);
  if (add.residual != nullptr) Lane::map(add.sum, n, rx);

  ClusterTeam<THREADS> cluster;
  auto const reduce = [&](auto value) { return cluster.reduce(value, Add{}); };
  auto const fold = [&](auto start, auto f) {
    return Lane::fold(start, n, Add{}, [&](int v, int k) { return f(rx(v, k)); });
  };
  RowMoments const moments = row_moments<Kind::CENTRED>(columns, eps, fold, reduce);
  double const rstd = inverse_root(moments.variance, eps);

  Standardize const xhat(moments.mean, rstd);
  Lane::map(y + offset, n, [&](int v, int k) {
    int64_t const c = slice.begin + Lane::at(v) + k;
    return affine.y(c, xhat(rx(v, k)));
  });
  if (ptx::cluster_ctarank() == 0 && threadIdx.x == 0) {
    if constexpr (Kind::CENTRED) statistics.mean[slice.row] = moments.mean;
    statistics.rstd[slice.row] = rstd;
  }
  cluster.finish();
}

template <typename T>
__global__ void __launch_bounds__(THREADS) row_norm_bwd_cluster_kernel(Gradient<T> p) {
  constexpr int WIDTH = VEC_BYTES / static_cast<int>(sizeof(T));
  using Lane = Row<T, WIDTH, THREADS, CLUSTER_HELD / WIDTH>;
  Slice const slice(p.n, WIDTH);
  int const n = slice.n;
  int64_t const offset = slice.row * p.n + slice.begin;

  Lane rx;
  HeldGradient<T, WIDTH, THREADS, CLUSTER_HELD / WIDTH> rdz;
  rx.load(p.x + offset, n);
  rdz.load(p.dy + offset, n);

  Standardize const xhat = p.xhat(slice.row);
  rdz.before_f(p, xhat, rx, slice.begin, n);
  auto const g = [&](int v, int k) { return rdz(v, k) * p.w(slice.begin + Lane::at(v) + k); };
  ClusterTeam<THREADS> cluster;
  TwoSums<Sum> const part = Lane::fold(TwoSums<Sum>{}, n, Add{}, [&](int v, int k) {
    return TwoSums<Sum>{Sum(g(v, k)), Sum::product(g(v, k), xhat.rough(rx(v, k)))};
  });
  Slope const slope = p.slope(xhat, cluster.reduce(part, Add{}));

  Lane rds{};
  if (p.dsum != nullptr) rds.load(p.dsum + offset, n);
  Lane::map(p.dx + offset, n, [&](int v, int k) {
    float const dx = slope.dx(rx(v, k), g(v, k));
    return p.dsum != nullptr ? dx + rds(v, k) : dx;
  });
  cluster.finish();
}

template <typename Kind, typename T>
void fwd_cluster(char const* op, cudaStream_t stream, T const* x, Addition<T> add, int64_t rows,
                 int64_t n, float eps, RowAffine<T> affine, T* y, RowStatistics statistics) {
  static_assert(CLUSTER_ROW == MAX_CLUSTER * THREADS * CLUSTER_HELD,
                "what the greatest cluster holds");
  unsigned const ctas = cluster_size(n, THREADS * CLUSTER_HELD);
  unsigned const grid = row_grid<THREADS>(op, rows * ctas);
  launch(row_norm_fwd_cluster_kernel<Kind, T>, LaunchConfig{grid, THREADS, 0, stream, ctas}, x, add,
         n, eps, affine, y, statistics);
}

template <typename T>
void bwd_cluster(char const* op, cudaStream_t stream, Gradient<T> p) {
  unsigned const ctas = cluster_size(p.n, THREADS * CLUSTER_HELD);
  unsigned const grid = row_grid<THREADS>(op, p.rows * ctas);
  launch(row_norm_bwd_cluster_kernel<T>, LaunchConfig{grid, THREADS, 0, stream, ctas}, p);
}

template void fwd_cluster<Layer>(char const*, cudaStream_t, float const*, Addition<float>, int64_t,
                                 int64_t, float, RowAffine<float>, float*, RowStatistics);
template void fwd_cluster<Rms>(char const*, cudaStream_t, float const*, Addition<float>, int64_t,
                               int64_t, float, RowAffine<float>, float*, RowStatistics);
template void bwd_cluster(char const*, cudaStream_t, Gradient<float>);
template void fwd_cluster<Layer>(char const*, cudaStream_t, __half const*, Addition<__half>,
                                 int64_t, int64_t, float, RowAffine<__half>, __half*,
                                 RowStatistics);
template void fwd_cluster<Rms>(char const*, cudaStream_t, __half const*, Addition<__half>, int64_t,
                               int64_t, float, RowAffine<__half>, __half*, RowStatistics);
template void bwd_cluster(char const*, cudaStream_t, Gradient<__half>);
template void fwd_cluster<Layer>(char const*, cudaStream_t, __nv_bfloat16 const*,
                                 Addition<__nv_bfloat16>, int64_t, int64_t, float,
                                 RowAffine<__nv_bfloat16>, __nv_bfloat16*, RowStatistics);
template void fwd_cluster<Rms>(char const*, cudaStream_t, __nv_bfloat16 const*,
                               Addition<__nv_bfloat16>, int64_t, int64_t, float,
                               RowAffine<__nv_bfloat16>, __nv_bfloat16*, RowStatistics);
template void bwd_cluster(char const*, cudaStream_t, Gradient<__nv_bfloat16>);

}  // namespace pynn::norm
