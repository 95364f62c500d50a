// broadcast_sum.cu — sums over rows or columns: the gradient of what broadcasting repeated.
//
//   sum_columns   y[b, s, k] = sum of x[b, r, k] over the rows r of part s;  x (B, R, K), y (B, S, K)
//   sum_rows      y[b, s]    = sum of x[b, r] over part s;                   x (B, R),    y (B, S)
//   part s        rows s P to min(R, (s + 1) P),  P = ceil(R / S); a part may be empty: 0
//   x, y of T = f32 | f16 | bf16, or one of them f32;  sums in f32
//
//   A long sum takes two launches: x to an f32 y with S parts, then that with S = 1. Each element
//   of y is one sum in one order, so the same bits come out each time; there are no atomics.
//   Sums over several groups of axes are one launch after another.
//
//   sum_columns   CTA 256 threads as TX x TY, TX WIDTH columns      k ──► TX vectors
//                 and one part; a thread walks rows TY apart,    r ┌────┬────┬────┐
//                 4 loads in flight, then TY rows meet in        │ │ t0 │ t1 │ .. │ TY rows at
//                 shared memory as a tree                        ▼ └────┴────┴────┘ a time
//                 grid ceil(K / (TX WIDTH)) x S x B
//   sum_rows      a group of 2 to 256 threads takes a part, vectors GROUP apart, 4 loads in flight,
//                 WIDTH sums a thread, then shuffles and, past a warp, shared memory
//                 grid ceil(B / groups of a CTA) x S
//
//   WIDTH   16 bytes where pointer and row are aligned, 1 element otherwise
//   bytes   n sizeof(T) + B S K sizeof(y)    FLOPs n    bound: memory

#include <algorithm>
#include <bit>
#include <cstdint>

#include "common/array.h"
#include "common/check.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/launch.h"
#include "common/shared.cuh"
#include "common/vec.cuh"

namespace pynn::broadcast_sum {

inline constexpr int THREADS = 256;
inline constexpr int UNROLL = 4;
inline constexpr int64_t MAX_PARTS = 65535;  // grid.y

template <int WIDTH, typename T>
__device__ inline void add_vec(float (&sums)[WIDTH], Vec<T, WIDTH> const& v) {
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) sums[k] += static_cast<float>(v.at[k]);
}

struct Columns {
  int64_t rows;     // R
  int64_t columns;  // K
  int64_t part;     // P
  int64_t parts;    // S
  int64_t batches;  // B
};

template <int WIDTH, typename T, typename Y>
__global__ void __launch_bounds__(THREADS) sum_columns_kernel(Columns c, T const* x, Y* y) {
  auto& sums_of = shared<float[WIDTH][THREADS], "sums">();
  int64_t const column = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * WIDTH;
  bool const mine = column < c.columns;
  int64_t const s = blockIdx.y;
  for (int64_t b = blockIdx.z; b < c.batches; b += gridDim.z) {
    T const* const base = x + b * c.rows * c.columns + column;
    int64_t const end = min(c.rows, (s + 1) * c.part);
    float sums[WIDTH] = {};

    // sum rows
    if (mine) {
      int64_t r = s * c.part + threadIdx.y;
      for (; r + (UNROLL - 1) * int64_t{blockDim.y} < end; r += UNROLL * int64_t{blockDim.y}) {
        Vec<T, WIDTH> loads[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; ++u) {
          loads[u] = load_vec<WIDTH>(base + (r + u * int64_t{blockDim.y}) * c.columns);
        }
#pragma unroll
        for (int u = 0; u < UNROLL; ++u) add_vec(sums, loads[u]);
      }
      for (; r < end; r += blockDim.y) add_vec(sums, load_vec<WIDTH>(base + r * c.columns));
    }

    // tree over the thread rows
    int const t = threadIdx.y * blockDim.x + threadIdx.x;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) sums_of[k][t] = sums[k];
    __syncthreads();
    for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
      if (threadIdx.y < half) {
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
          sums[k] += sums_of[k][t + half * blockDim.x];
          sums_of[k][t] = sums[k];
        }
      }
      __syncthreads();
    }

    // store
    if (mine && threadIdx.y == 0) {
      Y* const to = y + (b * c.parts + s) * c.columns + column;
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) to[k] = static_cast<Y>(sums[k]);
    }
  }
}

struct Rows {
  int64_t length;  // R
  int64_t part;    // P
  int64_t parts;   // S
  int64_t rows;    // B
  int log2_group;  // threads of one sum
};

template <int WIDTH, typename T, typename Y>
__global__ void __launch_bounds__(THREADS) sum_rows_kernel(Rows rows, T const* x, Y* y) {
  auto& sums_of = shared<float[THREADS / 32], "sums">();
  int const group = 1 << rows.log2_group;
  int const lane = static_cast<int>(threadIdx.x) & (group - 1);
  int const first = static_cast<int>(threadIdx.x) >> rows.log2_group;  // of the CTA's groups
  int64_t const b = int64_t{blockIdx.x} * (THREADS >> rows.log2_group) + first;
  int64_t const s = blockIdx.y;
  bool const mine = b < rows.rows;

  float sum = 0.f;
  if (mine) {
    int64_t const start = s * rows.part;
    int64_t const end = min(rows.length, start + rows.part);
    T const* const row = x + b * rows.length;
    float sums[WIDTH] = {};
    int64_t const step = int64_t{group} * WIDTH;
    int64_t i = start + int64_t{lane} * WIDTH;
    for (; i + (UNROLL - 1) * step + WIDTH <= end; i += UNROLL * step) {
      Vec<T, WIDTH> loads[UNROLL];
#pragma unroll
      for (int u = 0; u < UNROLL; ++u) loads[u] = load_vec<WIDTH>(row + i + u * step);
#pragma unroll
      for (int u = 0; u < UNROLL; ++u) add_vec(sums, loads[u]);
    }
    for (; i + WIDTH <= end; i += step) add_vec(sums, load_vec<WIDTH>(row + i));
#pragma unroll
    for (int half = WIDTH / 2; half > 0; half /= 2) {
#pragma unroll
      for (int k = 0; k < half; ++k) sums[k] += sums[k + half];
    }
    sum = sums[0];
    if constexpr (WIDTH > 1) {  // what the last vector would overrun
      int64_t const tail = start + max(end - start, int64_t{0}) / WIDTH * WIDTH + lane;
      for (int64_t t = tail; t < end; t += group) sum += static_cast<float>(row[t]);
    }
  }

  // lanes, then warps
  for (int offset = min(group, 32) / 2; offset > 0; offset /= 2) {
    sum += __shfl_xor_sync(~0u, sum, offset);
  }
  if (group > 32) {
    if (threadIdx.x % 32 == 0) sums_of[threadIdx.x / 32] = sum;
    __syncthreads();
    int const warps = group / 32;
    sum = 0.f;
    for (int w = 0; w < warps; ++w) sum += sums_of[first * warps + w];
  }
  if (mine && lane == 0) y[b * rows.parts + s] = static_cast<Y>(sum);
}

unsigned power_of_two_at_least(int64_t n, unsigned most) {
  unsigned p = 1;
  while (p < most && p < n) p *= 2;
  return p;
}

template <int WIDTH, typename T, typename Y>
void launch_columns(cudaStream_t stream, Columns c, T const* x, Y* y) {
  unsigned const tx = power_of_two_at_least((c.columns + WIDTH - 1) / WIDTH, 32);
  int64_t const across = (c.columns + int64_t{tx} * WIDTH - 1) / (int64_t{tx} * WIDTH);
  constexpr int64_t MOST = 65535;
  dim3 const grid(static_cast<unsigned>(across), static_cast<unsigned>(c.parts),
                  static_cast<unsigned>(std::min(c.batches, MOST)));
  launch(sum_columns_kernel<WIDTH, T, Y>, grid, dim3(tx, THREADS / tx), 0, stream, c, x, y);
}

template <int WIDTH, typename T, typename Y>
void launch_rows(cudaStream_t stream, Rows rows, T const* x, Y* y) {
  // 4 vectors a thread, or the whole CTA
  unsigned const group = power_of_two_at_least(rows.part / (UNROLL * WIDTH), THREADS);
  rows.log2_group = std::countr_zero(group);
  int64_t const each = THREADS / group;
  dim3 const grid(static_cast<unsigned>((rows.rows + each - 1) / each),
                  static_cast<unsigned>(rows.parts));
  launch(sum_rows_kernel<WIDTH, T, Y>, grid, THREADS, 0, stream, rows, x, y);
}

// x of T or f32 and y of T or f32, not two different 16-bit dtypes.
template <typename F>
void dispatch_sum(char const* name, Array x, Out y, F&& f) {
  dispatch_float(name, "x", x.dtype, [&]<typename T>() {
    if (y.dtype == DType::f32) return f.template operator()<T, float>();
    if constexpr (sizeof(T) == 4) {
      dispatch_half(name, "y", y.dtype, [&]<typename Y>() { f.template operator()<T, Y>(); });
    } else {
      expect_dtype(name, "y", y, x.dtype);
      f.template operator()<T, T>();
    }
  });
}

void sum_columns(cudaStream_t stream, Array x, Out y) {
  expect_ndim("sum_columns", "x", x, 3);
  expect_ndim("sum_columns", "y", y, 3);
  expect_shape("sum_columns", "y", y, {x.dims[0], y.dims[1], x.dims[2]});
  expect(y.dims[1] <= MAX_PARTS, "sum_columns", "y", "at most 65535 parts", y.dims[1]);
  if (y.size() == 0) return;
  Columns const c{x.dims[1], x.dims[2], (x.dims[1] + y.dims[1] - 1) / y.dims[1], y.dims[1],
                  x.dims[0]};
  dispatch_sum("sum_columns", x, y, [&]<typename T, typename Y>() {
    constexpr int WIDTH = VEC_BYTES / sizeof(T);
    if (is_vec_aligned(x.ptr) && c.columns % WIDTH == 0) {
      launch_columns<WIDTH>(stream, c, x.data<T>(), y.data<Y>());
    } else {
      launch_columns<1>(stream, c, x.data<T>(), y.data<Y>());
    }
  });
}
PYNN_EXPORT(sum_columns, "(x, y)  y[b, s, k] = sum of x[b, r, k] over the rows r of part s");

void sum_rows(cudaStream_t stream, Array x, Out y) {
  expect_ndim("sum_rows", "x", x, 2);
  expect_ndim("sum_rows", "y", y, 2);
  expect_shape("sum_rows", "y", y, {x.dims[0], y.dims[1]});
  expect(y.dims[1] <= MAX_PARTS, "sum_rows", "y", "at most 65535 parts", y.dims[1]);
  if (y.size() == 0) return;
  constexpr int64_t ALIGN = 8;  // a part begins at a vector
  int64_t const part = (x.dims[1] + y.dims[1] - 1) / y.dims[1];
  Rows const rows{x.dims[1], y.dims[1] > 1 ? (part + ALIGN - 1) / ALIGN * ALIGN : part, y.dims[1],
                  x.dims[0], 0};
  dispatch_sum("sum_rows", x, y, [&]<typename T, typename Y>() {
    constexpr int WIDTH = VEC_BYTES / sizeof(T);
    if (is_vec_aligned(x.ptr) && (rows.length % WIDTH == 0 || x.dims[0] == 1)) {
      launch_rows<WIDTH>(stream, rows, x.data<T>(), y.data<Y>());
    } else {
      launch_rows<1>(stream, rows, x.data<T>(), y.data<Y>());
    }
  });
}
PYNN_EXPORT(sum_rows, "(x, y)  y[b, s] = sum of x[b, r] over part s of row b");

}  // namespace pynn::broadcast_sum
