// columns.cu — a block of columns of one matrix into a block of columns of another: concatenation
// along any axis, and its gradient.
//
//   copy_columns   y[r, to + k] = x[r, from + k],  k = 0 .. count - 1
//   x (R, A), y (R, B) of one dtype, any; bytes are moved, so every bit stays
//
//   An array (outer, n, inner) is the matrix (outer, n inner): joining along the middle axis is one
//   launch for each part, splitting the same the other way.
//
//   grid    ceil(R / TY) x ceil(words / (TX LOADS))        words of a row ──► TX at a time
//   CTA     256 threads as TX lanes times TY rows          r │ t0 │ t1 │ .. │ t0 │ t1 │ ..
//   thread  LOADS = 4 words, all loaded before the first is stored
//
//   A word is 16 bytes where both pointers, pitches, offsets and the count allow it, else the most
//   that they allow: 8, 4, 2, 1.
//
//   bytes 2 R count sizeof(T)    bound: memory

#include <algorithm>
#include <cstdint>

#include "common/array.h"
#include "common/check.h"
#include "common/export.h"
#include "common/launch.h"
#include "common/vec.cuh"

namespace pynn::copy {

inline constexpr int THREADS = 256;
inline constexpr int LOADS = 4;

// In words.
struct Block {
  int64_t rows;
  int64_t words;
  int64_t x_pitch;
  int64_t y_pitch;
};

template <int BYTES>
__global__ void __launch_bounds__(THREADS)
    copy_columns_kernel(Block block, Vec<uint8_t, BYTES> const* x, Vec<uint8_t, BYTES>* y) {
  int64_t const r = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  int64_t const first = int64_t{blockIdx.y} * blockDim.x * LOADS + threadIdx.x;
  if (r >= block.rows) return;
  Vec<uint8_t, BYTES> words[LOADS]{};
#pragma unroll
  for (int l = 0; l < LOADS; ++l) {
    int64_t const k = first + l * int64_t{blockDim.x};
    if (k < block.words) words[l] = x[r * block.x_pitch + k];
  }
#pragma unroll
  for (int l = 0; l < LOADS; ++l) {
    int64_t const k = first + l * int64_t{blockDim.x};
    if (k < block.words) y[r * block.y_pitch + k] = words[l];
  }
}

template <int BYTES>
void run(cudaStream_t stream, int64_t rows, int64_t bytes, int64_t x_pitch, int64_t y_pitch,
         uint8_t const* x, uint8_t* y) {
  Block const block{rows, bytes / BYTES, x_pitch / BYTES, y_pitch / BYTES};
  unsigned tx = 1;
  while (tx < THREADS && int64_t{tx} * LOADS < block.words) tx *= 2;
  unsigned const ty = THREADS / tx;
  int64_t const across = (block.words + int64_t{tx} * LOADS - 1) / (int64_t{tx} * LOADS);
  constexpr int64_t MOST = 65535;
  expect(across <= MOST, "copy_columns", "count", "at most 65535 tiles of a row", across);
  dim3 const grid(static_cast<unsigned>((rows + ty - 1) / ty), static_cast<unsigned>(across));
  launch(copy_columns_kernel<BYTES>, grid, dim3(tx, ty), 0, stream, block,
         reinterpret_cast<Vec<uint8_t, BYTES> const*>(x),
         reinterpret_cast<Vec<uint8_t, BYTES>*>(y));
}

void copy_columns(cudaStream_t stream, Array x, Out y, int64_t from, int64_t to, int64_t count) {
  char const* const name = "copy_columns";
  expect_ndim(name, "x", x, 2);
  expect_ndim(name, "y", y, 2);
  expect_dtype(name, "y", y, x.dtype);
  expect_shape(name, "y", y, {x.dims[0], y.dims[1]});
  expect(count >= 0, name, "count", "0 or more", count);
  expect(from >= 0 && from <= x.dims[1] - count, name, "from", "columns of x", from);
  expect(to >= 0 && to <= y.dims[1] - count, name, "to", "columns of y", to);
  int64_t const rows = x.dims[0];
  if (rows == 0 || count == 0) return;
  int64_t const item = item_size(x.dtype);
  uint8_t const* const source = x.data<uint8_t>() + from * item;
  uint8_t* const target = y.data<uint8_t>() + to * item;

  // one row for all where rows follow each other in both
  bool const whole = count == x.dims[1] && count == y.dims[1];
  int64_t const height = whole ? 1 : rows;
  int64_t const bytes = (whole ? rows : 1) * count * item;
  int64_t const x_pitch = height == 1 ? 0 : x.dims[1] * item;
  int64_t const y_pitch = height == 1 ? 0 : y.dims[1] * item;
  uint64_t const all = reinterpret_cast<uintptr_t>(source) | reinterpret_cast<uintptr_t>(target) |
                       static_cast<uint64_t>(x_pitch | y_pitch | bytes);
  if (all % 16 == 0) return run<16>(stream, height, bytes, x_pitch, y_pitch, source, target);
  if (all % 8 == 0) return run<8>(stream, height, bytes, x_pitch, y_pitch, source, target);
  if (all % 4 == 0) return run<4>(stream, height, bytes, x_pitch, y_pitch, source, target);
  if (all % 2 == 0) return run<2>(stream, height, bytes, x_pitch, y_pitch, source, target);
  run<1>(stream, height, bytes, x_pitch, y_pitch, source, target);
}
PYNN_EXPORT(copy_columns,
            "(x, y, from, to, count)  y[:, to : to + count] = x[:, from : from + count]");

}  // namespace pynn::copy
