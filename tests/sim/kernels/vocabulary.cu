// vocabulary.cu — CUDA's own warp functions, votes and atomics, each against what CUDA C++ says of it.

#include "common/launch.h"
#include "common/shared.cuh"
#include "entry.h"

namespace pynn {
namespace {

// x (64,), out (20, 64): one row for each function, two warps
__global__ void warp_kernel(const int* x, int* out) {
  const int t = threadIdx.x, lane = t % 32, v = x[t];
  const unsigned all = ~0u, half = lane < 16 ? 0x0000FFFFu : 0xFFFF0000u;
  int row = 0, everyone = 0;
  auto put = [&](int value) { out[row++ * 64 + t] = value; };
  put(__shfl_sync(all, v, 5));
  put(__shfl_sync(all, v, 3, 8));
  put(__shfl_up_sync(all, v, 3));
  put(__shfl_up_sync(all, v, 3, 8));
  put(__shfl_down_sync(all, v, 3));
  put(__shfl_down_sync(all, v, 3, 8));
  put(__shfl_xor_sync(all, v, 5));
  put(__shfl_xor_sync(all, v, 12, 8));
  put(__shfl_sync(half, v, 2, 16));
  put(int(__ballot_sync(all, v & 1)));
  put(__any_sync(all, v == 7));
  put(__all_sync(all, v < 100));
  put(int(__match_any_sync(all, v % 5)));
  put(int(__match_all_sync(all, t / 32, &everyone)) + everyone);
  put(__reduce_add_sync(all, v));
  put(__reduce_min_sync(all, v));
  put(__reduce_max_sync(all, v));
  put(__syncthreads_count(v & 1));
  put(__syncthreads_or(v == 7));
  put(__syncthreads_and(v < 100));
}

// Every thread applies each atomic once to its own word of `words`.
__global__ void atomic_kernel(int* words, unsigned* counters, float* sum, __half2* pair,
                              unsigned long long* wide) {
  const int t = threadIdx.x;
  atomicAdd(&words[0], t);
  atomicSub(&words[1], t);
  atomicMin(&words[2], 5 - t);
  atomicMax(&words[3], t - 5);
  atomicAnd(&words[4], ~(1 << t % 8));
  atomicOr(&words[5], 1 << t % 8);
  atomicXor(&words[6], t);
  atomicExch(&words[7], 77);
  if (t == 3) atomicCAS(&words[8], 1, 9);
  atomicInc(&counters[0], 9);
  atomicDec(&counters[1], 9);
  atomicAdd(sum, 0.5f);
  atomicAdd(pair, __floats2half2_rn(1, 2));
  atomicAdd(wide, 1ull << 40);
}

// A lock that is polled, and the block's order of y is the order in which they got it.
__global__ void lock_kernel(int* lock, int* count, int* y) {
  while (atomicCAS(lock, 0, 1) != 0) {
  }
  __threadfence();
  const int n = *count;
  y[n] = int(threadIdx.x);
  *count = n + 1;
  __threadfence();
  atomicExch(lock, 0);
}

}  // namespace
}  // namespace pynn

using namespace pynn;

extern "C" const char* warp_functions(const int* x, int* out) {
  return guarded([=] { launch(warp_kernel, 1, 64, 0, nullptr, x, out); });
}

extern "C" const char* atomics(int* words, unsigned* counters, float* sum, __half2* pair,
                               unsigned long long* wide) {
  return guarded(
      [=] { launch(atomic_kernel, 4, 32, 0, nullptr, words, counters, sum, pair, wide); });
}

extern "C" const char* lock(int* lock, int* count, int* y) {
  return guarded([=] { launch(lock_kernel, 1, 48, 0, nullptr, lock, count, y); });
}
