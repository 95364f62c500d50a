// pipeline.cu — y[i] = x[n - 1 - i], through a ring of shared memory that cp.async fills ahead of its use.
//
//   x, y (n,) f32, every n; one CTA of 64 threads walks over chunks of 256 elements, 3 stages
//
//   fill 0, fill 1 │ wait 0, use 0, fill 2 │ wait 1, use 1, fill 3 │ ...     copies of two chunks are always under way

#include "common/launch.h"
#include "common/shared.cuh"
#include "entry.h"

#include "arch/cp_async.cuh"

namespace pynn {
namespace {

constexpr int THREADS = 64, WIDTH = 4, CHUNK = THREADS * WIDTH, STAGES = 3;

__global__ void __launch_bounds__(THREADS) pipeline_kernel(const float* x, float* y, int n) {
  auto& ring = shared<float[STAGES][CHUNK], "ring">();
  const int t = threadIdx.x, chunks = (n + CHUNK - 1) / CHUNK;

  auto fill = [&](int chunk) {
    const int i = chunk * CHUNK + t * WIDTH, left = max(0, min(WIDTH, n - i));
    if (chunk < chunks) {
      ptx::cp_async_cg_zfill(ptx::smem_u32(&ring[chunk % STAGES][t * WIDTH]), left ? x + i : x,
                             left * 4);
    }
    ptx::cp_async_commit_group();  // an empty group too: the count stays the same for every chunk
  };

  for (int c = 0; c < STAGES - 1; ++c) fill(c);
  for (int c = 0; c < chunks; ++c) {
    // wait for stage
    ptx::cp_async_wait_group<STAGES - 2>();
    __syncthreads();

    // use stage, fill the one that was used before
    for (int k = t; k < CHUNK; k += THREADS) {
      const int i = c * CHUNK + CHUNK - 1 - k;
      if (i < n) y[n - 1 - i] = ring[c % STAGES][CHUNK - 1 - k];
    }
    fill(c + STAGES - 1);
  }
}

}  // namespace
}  // namespace pynn

extern "C" const char* pipeline(const float* x, float* y, int n) {
  using namespace pynn;
  return guarded([=] { launch(pipeline_kernel, 1, THREADS, 0, nullptr, x, y, n); });
}
