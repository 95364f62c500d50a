// softmax.cu — y = exp(x - max) / sum over rows: shuffles in a warp, shared memory between warps.
//
//   x, y (R, C) f32; one CTA of 128 threads for each row; every C >= 1
//   bytes 4 (3 RC + RC)   bound: memory

#include "common/launch.h"
#include "common/shared.cuh"
#include "entry.h"

namespace pynn {
namespace {

constexpr int THREADS = 128, WARPS = THREADS / 32;

struct Max {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};
struct Sum {
  __device__ float operator()(float a, float b) const { return a + b; }
};

template <class Op>
__device__ float reduce_block(float v, Op op) {
  auto& partial = shared<float[WARPS], "partial">();
#pragma unroll
  for (int o = 16; o; o >>= 1) v = op(v, __shfl_xor_sync(~0u, v, o));
  __syncthreads();  // the reduction before may still be read
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = v;
  __syncthreads();
  v = partial[0];
  for (int i = 1; i < WARPS; ++i) v = op(v, partial[i]);
  return v;
}

__global__ void __launch_bounds__(THREADS) softmax_kernel(const float* x, float* y, int C) {
  const float* row = x + size_t(blockIdx.x) * C;
  float* out = y + size_t(blockIdx.x) * C;
  float max = -INFINITY, sum = 0;
  for (int c = threadIdx.x; c < C; c += THREADS) max = fmaxf(max, row[c]);
  max = reduce_block(max, Max());
  for (int c = threadIdx.x; c < C; c += THREADS) sum += __expf(row[c] - max);
  sum = reduce_block(sum, Sum());
  for (int c = threadIdx.x; c < C; c += THREADS) out[c] = __expf(row[c] - max) / sum;
}

}  // namespace
}  // namespace pynn

extern "C" const char* softmax(const float* x, float* y, int R, int C) {
  using namespace pynn;
  return guarded([=] { launch(softmax_kernel, R, THREADS, 0, nullptr, x, y, C); });
}
