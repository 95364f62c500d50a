// grads.cu — over all gradients at once: their norm and its clip, a factor, zeros.
//
//   grad_norm     out = (norm, clip);  norm = sqrt(sum g^2) over all elements of all tensors
//                 clip = min(max_norm / (norm + 1e-6), 1)
//   scale_grads   g *= factor, one f32 read on the device;  a factor of 1 writes nothing
//   zero_fill     x = 0, of any dtype
//
//   grads of one dtype, T = f32 | f16 | bf16;  sums in f32
//
//   grad_norm   two launches: a CTA sums the squares of PART = 16384 elements of a tensor into its
//               row of `partial`, then one CTA sums the rows. Each sum has one order, so the same
//               bits come out each time; there are no atomics.
//               A square overflows beyond 2^64, so elements above 2^60 are summed apart, times
//               2^-64 each: norms are right up to the largest f32. Squares below 2^-149 count as 0.
//
//   bytes  grad_norm n sizeof(T)    scale_grads 2 n sizeof(T)    zero_fill the arrays'
//   bound: memory
//
//   Pascanu, Mikolov, Bengio 2012, arXiv:1211.5063 (clipping);  Blue 1978, "A portable Fortran
//   program to find the Euclidean norm of a vector", ACM TOMS 4 (the two sums)

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/optim/tensors.cuh"

#include "common/check.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/shared.cuh"

namespace pynn::optim {

inline constexpr int PART = 16384;
inline constexpr int SCALE_CHUNK = 4096;

// Elements of 16 bytes.
template <typename T>
inline constexpr int FULL = VEC_BYTES / static_cast<int>(sizeof(T));

inline constexpr int ZERO_CHUNK = 4 * THREADS * VEC_BYTES;  // bytes

inline constexpr float LARGE = 0x1p60f;
inline constexpr float SHRINK = 0x1p-64f;

// Sums of squares: of what is at most LARGE, and of the rest times SHRINK.
struct Squares {
  float middle;
  float large;

  __device__ void add(float g) {
    bool const is_large = fabsf(g) > LARGE;
    float const scaled = is_large ? g * SHRINK : g;
    float const square = scaled * scaled;
    middle += is_large ? 0.f : square;
    large += is_large ? square : 0.f;
  }
  __device__ float norm() const {
    if (!(large > 0.f)) return sqrtf(middle);
    return sqrtf(large + middle * SHRINK * SHRINK) / SHRINK;
  }
};

// The CTA's sum, in thread 0.
__device__ inline Squares sum_cta(Squares sum) {
  auto& warps = shared<Squares[THREADS / 32], "warps">();
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    sum.middle += __shfl_xor_sync(~0u, sum.middle, offset);
    sum.large += __shfl_xor_sync(~0u, sum.large, offset);
  }
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
  __syncthreads();
  Squares total{};
  if (threadIdx.x == 0) {
#pragma unroll
    for (int w = 0; w < THREADS / 32; ++w) {
      total.middle += warps[w].middle;
      total.large += warps[w].large;
    }
  }
  return total;
}

template <typename T, int COUNT>
__global__ void __launch_bounds__(THREADS)
    squares_kernel(__grid_constant__ Tensors<1, COUNT> const tensors, Squares* partial) {
  Chunk const chunk = find_chunk<PART>(tensors);
  T const* const g = static_cast<T const*>(tensors.at[chunk.tensor][0]);
  bool const wide = tensors.wide[chunk.tensor];
  Squares sum{};
  constexpr int LOADS = 4;
  constexpr int STEP = THREADS * FULL<T>;
  for (int64_t i = chunk.start + threadIdx.x * FULL<T>; i < chunk.end; i += LOADS * STEP) {
    float values[LOADS][FULL<T>];
#pragma unroll
    for (int l = 0; l < LOADS; ++l) {
      int64_t const left = chunk.end - (i + l * STEP);
      load(values[l], g + i + l * STEP, left, wide);
    }
#pragma unroll
    for (int l = 0; l < LOADS; ++l) {
#pragma unroll
      for (int k = 0; k < FULL<T>; ++k) sum.add(values[l][k]);
    }
  }
  sum = sum_cta(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(THREADS)
    norm_kernel(int64_t count, float max_norm, Squares const* partial, float* out) {
  Squares sum{};
  for (int64_t i = threadIdx.x; i < count; i += THREADS) {
    sum.middle += partial[i].middle;
    sum.large += partial[i].large;
  }
  sum = sum_cta(sum);
  if (threadIdx.x != 0) return;
  float const norm = sum.norm();
  float const clip = max_norm / (norm + 1e-6f);
  out[0] = norm;
  out[1] = clip < 1.f || clip != clip ? clip : 1.f;
}

template <typename T, int COUNT>
__global__ void __launch_bounds__(THREADS)
    scale_kernel(__grid_constant__ Tensors<1, COUNT> const tensors, float const* factor) {
  float const by = *factor;
  if (by == 1.f) return;
  Chunk const chunk = find_chunk<SCALE_CHUNK>(tensors);
  T* const g = static_cast<T*>(tensors.at[chunk.tensor][0]);
  bool const wide = tensors.wide[chunk.tensor];
  constexpr int LOADS = SCALE_CHUNK / (THREADS * FULL<T>);
  float values[LOADS][FULL<T>];
#pragma unroll
  for (int l = 0; l < LOADS; ++l) {
    int64_t const i = chunk.start + (l * THREADS + static_cast<int>(threadIdx.x)) * FULL<T>;
    load(values[l], g + i, chunk.end - i, wide);
  }
#pragma unroll
  for (int l = 0; l < LOADS; ++l) {
    int64_t const i = chunk.start + (l * THREADS + static_cast<int>(threadIdx.x)) * FULL<T>;
#pragma unroll
    for (int k = 0; k < FULL<T>; ++k) values[l][k] *= by;
    store(g + i, values[l], chunk.end - i, wide);
  }
}

template <int COUNT>
__global__ void __launch_bounds__(THREADS)
    zero_kernel(__grid_constant__ Tensors<1, COUNT> const tensors) {
  Chunk const chunk = find_chunk<ZERO_CHUNK>(tensors);
  uint8_t* const x = static_cast<uint8_t*>(tensors.at[chunk.tensor][0]);
  bool const wide = tensors.wide[chunk.tensor];
  constexpr Vec<uint8_t, VEC_BYTES> ZEROS{};
#pragma unroll
  for (int l = 0; l < ZERO_CHUNK / (THREADS * VEC_BYTES); ++l) {
    int64_t const i = chunk.start + (l * THREADS + static_cast<int>(threadIdx.x)) * VEC_BYTES;
    if (wide && i + VEC_BYTES <= chunk.end) {
      store_vec<VEC_BYTES>(x + i, ZEROS);
    } else {
      for (int64_t j = i; j < i + VEC_BYTES && j < chunk.end; ++j) x[j] = 0;
    }
  }
}

void grad_norm(cudaStream_t stream, Arrays grads, Out partial, Out out, double max_norm) {
  char const* const name = "grad_norm";
  expect(grads.size() > 0, name, "grads", "at least one array", int64_t{0});
  int64_t parts = 0;
  for (Array const& g : grads.list) {
    expect_dtype(name, "grads", g, grads[0].dtype);
    parts += (g.size() + PART - 1) / PART;
  }
  expect_dtype(name, "partial", partial, DType::f32);
  expect_shape(name, "partial", partial, {parts, 2});
  expect_dtype(name, "out", out, DType::f32);
  expect_shape(name, "out", out, {2});
  auto* const rows = reinterpret_cast<Squares*>(partial.data<float>());
  auto const array = [&](int64_t i, int) -> Array const& { return grads[i]; };
  dispatch_float(name, "grads", grads[0].dtype, [&]<typename T>() {
    dispatch_count(grads.size(), [&]<int COUNT>() {
      for_each_table<PART, 1, COUNT>(
          grads.size(), array, [&](auto const& tensors, unsigned ctas, int64_t before) {
            launch(squares_kernel<T, COUNT>, ctas, THREADS, 0, stream, tensors, rows + before);
          });
    });
  });
  launch(norm_kernel, 1u, THREADS, 0, stream, parts, static_cast<float>(max_norm), rows,
         out.data<float>());
}
PYNN_EXPORT(grad_norm,
            "(grads, partial, out, max_norm)  out = (norm, min(max_norm / (norm + 1e-6), 1)); "
            "partial has a row of 2 for each 16384 elements of a tensor");

void scale_grads(cudaStream_t stream, Outs grads, Array factor) {
  char const* const name = "scale_grads";
  expect_dtype(name, "factor", factor, DType::f32);
  expect(factor.size() == 1, name, "factor", "one element", factor.size());
  if (grads.size() == 0) return;
  for (Array const& g : grads.list) expect_dtype(name, "grads", g, grads[0].dtype);
  auto const array = [&](int64_t i, int) -> Array const& {
    return grads.list[static_cast<size_t>(i)];
  };
  dispatch_float(name, "grads", grads[0].dtype, [&]<typename T>() {
    dispatch_count(grads.size(), [&]<int COUNT>() {
      for_each_table<SCALE_CHUNK, 1, COUNT>(
          grads.size(), array, [&](auto const& tensors, unsigned ctas, int64_t) {
            launch(scale_kernel<T, COUNT>, ctas, THREADS, 0, stream, tensors, factor.data<float>());
          });
    });
  });
}
PYNN_EXPORT(scale_grads, "(grads, factor)  g *= factor for each, nothing for a factor of 1");

void zero_fill(cudaStream_t stream, Outs xs) {
  if (xs.size() == 0) return;
  std::vector<Array> bytes(xs.list.begin(), xs.list.end());
  for (Array& x : bytes) {
    x.dims[0] = x.size() * item_size(x.dtype);
    x.ndim = 1;
  }
  auto const array = [&](int64_t i, int) -> Array const& { return bytes[static_cast<size_t>(i)]; };
  dispatch_count(xs.size(), [&]<int COUNT>() {
    for_each_table<ZERO_CHUNK, 1, COUNT>(
        xs.size(), array, [&](auto const& tensors, unsigned ctas, int64_t) {
          launch(zero_kernel<COUNT>, ctas, THREADS, 0, stream, tensors);
        });
  });
}
PYNN_EXPORT(zero_fill, "(xs)  x = 0 for each, of any dtype");

}  // namespace pynn::optim
