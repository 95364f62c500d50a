// embedding.cu — rows of a table by their number, and the gradient of the table without atomics.
//
//   embedding_fwd   y[i] = w[index[i]]                        w (V, D), index (n,) int64, y (n, D)
//   embedding_bwd   dw[k] = sum of dy[i] over index[i] = k    dw (V, D), all 0 before
//                   order (n,) int64 sorts index stably, sorted (n,) = index[order]
//                   partial (ceil(n / PART), 2, D) f32;  the row `padding` of dw stays 0, -1: none
//   T = f32 | f16 | bf16, sums in f32, one rounding
//
//   The backward walks the positions in sorted order, so that equal indices are neighbours (a run).
//
//   sorted   3 3 3 7 │ 7 7 7 7 │ 7 8 9 9      PART = 4 here
//   piece      dw[3]   0: 7777   0: 7         a run inside a part goes to dw at once; of a longer
//              1: 7              dw[8] dw[9]  one, the part where it begins keeps piece 1, each
//                                             later part piece 0, and a second launch adds them up
//
//   Every sum has one order, so the same bits come out each time, and a token that is half of the
//   batch is still summed by many CTAs. An index outside [0, V) reads as NaN and is not added.
//
//   grid    ceil(rows / TY) x column tiles in the backward;  CTA 256 threads as TX lanes over
//           vectors of a row times TY rows or parts;  4 loads in flight
//   WIDTH   16 bytes where all rows are aligned, 1 element otherwise
//   bytes   forward n (2 D sizeof(T) + 8)
//           backward n (D sizeof(T) + 16) + rows hit D sizeof(T) + pieces 8 D    bound: memory

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "common/array.h"
#include "common/check.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/launch.h"
#include "common/vec.cuh"

namespace pynn::embedding {

inline constexpr int THREADS = 256;
inline constexpr int LOADS = 4;
inline constexpr int PART = 16;

template <int WIDTH, typename T>
__global__ void __launch_bounds__(THREADS)
    embedding_kernel(int64_t n, int64_t rows, int64_t columns, T const* w, int64_t const* index,
                     T* y) {
  int64_t const i = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (i >= n) return;
  int64_t const row = index[i];
  bool const inside = row >= 0 && row < rows;
  T const* const from = w + (inside ? row : 0) * columns;
  T* const to = y + i * columns;
  int64_t const step = int64_t{blockDim.x} * WIDTH;
  for (int64_t c = threadIdx.x * WIDTH; c < columns; c += LOADS * step) {
    Vec<T, WIDTH> loads[LOADS]{};
#pragma unroll
    for (int l = 0; l < LOADS; ++l) {
      if (inside && c + l * step < columns) loads[l] = load_vec<WIDTH>(from + c + l * step);
    }
#pragma unroll
    for (int l = 0; l < LOADS; ++l) {
      if (c + l * step >= columns) break;
      if (!inside) {
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) loads[l].at[k] = static_cast<T>(NAN);
      }
      store_vec<WIDTH>(to + c + l * step, loads[l]);
    }
  }
}

struct Runs {
  int64_t n;
  int64_t rows;     // V
  int64_t columns;  // D
  int64_t padding;
  int64_t const* order;
  int64_t const* sorted;

  __device__ bool counts(int64_t row) const { return row >= 0 && row < rows && row != padding; }
  __device__ bool continues(int64_t at) const {  // whether the run of at - 1 goes on
    return at > 0 && at < n && sorted[at] == sorted[at - 1];
  }
};

template <int WIDTH, typename T>
__device__ inline void store_sum(T* to, float (&sums)[WIDTH]) {
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    to[k] = static_cast<T>(sums[k]);
    sums[k] = 0.f;
  }
}

template <int WIDTH, typename T>
__global__ void __launch_bounds__(THREADS)
    runs_kernel(Runs runs, T const* dy, float* partial, T* dw) {
  int64_t const part = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  int64_t const start = part * PART;
  int64_t const c = (int64_t{blockIdx.y} * blockDim.x + threadIdx.x) * WIDTH;
  if (start >= runs.n || c >= runs.columns) return;
  int64_t const end = min(start + PART, runs.n);
  bool begins_here = !runs.continues(start);
  bool const goes_on = runs.continues(end);
  float* const pieces = partial + part * 2 * runs.columns + c;
  float sums[WIDTH] = {};
  for (int64_t i = start; i < end; i += LOADS) {
    Vec<T, WIDTH> loads[LOADS]{};
#pragma unroll
    for (int l = 0; l < LOADS; ++l) {
      if (i + l < end) loads[l] = load_vec<WIDTH>(dy + runs.order[i + l] * runs.columns + c);
    }
#pragma unroll
    for (int l = 0; l < LOADS; ++l) {
      if (i + l >= end) break;
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) sums[k] += static_cast<float>(loads[l].at[k]);
      bool const last = i + l + 1 == end;
      if (!last && runs.continues(i + l + 1)) continue;

      // end of a run, or of the part
      int64_t const row = runs.sorted[i + l];
      if (!begins_here) {
        store_sum(pieces, sums);
      } else if (last && goes_on) {
        store_sum(pieces + runs.columns, sums);
      } else if (runs.counts(row)) {
        store_sum(dw + row * runs.columns + c, sums);
      } else {
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) sums[k] = 0.f;
      }
      begins_here = true;
    }
  }
}

// Adds up the runs that go over several parts; a part does it for the run that begins in it last.
template <typename T>
__global__ void __launch_bounds__(THREADS) pieces_kernel(Runs runs, float const* partial, T* dw) {
  int64_t part = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  int64_t const c = int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  int64_t end = (part + 1) * PART;
  if (end >= runs.n || c >= runs.columns || !runs.continues(end)) return;
  int64_t const row = runs.sorted[end];
  bool const from_before = runs.sorted[end - PART] == row && runs.continues(end - PART);
  if (from_before || !runs.counts(row)) return;
  float sum = partial[(part * 2 + 1) * runs.columns + c];
  bool more = true;
  while (more) {
    ++part;
    end += PART;
    sum += partial[part * 2 * runs.columns + c];
    more = end < runs.n && runs.sorted[end] == row;
  }
  dw[row * runs.columns + c] = static_cast<T>(sum);
}

// Lanes over the vectors of a row: a power of two up to a warp.
unsigned lanes(int64_t vectors) {
  unsigned tx = 1;
  while (tx < 32 && tx < vectors) tx *= 2;
  return tx;
}

void embedding_fwd(cudaStream_t stream, Array w, Array index, Out y) {
  char const* const name = "embedding_fwd";
  expect_ndim(name, "w", w, 2);
  expect_ndim(name, "index", index, 1);
  expect_dtype(name, "index", index, DType::i64);
  expect_dtype(name, "y", y, w.dtype);
  expect_shape(name, "y", y, {index.dims[0], w.dims[1]});
  if (y.size() == 0) return;
  int64_t const n = index.dims[0];
  int64_t const columns = w.dims[1];
  dispatch_float(name, "w", w.dtype, [&]<typename T>() {
    auto const run = [&]<int WIDTH>() {
      unsigned const tx = lanes((columns + WIDTH - 1) / WIDTH);
      unsigned const ty = THREADS / tx;
      launch(embedding_kernel<WIDTH, T>, static_cast<unsigned>((n + ty - 1) / ty), dim3(tx, ty), 0,
             stream, n, w.dims[0], columns, w.data<T>(), index.data<int64_t>(), y.data<T>());
    };
    constexpr int WIDTH = VEC_BYTES / sizeof(T);
    if (columns % WIDTH == 0 && is_vec_aligned(w.ptr) && is_vec_aligned(y.ptr)) {
      run.template operator()<WIDTH>();
    } else {
      run.template operator()<1>();
    }
  });
}
PYNN_EXPORT(embedding_fwd, "(w, index, y)  y[i] = w[index[i]]");

void embedding_bwd(cudaStream_t stream, Array dy, Array order, Array sorted, Out partial, Out dw,
                   int64_t padding) {
  char const* const name = "embedding_bwd";
  expect_ndim(name, "dy", dy, 2);
  expect_ndim(name, "dw", dw, 2);
  int64_t const n = dy.dims[0];
  int64_t const columns = dy.dims[1];
  int64_t const parts = (n + PART - 1) / PART;
  expect_dtype(name, "order", order, DType::i64);
  expect_shape(name, "order", order, {n});
  expect_dtype(name, "sorted", sorted, DType::i64);
  expect_shape(name, "sorted", sorted, {n});
  expect_dtype(name, "partial", partial, DType::f32);
  expect_shape(name, "partial", partial, {parts, 2, columns});
  expect_dtype(name, "dw", dw, dy.dtype);
  expect_shape(name, "dw", dw, {dw.dims[0], columns});
  if (dy.size() == 0) return;
  Runs const runs{n, dw.dims[0], columns, padding, order.data<int64_t>(), sorted.data<int64_t>()};
  auto const grid = [&](unsigned tx, int64_t vectors) {
    unsigned const ty = THREADS / tx;
    return dim3(static_cast<unsigned>((parts + ty - 1) / ty),
                static_cast<unsigned>((vectors + tx - 1) / tx));
  };
  dispatch_float(name, "dy", dy.dtype, [&]<typename T>() {
    auto const run = [&]<int WIDTH>() {
      int64_t const vectors = (columns + WIDTH - 1) / WIDTH;
      unsigned const tx = lanes(vectors);
      launch(runs_kernel<WIDTH, T>, grid(tx, vectors), dim3(tx, THREADS / tx), 0, stream, runs,
             dy.data<T>(), partial.data<float>(), dw.data<T>());
    };
    constexpr int WIDTH = VEC_BYTES / sizeof(T);
    if (columns % WIDTH == 0 && is_vec_aligned(dy.ptr)) {
      run.template operator()<WIDTH>();
    } else {
      run.template operator()<1>();
    }
    if (parts == 1) return;
    unsigned const tx = lanes(columns);
    launch(pieces_kernel<T>, grid(tx, columns), dim3(tx, THREADS / tx), 0, stream, runs,
           partial.data<float>(), dw.data<T>());
  });
}
PYNN_EXPORT(embedding_bwd,
            "(dy, order, sorted, partial, dw, padding)  dw[k] = sum of dy[i] over index[i] = k; dw "
            "holds zeros, partial has room for (ceil(n / 16), 2, D)");

}  // namespace pynn::embedding
