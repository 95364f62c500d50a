// second_pass.cu — what follows a product whose K was cut: the sum of its parts, in their order;
// and the sums of A's lines where the rung does not bring them.
//
//   split-K    parts (splits, batch, M, N) of all of D      bytes 4 splits MN + sizeof(T) MN
//   stream-K   pieces of the tiles that were left           bytes 4 BM BN (workers + tiles), and D
//   lines      column sums of A (K, M)                      bytes sizeof(T) KM
//
//   f32 throughout; bound: memory

#include <algorithm>
#include <cstdint>

#include "common/array.h"
#include "common/dispatch.h"
#include "common/launch.h"
#include "common/shared.cuh"
#include "common/vec.cuh"

#include "kernels/gemm/gemm.cuh"
#include "kernels/gemm/variants.h"

namespace pynn::gemm {

// ---- split-K

inline constexpr int SUM_THREADS = 256;
inline constexpr int SUM_WIDTH = 4;

// D = epilogue(sum of the parts), in the order of the parts.  bytes 4 splits MN + sizeof(T) MN
__global__ void __launch_bounds__(SUM_THREADS)
    sum_splits_kernel(float const* parts, int splits, int64_t rows, bool aligned, Epilogue e) {
  int64_t const across = (e.N + SUM_WIDTH - 1) / SUM_WIDTH;
  int64_t const all = rows * across;
  int64_t const step = int64_t{gridDim.x} * SUM_THREADS;
  unsigned most = 0;
  for (int64_t i = int64_t{blockIdx.x} * SUM_THREADS + threadIdx.x; i < all; i += step) {
    int64_t const row = i / across;
    int64_t const n = i % across * SUM_WIDTH;
    int const count = static_cast<int>(min(int64_t{SUM_WIDTH}, e.N - n));
    Vec<float, SUM_WIDTH> sum{};
    for (int s = 0; s < splits; ++s) {
      Vec<float, SUM_WIDTH> part;
      load_piece(parts + (s * rows + row) * e.N + n, count, aligned, part);
#pragma unroll
      for (int j = 0; j < SUM_WIDTH; ++j) sum.at[j] += part.at[j];
    }
    most = greatest(e, n, finish(e, row, n, sum), most);
  }
  finish_amax(e, most);

  if (e.sums == nullptr) return;
  float const* const lines = parts + splits * rows * e.N;
  for (int64_t row = int64_t{blockIdx.x} * SUM_THREADS + threadIdx.x; row < rows; row += step) {
    float sum = 0.f;
    for (int s = 0; s < splits; ++s) sum += lines[s * rows + row];
    finish_sum(e, row, sum);
  }
}

bool parts_are_aligned(Problem const& p, float const* parts) {
  return is_vec_aligned(parts) && p.N % SUM_WIDTH == 0;
}

Problem to_parts(Problem p, float* parts) {
  bool const aligned = parts_are_aligned(p, parts);
  bool const sums = p.epilogue.sums != nullptr;
  p.epilogue = {};
  p.epilogue.d = parts;
  if (sums) p.epilogue.sums = parts + p.splits * p.batch * p.M * p.N;
  p.epilogue.N = p.epilogue.ld = p.N;
  p.epilogue.dtype = DType::f32;
  p.epilogue.aligned = aligned;
  return p;
}

void sum_splits(cudaStream_t stream, Problem const& p, float const* parts) {
  int64_t const rows = p.batch * p.M;
  int64_t const pieces = rows * ((p.N + SUM_WIDTH - 1) / SUM_WIDTH);
  launch(sum_splits_kernel, grid_of((pieces + SUM_THREADS - 1) / SUM_THREADS), SUM_THREADS, 0,
         stream, parts, p.splits, rows, parts_are_aligned(p, parts), p.epilogue);
}

// ---- stream-K

Epilogue stream_parts(Problem const& p, int64_t BM, int64_t BN) {
  Epilogue e{};
  e.d = p.parts;
  if (p.epilogue.sums != nullptr) e.sums = p.parts + 2 * p.workers * BM * BN;
  e.N = e.ld = BN;
  e.dtype = DType::f32;
  e.aligned = is_vec_aligned(p.parts);
  return e;
}

// Calls f(slot) for each piece of tile `tile` of those left, in the order of K.
template <class F>
__device__ inline void for_pieces(Stream const& s, int tile, F&& f) {
  int const begin = tile * s.steps;
  int worker = begin / (s.share + 1);  // none before reaches it
  for (; worker < s.workers && s.begin(worker) < begin + s.steps; ++worker) {
    if (s.begin(worker + 1) > begin) f(worker * 2 + (s.begin(worker) < begin));
  }
}

// D = epilogue(the sum of a tile's pieces), in their order; a CTA for 1024 elements of each tile
// that was left.  bytes 4 BM BN (workers + tiles) + sizeof(T) BM BN tiles
__global__ void __launch_bounds__(SUM_THREADS)
    sum_pieces_kernel(__grid_constant__ Problem const p, __grid_constant__ Stream const stream,
                      int BM, int BN, int BK) {
  int64_t const all = int64_t{BM} * BN;
  int64_t const blocks = all / (SUM_THREADS * SUM_WIDTH);
  int const tile = static_cast<int>(blockIdx.x / blocks);
  int64_t const i = (blockIdx.x % blocks * SUM_THREADS + threadIdx.x) * SUM_WIDTH;
  Work const work = find_work(p, stream.first + tile, BM, BN, BK);
  Epilogue const& e = p.epilogue;
  bool const aligned = reinterpret_cast<uintptr_t>(p.parts) % VEC_BYTES == 0;
  int64_t const m = i / BN;
  int64_t const n = work.n0 + i % BN;
  unsigned most = 0;
  if (work.m0 + m < p.M) {
    Vec<float, SUM_WIDTH> sum{};
    float line = 0.f;
    bool const lines = e.sums != nullptr && n == 0;
    for_pieces(stream, tile, [&](int slot) {
      Vec<float, SUM_WIDTH> part;
      load_piece(p.parts + slot * all + i, SUM_WIDTH, aligned, part);
#pragma unroll
      for (int j = 0; j < SUM_WIDTH; ++j) sum.at[j] += part.at[j];
      if (lines) line += p.parts[2 * stream.workers * all + slot * BM + m];
    });
    most = greatest(e, n, finish(e, work.row + m, n, sum), most);
    if (lines) finish_sum(e, work.row + m, line);
  }
  finish_amax(e, most);
}

void sum_pieces(cudaStream_t stream, Problem const& p, int BM, int BN, int BK) {
  Stream const line = stream_of(p, BM, BN, BK);
  launch(sum_pieces_kernel, grid_of(line.tiles * (BM * BN / (SUM_THREADS * SUM_WIDTH))),
         SUM_THREADS, 0, stream, p, line, BM, BN, BK);
}

// ---- sums of A's lines, where the rung does not bring them

inline constexpr int LINE_COLUMNS = 32;
inline constexpr int LINE_ROWS = 32;

// Sums down the columns of A (batch, K, M): 32 columns a CTA, every 32nd k a thread.
template <typename T>
__global__ void __launch_bounds__(LINE_COLUMNS* LINE_ROWS)
    add_lines_kernel(__grid_constant__ Problem const p) {
  auto& sums = shared<float[LINE_ROWS][LINE_COLUMNS], "sums">();
  int const column = static_cast<int>(threadIdx.x) % LINE_COLUMNS;
  int const first = static_cast<int>(threadIdx.x) / LINE_COLUMNS;
  int64_t const across = (p.M + LINE_COLUMNS - 1) / LINE_COLUMNS;
  for (int64_t work = blockIdx.x; work < across * p.batch; work += gridDim.x) {
    int64_t const z = work / across;
    int64_t const m = work % across * LINE_COLUMNS + column;
    float sum = 0.f;
    if (m < p.M) {
      T const* const a = p.A.corner<T>(p.inner, z, m, 0);
      for (int64_t k = first; k < p.K; k += LINE_ROWS) sum += static_cast<float>(a[k * p.A.ld]);
    }
    sums[first][column] = sum;
    __syncthreads();
    if (first == 0 && m < p.M) {
      for (int i = 1; i < LINE_ROWS; ++i) sum += sums[i][column];
      finish_sum(p.epilogue, z * p.M + m, sum);
    }
    __syncthreads();
  }
}

void add_lines(cudaStream_t stream, DType dtype, Problem const& p) {
  int64_t const work = (p.M + LINE_COLUMNS - 1) / LINE_COLUMNS * p.batch;
  dispatch_float("gemm_sums", "a", dtype, [&]<typename T>() {
    launch(add_lines_kernel<T>, grid_of(work), LINE_COLUMNS * LINE_ROWS, 0, stream, p);
  });
}

}  // namespace pynn::gemm
