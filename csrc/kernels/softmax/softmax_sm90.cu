// softmax_sm90.cu — softmax and its logarithm of long rows, each held by a cluster of CTAs: one read
// and one write of each element. Mathematics and arguments as in softmax.cu.
//
//   grid   clusters of 2, 4 or 8 CTAs, one a row: common/cluster_row.cuh
//   CTA    512 threads with up to 64 elements each; gradient: 32 of y and of dy
//   rows   in 16-byte steps
//
//   bytes  forward 2 n sizeof(T), backward 3 n sizeof(T) a row     bound: memory

#include "kernels/softmax/softmax.cuh"

#include "common/cluster_row.cuh"

namespace pynn::softmax {

inline constexpr int THREADS = 512;
inline constexpr int HELD = 64;  // elements of a thread

template <typename Op, typename T>
__global__ void __launch_bounds__(THREADS)
    softmax_fwd_cluster_kernel(T const* x, int64_t columns, T* y) {
  constexpr int WIDTH = VEC_BYTES / static_cast<int>(sizeof(T));
  using Lane = Row<T, WIDTH, THREADS, HELD / WIDTH>;
  Slice const slice(columns, WIDTH);
  int const n = slice.n;
  int64_t const offset = slice.row * columns + slice.begin;

  Lane rx;
  rx.load(x + offset, n);

  ClusterTeam<THREADS> cluster;
  float const max = finite_peak(cluster.reduce(Lane::fold(-INFINITY, n, Max{}, rx), Max{}));
  Sum sum = Lane::fold(0.f, n, Add{}, [&](int v, int k) { return expf(rx(v, k) - max); });
  sum = cluster.reduce(sum, Add{});

  Op const op(max, sum.value());
  Lane::map(y + offset, n, [&](int v, int k) { return op(rx(v, k)); });
  cluster.finish();
}

template <typename Gradient, typename T>
__global__ void __launch_bounds__(THREADS)
    softmax_bwd_cluster_kernel(T const* y, T const* dy, int64_t columns, T* dx) {
  constexpr int WIDTH = VEC_BYTES / static_cast<int>(sizeof(T));
  using Lane = Row<T, WIDTH, THREADS, HELD / 2 / WIDTH>;
  using State = typename Gradient::State;
  Slice const slice(columns, WIDTH);
  int const n = slice.n;
  int64_t const offset = slice.row * columns + slice.begin;

  Lane ry;
  Lane rdy;
  ry.load(y + offset, n);
  rdy.load(dy + offset, n);

  ClusterTeam<THREADS> cluster;
  State state = Lane::fold(typename Gradient::Part{}, n, Add{},
                           [&](int v, int k) { return Gradient::term(ry(v, k), rdy(v, k)); });
  state = cluster.reduce(state, Add{});

  Lane::map(dx + offset, n, [&](int v, int k) { return Gradient::dx(ry(v, k), rdy(v, k), state); });
  cluster.finish();
}

template <typename Op, typename T>
void fwd_cluster(char const* name, cudaStream_t stream, T const* x, int64_t rows, int64_t n, T* y) {
  static_assert(CLUSTER_ROW == MAX_CLUSTER * THREADS * HELD, "what the greatest cluster holds");
  unsigned const ctas = cluster_size(n, THREADS * HELD);
  unsigned const grid = row_grid<THREADS>(name, rows * ctas);
  launch(softmax_fwd_cluster_kernel<Op, T>, LaunchConfig{grid, THREADS, 0, stream, ctas}, x, n, y);
}

template <typename Gradient, typename T>
void bwd_cluster(char const* name, cudaStream_t stream, T const* y, T const* dy, int64_t rows,
                 int64_t n, T* dx) {
  unsigned const ctas = cluster_size(n, THREADS * HELD / 2);
  unsigned const grid = row_grid<THREADS>(name, rows * ctas);
  launch(softmax_bwd_cluster_kernel<Gradient, T>, LaunchConfig{grid, THREADS, 0, stream, ctas}, y,
         dy, n, dx);
}

template void fwd_cluster<Softmax>(char const*, cudaStream_t, float const*, int64_t, int64_t,
                                   float*);
template void bwd_cluster<SoftmaxGradient>(char const*, cudaStream_t, float const*, float const*,
                                           int64_t, int64_t, float*);
template void fwd_cluster<LogSoftmax>(char const*, cudaStream_t, float const*, int64_t, int64_t,
                                      float*);
template void bwd_cluster<LogSoftmaxGradient>(char const*, cudaStream_t, float const*, float const*,
                                              int64_t, int64_t, float*);
template void fwd_cluster<Softmax>(char const*, cudaStream_t, __half const*, int64_t, int64_t,
                                   __half*);
template void bwd_cluster<SoftmaxGradient>(char const*, cudaStream_t, __half const*, __half const*,
                                           int64_t, int64_t, __half*);
template void fwd_cluster<LogSoftmax>(char const*, cudaStream_t, __half const*, int64_t, int64_t,
                                      __half*);
template void bwd_cluster<LogSoftmaxGradient>(char const*, cudaStream_t, __half const*,
                                              __half const*, int64_t, int64_t, __half*);
template void fwd_cluster<Softmax>(char const*, cudaStream_t, __nv_bfloat16 const*, int64_t,
                                   int64_t, __nv_bfloat16*);
template void bwd_cluster<SoftmaxGradient>(char const*, cudaStream_t, __nv_bfloat16 const*,
                                           __nv_bfloat16 const*, int64_t, int64_t, __nv_bfloat16*);
template void fwd_cluster<LogSoftmax>(char const*, cudaStream_t, __nv_bfloat16 const*, int64_t,
                                      int64_t, __nv_bfloat16*);
template void bwd_cluster<LogSoftmaxGradient>(char const*, cudaStream_t, __nv_bfloat16 const*,
                                              __nv_bfloat16 const*, int64_t, int64_t,
                                              __nv_bfloat16*);

}  // namespace pynn::softmax
