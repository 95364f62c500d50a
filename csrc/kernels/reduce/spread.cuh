// spread.cuh — dx[o, i, c] = op(x[o, i, c], what op knows of output (o, c)): reductions' gradients.
//
//   dx (outer, n, inner);  256 threads a CTA, a thread one vector of 16 bytes, or one element
//   A vector lies in one row (inner = 1), or has an output for each element (inner a multiple of
//   WIDTH); other shapes, and misaligned arrays, go element by element.
//
//   An Op has  output(o) -> Output, read once a vector or once an element;  load<WIDTH>(i), which
//   fetches a vector of what lies beside dx;  dx(k, Output).

#pragma once

#include <cstdint>
#include <limits>

#include "common/array.h"
#include "common/check.h"
#include "common/launch.h"
#include "common/vec.cuh"

namespace pynn::reduce {

inline constexpr int SPREAD_THREADS = 256;

// ROWS: inner is 1, and a vector shares its output.
template <typename Op, typename T, int WIDTH, bool ROWS>
__global__ void __launch_bounds__(SPREAD_THREADS)
    spread_kernel(Op op, int64_t size, int64_t n, int64_t inner, T* dx) {
  int64_t const i = (int64_t{blockIdx.x} * SPREAD_THREADS + threadIdx.x) * WIDTH;
  if (i >= size) return;
  op.template load<WIDTH>(i);
  Vec<T, WIDTH> result;
  if constexpr (ROWS) {
    auto const output = op.output(i / n);
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) result.at[k] = static_cast<T>(op.dx(k, output));
  } else {
    int64_t const line = i / inner;  // o n + i
    int64_t const first = line / n * inner + (i - line * inner);
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) result.at[k] = static_cast<T>(op.dx(k, op.output(first + k)));
  }
  store_vec<WIDTH>(dx + i, result);
}

// aligned: whether what op reads starts at 16-byte addresses.
template <typename T, typename Op>
void spread(char const* name, cudaStream_t stream, Out dx, Op op, bool aligned) {
  int64_t const size = dx.size();
  int64_t const n = dx.dims[1];
  int64_t const inner = dx.dims[2];
  if (size == 0) return;
  auto const run = [&]<int WIDTH, bool ROWS>() {
    constexpr int64_t TILE = int64_t{SPREAD_THREADS} * WIDTH;
    int64_t const ctas = size / TILE + (size % TILE != 0);
    constexpr int64_t MAX_CTAS = std::numeric_limits<int32_t>::max();
    expect(ctas <= MAX_CTAS, name, "dx", "at most " + show(TILE * MAX_CTAS) + " elements", size);
    launch(spread_kernel<Op, T, WIDTH, ROWS>, static_cast<unsigned>(ctas), SPREAD_THREADS, 0,
           stream, op, size, n, inner, dx.data<T>());
  };
  constexpr int WIDTH = VEC_BYTES / static_cast<int>(sizeof(T));
  bool const vectors = aligned && is_vec_aligned(dx.ptr);
  if (inner == 1) {
    vectors&& n % WIDTH == 0 ? run.template operator()<WIDTH, true>()
                             : run.template operator()<1, true>();
  } else {
    vectors&& inner % WIDTH == 0 ? run.template operator()<WIDTH, false>()
                                 : run.template operator()<1, false>();
  }
}

}  // namespace pynn::reduce
