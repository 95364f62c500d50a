// one_hot.cu — rows of zeros with a one where an index says.
//
//   y[r, c] = 1 where c = index[r], else 0;   index (R,) int64, y (R, C) of any dtype
//   An index outside [0, C) leaves its row zeros: the caller asks where indices lie on the host.
//
//   grid    ceil(R C / (256 WIDTH));  CTA 256 threads, a vector each
//   WIDTH   16 bytes where y is aligned, 1 element otherwise
//   bytes   R C sizeof(y) + 8 R     bound: memory

#include <cstdint>

#include "common/array.h"
#include "common/check.h"
#include "common/export.h"
#include "common/launch.h"
#include "common/row.cuh"
#include "common/vec.cuh"

namespace pynn::one_hot {

inline constexpr int THREADS = 256;

template <typename Bits, int WIDTH>
__global__ void __launch_bounds__(THREADS)
    one_hot_kernel(int64_t const* index, int64_t classes, int64_t n, Bits one, Bits* y) {
  int64_t const i = (int64_t{blockIdx.x} * THREADS + threadIdx.x) * WIDTH;
  if (i >= n) return;
  int64_t row = i / classes;
  int64_t c = i - row * classes;
  int64_t hit = index[row];
  Vec<Bits, WIDTH> out;
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    out.at[k] = c == hit ? one : Bits{0};
    if (++c == classes && i + k + 1 < n) {  // the next row
      c = 0;
      hit = index[++row];
    }
  }
  if (i + WIDTH <= n) return store_vec<WIDTH>(y + i, out);
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    if (i + k < n) y[i + k] = out.at[k];
  }
}

// The bits of 1 in a dtype.
uint64_t one_in(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return 0x3ff0000000000000u;
    case DType::f32:
      return 0x3f800000u;
    case DType::f16:
      return 0x3c00u;
    case DType::bf16:
      return 0x3f80u;
    default:
      return 1u;
  }
}

void one_hot(cudaStream_t stream, Array index, Out y) {
  char const* const op = "one_hot";
  expect_ndim(op, "index", index, 1);
  expect_dtype(op, "index", index, DType::i64);
  expect_ndim(op, "y", y, 2);
  expect_shape(op, "y", y, {index.size(), y.dims[1]});
  if (y.size() == 0) return;
  auto const run = [&]<typename Bits>() {
    auto const one = static_cast<Bits>(one_in(y.dtype));
    int64_t const n = y.size();
    int const width = is_vec_aligned(y.ptr) ? VEC_BYTES / static_cast<int>(sizeof(Bits)) : 1;
    auto const kernel = width == 1
                            ? one_hot_kernel<Bits, 1>
                            : one_hot_kernel<Bits, VEC_BYTES / static_cast<int>(sizeof(Bits))>;
    int64_t const vecs = n / width + (n % width != 0);
    launch(kernel, row_grid<THREADS>(op, vecs / THREADS + (vecs % THREADS != 0)), THREADS, 0,
           stream, index.data<int64_t>(), y.dims[1], n, one, y.data<Bits>());
  };
  switch (item_size(y.dtype)) {
    case 8:
      return run.template operator()<uint64_t>();
    case 4:
      return run.template operator()<uint32_t>();
    case 2:
      return run.template operator()<uint16_t>();
    default:
      return run.template operator()<uint8_t>();
  }
}
PYNN_EXPORT(one_hot, "(index, y)  y = rows of zeros with a one at the index");

}  // namespace pynn::one_hot
