// strided.cu — y = x between two arrays of one shape and any strides: the one kernel family that
// knows of strides, so that no other has to.
//
//   x, y of one dtype, any of 1, 2, 4 or 8 bytes; bytes are moved, so every bit stays
//
//   It is what makes an array C-contiguous (a transpose, a slice, a flip), and what writes into a
//   part of one (padding, concatenation, the gradient of a slice). Strides may be negative; x may
//   repeat along an axis (stride 0), y may not. x and y do not overlap.
//
//   kernels/copy/walk.h sorts and merges the axes; then one of two kernels runs:
//
//   words   the last axis of y is the last of x too, or nothing better: thread by thread along y
//           grid  ceil(words / (THREADS LOADS))    ┌────┬────┬──────┬────┬────┬──────┐
//           thread  LOADS = 4 words, all loaded    │ t0 │ t1 │ t255 │ t0 │ t1 │ t255 │
//           before the first is stored             └────┴────┴──────┴────┴────┴──────┘
//           a word  the most of 16, 8, 4, 2, 1 bytes that pointers, strides and rows of both allow;
//                   one element where the last stride of either is not one element
//
//   tiles   kernels/copy/tiles.cuh: another axis is the contiguous one of x, as in a transpose
//
//   bytes 2 n sizeof(T)    bound: memory. Where x is read in steps of s elements and no axis of it
//   is contiguous, s times the bytes of x, up to a sector of 32 bytes an element.

#include <cstdint>

#include "kernels/copy/tiles.cuh"
#include "kernels/copy/walk.h"

#include "common/array.h"
#include "common/check.h"
#include "common/export.h"
#include "common/launch.h"
#include "common/vec.cuh"

namespace pynn::copy {

inline constexpr int THREADS = 256;
inline constexpr int LOADS = 4;

template <int BYTES>
__global__ void __launch_bounds__(THREADS)
    words_kernel(__grid_constant__ Path const path, uint32_t n, Vec<uint8_t, BYTES> const* x,
                 Vec<uint8_t, BYTES>* y) {
  uint32_t const first = blockIdx.x * (THREADS * LOADS) + threadIdx.x;
  Vec<uint8_t, BYTES> words[LOADS]{};
  int64_t to[LOADS]{};
#pragma unroll
  for (int l = 0; l < LOADS; ++l) {
    uint32_t const i = first + l * THREADS;
    if (i >= n) break;
    Step const step = find_step(path, i);
    words[l] = x[step.x];
    to[l] = step.y;
  }
#pragma unroll
  for (int l = 0; l < LOADS; ++l) {
    if (first + l * THREADS < n) y[to[l]] = words[l];
  }
}

template <int BYTES>
void copy_words(cudaStream_t stream, Walk walk) {
  using Word = Vec<uint8_t, BYTES>;
  Axis& row = walk.axes[walk.ndim - 1];
  if (row.x == row.y && row.x < BYTES) {  // a row of elements is one of words
    row.length = row.length * row.x / BYTES;
    row.x = row.y = BYTES;
  }
  in_parts(
      walk, [](Walk const& part) { return part.size(); },
      [&](Walk const& part) {
        int64_t const n = part.size();
        constexpr int64_t TILE = THREADS * LOADS;
        launch(words_kernel<BYTES>, static_cast<unsigned>((n + TILE - 1) / TILE), THREADS, 0,
               stream, plan_path(part, BYTES), static_cast<uint32_t>(n),
               reinterpret_cast<Word const*>(part.x), reinterpret_cast<Word*>(part.y));
      });
}

// Whether rows of both arrays fall into words of that many bytes.
bool takes_words(Walk const& walk, int64_t bytes, int64_t item) {
  Axis const& row = walk.last();
  if (bytes == item) return true;
  if (row.x != item || row.y != item || !is_aligned(walk.x, bytes) || !is_aligned(walk.y, bytes))
    return false;
  if (row.length * item % bytes != 0) return false;
  for (int d = 0; d < walk.ndim - 1; ++d) {
    if (walk.axes[d].x % bytes != 0 || walk.axes[d].y % bytes != 0) return false;
  }
  return true;
}

// The simplest kernel that moves whole sectors.
void choose(cudaStream_t stream, Walk const& walk, int64_t item) {
  if (copy_tiles(stream, walk, item)) return;
  if (takes_words(walk, 16, item)) return copy_words<16>(stream, walk);
  if (takes_words(walk, 8, item)) return copy_words<8>(stream, walk);
  if (takes_words(walk, 4, item)) return copy_words<4>(stream, walk);
  if (takes_words(walk, 2, item)) return copy_words<2>(stream, walk);
  copy_words<1>(stream, walk);
}

void copy_strided(cudaStream_t stream, Strided x, StridedOut y) {
  char const* const name = "copy_strided";
  expect_like(name, "y", y, x);
  if (x.size() == 0) return;
  int64_t const item = item_size(x.dtype);
  for (int d = 0; d < x.ndim; ++d) {
    if (x.dims[d] == 1) continue;
    expect(x.strides[d] % item == 0, name, "x", "strides of whole elements", x.strides[d]);
    expect(y.strides[d] % item == 0, name, "y", "strides of whole elements", y.strides[d]);
    expect(y.strides[d] != 0, name, "y", "an array that does not repeat", "a stride of 0");
  }
  choose(stream, plan_walk(x, y, item), item);
}
PYNN_EXPORT(copy_strided, "(x, y)  y = x, both of any strides");

}  // namespace pynn::copy
