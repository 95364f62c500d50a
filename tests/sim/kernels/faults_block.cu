// faults_block.cu — faults of blocks and warps: memory, barriers, shuffles, cp.async. See faults.h.

#include "faults.h"

#include "arch/cluster.cuh"
#include "arch/cp_async.cuh"
#include "arch/ldmatrix.cuh"

namespace pynn::faults {
namespace {

constexpr int N = 64;

template <bool BAD>
__global__ void shared_write_past_end(float* y) {
  auto& tile = shared<float[N], "tile">();
  const int t = threadIdx.x;
  float* p = tile;  // a pointer hides the bound from the compiler
  p[t + (BAD && t == N - 1)] = float(t);
  __syncthreads();
  y[t] = t == N - 1 ? float(t) : tile[t];
}

template <bool BAD>
__global__ void shared_read_past_end(float* y) {
  auto& tile = shared<float[N], "tile">();
  const int t = threadIdx.x;
  tile[t] = float(t);
  __syncthreads();
  y[t] = tile[BAD ? t + 1 : t];
}

template <bool BAD>
__global__ void global_read_past_end(const float* x, float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n + BAD) y[i % n] = x[i];
}

template <bool BAD>
__global__ void global_write_past_end(float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (BAD ? i <= n : i < n) y[i] = float(i);
}

template <bool BAD>
__global__ void no_barrier_before_read(float* y) {
  auto& tile = shared<float[N], "tile">();
  const int t = threadIdx.x;
  tile[t] = float(t);
  if (!BAD) __syncthreads();
  y[t] = tile[N - 1 - t];
}

template <bool BAD>
__global__ void no_barrier_before_overwrite(float* y) {
  auto& tile = shared<float[N], "tile">();
  const int t = threadIdx.x;
  tile[t] = float(t);
  __syncthreads();
  const float v = tile[N - 1 - t];
  if (!BAD) __syncthreads();
  tile[t] = -1;
  y[t] = v;
}

template <bool BAD>
__global__ void divergent_barrier(float* y) {
  const int t = threadIdx.x;
  if (BAD && t < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  y[t] = float(t);
}

template <bool BAD>
__global__ void skipped_barrier(float* y) {
  const int t = threadIdx.x;
  if (BAD && t >= 40) return;
  __syncthreads();
  y[t] = float(t);
}

template <bool BAD>
__global__ void shuffle_in_a_branch(float* y, int n) {
  const int t = threadIdx.x;
  float v = float(t);
  if (!BAD || t < n) v = __shfl_xor_sync(~0u, v, 1);
  y[t] = BAD ? v : float(t);
}

template <bool BAD>
__global__ void lane_not_in_mask(float* y) {
  const int t = threadIdx.x;
  const float v = __shfl_sync(BAD ? 0x0000FFFFu : ~0u, float(t), t % 32);
  y[t] = v;
}

template <bool BAD>
__global__ void shuffle_from_absent_lane(float* y) {
  const int t = threadIdx.x;
  const unsigned half = t % 32 < 16 ? 0x0000FFFFu : 0xFFFF0000u;
  const float v = __shfl_sync(half, float(t), BAD ? 31 : t % 32);
  y[t] = v;
}

template <bool BAD>
__global__ void no_syncwarp(float* y) {
  auto& tile = shared<float[N], "tile">();
  const int t = threadIdx.x;
  tile[t] = float(t);
  if (!BAD) __syncwarp();
  y[t] = tile[t ^ 1] + (t & 1 ? 1.0f : -1.0f);
}

template <bool BAD>
__global__ void uninitialised_shared(float* y) {
  auto& tile = shared<float[N], "tile">();
  const int t = threadIdx.x;
  if (!BAD || t % 32) tile[t] = float(t);
  __syncthreads();
  y[t] = tile[t];
}

template <bool BAD>
__global__ void misaligned_vector_load(const float* x, float* y) {
  const int t = threadIdx.x;
  const float4 v = *reinterpret_cast<const float4*>(x + 4 * (t % 8) + BAD);
  y[t] = v.w >= 0 ? float(t) : 0;
}

template <bool BAD>
__global__ void int32_overflow(float* y, int rows, int columns) {
  const int t = threadIdx.x;
  int64_t i;
  if (BAD)
    i = (rows + t) * columns;
  else
    i = int64_t(rows + t) * columns;
  y[t] = i % 2 == 0 || i != 0 ? float(t) : 0;
}

template <bool BAD>
__global__ void named_barrier_count(float* y) {
  const int t = threadIdx.x;
  ptx::bar_sync(1, BAD && t < 32 ? 32 : 64);
  y[t] = float(t);
}

template <bool BAD>
__global__ void blocks_write_one_place(float* y) {
  const int t = threadIdx.x;
  if (BAD || blockIdx.x == 0) y[t] = float(t);
}

// The last block to finish adds up what all have written.
template <bool BAD>
__global__ void no_threadfence(float* part, unsigned* count, float* y) {
  const int t = threadIdx.x;
  auto& last = shared<bool, "last">();
  if (t == 0) {
    part[blockIdx.x] = 1.0f;
    if (!BAD) __threadfence();
    last = atomicAdd(count, 1u) == gridDim.x - 1;
    if (!BAD) __threadfence();
  }
  __syncthreads();
  if (!last || t) return;
  float sum = 0;
  for (unsigned i = 0; i < gridDim.x; ++i) sum += part[i];
  *y = sum;
}

template <bool BAD>
__global__ void poll_without_end(float* y, volatile int* flag) {
  if (BAD)
    while (*flag == 0) __nanosleep(100);
  y[threadIdx.x] = float(threadIdx.x);
}

template <bool BAD>
__global__ void failed_assert(float* y) {
  assert(!BAD || threadIdx.x < 50);
  y[threadIdx.x] = float(threadIdx.x);
}

template <bool BAD>
__global__ void too_much_static_shared(float* y) {
  auto& tile = shared<float[BAD ? 12289 : 12288], "tile">();
  tile[threadIdx.x] = float(threadIdx.x);
  y[threadIdx.x] = tile[threadIdx.x];
}

template <bool BAD>
__global__ void cp_async_not_waited(const float* x, float* y) {
  auto& tile = shared<float[N], "tile">();
  const int t = threadIdx.x;
  ptx::cp_async_ca<4>(ptx::smem_u32(&tile[t]), x + t);
  ptx::cp_async_commit_group();
  if (!BAD) ptx::cp_async_wait_group<0>();
  __syncthreads();
  y[t] = tile[t];
}

template <bool BAD>
__global__ void cp_async_without_barrier(const float* x, float* y) {
  auto& tile = shared<float[N], "tile">();
  const int t = threadIdx.x;
  ptx::cp_async_ca<4>(ptx::smem_u32(&tile[t]), x + t);
  ptx::cp_async_wait_all();
  if (!BAD) __syncthreads();
  y[t] = t + tile[N - 1 - t] == float(N - 1) ? float(t) : -1;
}

template <bool BAD>
__global__ void cp_async_misaligned(const float* x, float* y) {
  auto& tile = shared<float[2 * N], "tile">();
  const int t = threadIdx.x;
  if (t < 8) ptx::cp_async_cg(ptx::smem_u32(&tile[4 * t + BAD]), x + 4 * t);
  ptx::cp_async_wait_all();
  y[t] = float(t);
}

template <bool BAD>
__global__ void ldmatrix_misaligned(float* y) {
  auto& tile = shared<uint16_t[8][24], "tile">();
  const int t = threadIdx.x;
  if (t < 8)
    for (int c = 0; c < 24; ++c) tile[t][c] = 0;
  __syncthreads();
  uint32_t r[1];
  ptx::ldmatrix_x1(r, ptx::smem_u32(&tile[t % 8][BAD]));
  y[t] = r[0] == 0 ? float(t) : -1;
}

template <bool BAD>
__global__ void misaligned_atomic(float* y) {
  char* p = reinterpret_cast<char*>(y + N) + (BAD ? 2 : 0);
  atomicAdd(reinterpret_cast<unsigned*>(p), 1u);
  y[threadIdx.x] = float(threadIdx.x);
}

bool counts_up(const float* y) {
  for (int i = 0; i < N; ++i)
    if (!(y[i] == float(i))) return false;
  return true;
}

template <auto CLEAN, auto FAULTY>
bool with_y(bool faulty) {
  Buffer<float> y(N + 1);
  std::fill_n(y.get(), N + 1, -7.0f);
  run(faulty, CLEAN, FAULTY, {dim3(1), N}, y.get());
  return counts_up(y);
}

template <auto CLEAN, auto FAULTY>
bool with_x_and_y(bool faulty) {
  Buffer<float> x(N), y(N);
  run(faulty, CLEAN, FAULTY, {dim3(1), N}, x.get(), y.get());
  return counts_up(y);
}

const Case CASES[] = {
    {"shared_write_past_end", with_y<shared_write_past_end<false>, shared_write_past_end<true>>},
    {"shared_read_past_end", with_y<shared_read_past_end<false>, shared_read_past_end<true>>},
    {"global_read_past_end",
     [](bool faulty) {
       Buffer<float> x(N), y(N);
       run(faulty, global_read_past_end<false>, global_read_past_end<true>, {dim3(2), N}, x.get(),
           y.get(), N);
       return counts_up(y) || faulty;
     }},
    {"global_write_past_end",
     [](bool faulty) {
       Buffer<float> y(N);
       run(faulty, global_write_past_end<false>, global_write_past_end<true>, {dim3(2), N}, y.get(),
           N);
       return counts_up(y);
     }},
    {"no_barrier_before_read",
     [](bool faulty) {
       Buffer<float> y(N);
       run(faulty, no_barrier_before_read<false>, no_barrier_before_read<true>, {dim3(1), N},
           y.get());
       for (int i = 0; i < N; ++i)
         if (!(y[i] == float(N - 1 - i))) return false;
       return true;
     }},
    {"no_barrier_before_overwrite",
     [](bool faulty) {
       Buffer<float> y(N);
       run(faulty, no_barrier_before_overwrite<false>, no_barrier_before_overwrite<true>,
           {dim3(1), N}, y.get());
       for (int i = 0; i < N; ++i)
         if (!(y[i] == float(N - 1 - i))) return false;
       return true;
     }},
    {"divergent_barrier", with_y<divergent_barrier<false>, divergent_barrier<true>>},
    {"skipped_barrier", with_y<skipped_barrier<false>, skipped_barrier<true>>},
    {"shuffle_in_a_branch",
     [](bool faulty) {
       Buffer<float> y(N);
       run(faulty, shuffle_in_a_branch<false>, shuffle_in_a_branch<true>, {dim3(1), N}, y.get(),
           20);
       return counts_up(y);
     }},
    {"lane_not_in_mask", with_y<lane_not_in_mask<false>, lane_not_in_mask<true>>},
    {"shuffle_from_absent_lane",
     with_y<shuffle_from_absent_lane<false>, shuffle_from_absent_lane<true>>},
    {"no_syncwarp", with_y<no_syncwarp<false>, no_syncwarp<true>>},
    {"uninitialised_shared", with_y<uninitialised_shared<false>, uninitialised_shared<true>>},
    {"misaligned_vector_load",
     with_x_and_y<misaligned_vector_load<false>, misaligned_vector_load<true>>},
    {"int32_overflow",
     [](bool faulty) {
       Buffer<float> y(N);
       run(faulty, int32_overflow<false>, int32_overflow<true>, {dim3(1), N}, y.get(), 31000,
           70000);
       return counts_up(y);
     }},
    {"named_barrier_count", with_y<named_barrier_count<false>, named_barrier_count<true>>},
    {"blocks_write_one_place",
     [](bool faulty) {
       Buffer<float> y(N);
       run(faulty, blocks_write_one_place<false>, blocks_write_one_place<true>, {dim3(2), N},
           y.get());
       return counts_up(y);
     }},
    {"no_threadfence",
     [](bool faulty) {
       Buffer<float> part(8), y(1);
       Buffer<unsigned> count(1);
       *count = 0;
       run(faulty, no_threadfence<false>, no_threadfence<true>, {dim3(8), 32}, part.get(),
           count.get(), y.get());
       return *y == 8.0f;
     }},
    {"poll_without_end",
     [](bool faulty) {
       Buffer<float> y(N);
       int flag = 0;
       run(faulty, poll_without_end<false>, poll_without_end<true>, {dim3(1), N}, y.get(), &flag);
       return counts_up(y);
     }},
    {"failed_assert", with_y<failed_assert<false>, failed_assert<true>>},
    {"too_much_static_shared", with_y<too_much_static_shared<false>, too_much_static_shared<true>>},
    {"too_much_dynamic_shared",
     [](bool faulty) {
       Buffer<float> y(N);
       launch(uninitialised_shared<false>, dim3(1), N, faulty ? 227 * 1024 + 16 : 1024, nullptr,
              y.get());
       return counts_up(y);
     }},
    {"too_many_threads",
     [](bool faulty) {
       Buffer<float> y(N);
       launch(failed_assert<false>, dim3(1), faulty ? 1025 : N, 0, nullptr, y.get());
       return counts_up(y);
     }},
    {"cp_async_not_waited", with_x_and_y<cp_async_not_waited<false>, cp_async_not_waited<true>>},
    {"cp_async_without_barrier",
     with_x_and_y<cp_async_without_barrier<false>, cp_async_without_barrier<true>>},
    {"cp_async_misaligned", with_x_and_y<cp_async_misaligned<false>, cp_async_misaligned<true>>},
    {"ldmatrix_misaligned", with_y<ldmatrix_misaligned<false>, ldmatrix_misaligned<true>>},
    {"misaligned_atomic",
     [](bool faulty) {
       Buffer<float> y(N + 4);
       run(faulty, misaligned_atomic<false>, misaligned_atomic<true>, {dim3(1), N}, y.get());
       return counts_up(y);
     }},
};

}  // namespace
}  // namespace pynn::faults

int main(int argc, char** argv) {
  return pynn::faults::main_of(pynn::faults::CASES, argc, argv);
}
