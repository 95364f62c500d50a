// cell.cuh — one step of a recurrent layer: what stands between its matrix products.
//
//   z (N, G H)  what the input gives, W_ih x_t + b;   p (N, G H)  what the state gives, W_hh h_(t-1)
//   G gates, one under another;  h', c' the states before;  all arrays f32, row-major
//
//   forward   h (and c) of the step are written, and what the backward needs
//   backward  d = carry + past + dy is the gradient of h;  past = dz W_hh of the step after;  dz and,
//             in place, carry (what goes round W_hh) are written
//   lengths   (N,) i64 or of size 0: a sample with t >= its length keeps its state, and dz is 0
//
//   grid    ceil(N / TY) x ceil(H / (TX W))            row of gates  │ i.. │ f.. │ g.. │ o.. │
//   CTA     256 threads as TX along the units times                     j     j     j     j
//           TY samples
//   thread  W neighbouring units of one sample, all gates of them: W = 4, 16-byte accesses, where H
//           and every pointer allow it, 1 otherwise
//
//   bound   memory in principle; a step is small, so in practice the launch

#pragma once

#include <cstdint>
#include <initializer_list>

#include "common/activation.cuh"
#include "common/array.h"
#include "common/check.h"
#include "common/launch.h"
#include "common/vec.cuh"

namespace pynn::recurrent {

inline constexpr int THREADS = 256;
inline constexpr int WIDTH = 4;

// Where the samples end.
struct Ends {
  int64_t const* lengths;  // null: nowhere
  int64_t t;

  __device__ bool over(int64_t n) const { return lengths != nullptr && t >= lengths[n]; }
};

// What these units have in an array (N, G H): a vector for each gate.
template <int W, int G>
struct Gates {
  Vec<float, W> at[G];
};

// Units j .. j + W - 1 of sample n.
struct Place {
  int64_t H;
  int64_t n;
  int64_t j;
  bool over;

  template <int W, int G = 1>
  __device__ Gates<W, G> load(float const* array) const {
    Gates<W, G> gates;
#pragma unroll
    for (int k = 0; k < G; ++k) gates.at[k] = load_vec<W>(array + (n * G + k) * H + j);
    return gates;
  }

  template <int W, int G>
  __device__ void store(float* array, Gates<W, G> const& gates) const {
#pragma unroll
    for (int k = 0; k < G; ++k) store_vec<W>(array + (n * G + k) * H + j, gates.at[k]);
  }

  template <int W>
  __device__ Vec<float, W> vec(float const* array) const {
    return load<W>(array).at[0];
  }

  template <int W>
  __device__ void store(float* array, Vec<float, W> const& vec) const {
    store_vec<W>(array + n * H + j, vec);
  }

  template <int W>
  __device__ Vec<float, W> sum(float const* a, float const* b) const {
    auto result = vec<W>(a);
    auto const more = vec<W>(b);
#pragma unroll
    for (int i = 0; i < W; ++i) result.at[i] += more.at[i];
    return result;
  }
};

template <int W, class Step>
__global__ void __launch_bounds__(THREADS) cell_kernel(Step step, Ends ends, int64_t N, int64_t H) {
  int64_t const n = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  int64_t const j = (int64_t{blockIdx.y} * blockDim.x + threadIdx.x) * W;
  if (n < N && j < H) step.template at<W>(Place{H, n, j, ends.over(n)});
}

struct Named {
  char const* name;
  Array const& array;
  int64_t gates;  // H to a row
};

// Checks the arrays, each (N, gates H) f32, and runs the step on all units.
template <class Step>
inline void run(char const* op, cudaStream_t stream, Array const& state, Array const& lengths,
                int64_t t, std::initializer_list<Named> arrays, Step step) {
  expect_ndim(op, "h_before", state, 2);
  int64_t const N = state.dims[0];
  int64_t const H = state.dims[1];
  bool aligned = H % WIDTH == 0;
  for (Named const& one : arrays) {
    expect_shape(op, one.name, one.array, {N, one.gates * H});
    expect_dtype(op, one.name, one.array, DType::f32);
    aligned = aligned && is_vec_aligned(one.array.ptr);
  }
  Ends ends{nullptr, t};
  if (lengths.size() > 0) {
    expect_shape(op, "lengths", lengths, {N});
    expect_dtype(op, "lengths", lengths, DType::i64);
    ends.lengths = lengths.data<int64_t>();
  }
  if (N * H == 0) return;
  int64_t const vectors = aligned ? H / WIDTH : H;
  unsigned tx = 1;
  while (tx < THREADS && tx < vectors) tx *= 2;
  unsigned const ty = THREADS / tx;
  constexpr int64_t MOST = 65535;
  int64_t const across = (vectors + tx - 1) / tx;
  expect(across <= MOST, op, "h_before", "at most 65535 x 256 units", H);
  dim3 const grid(static_cast<unsigned>((N + ty - 1) / ty), static_cast<unsigned>(across));
  auto const kernel = aligned ? cell_kernel<WIDTH, Step> : cell_kernel<1, Step>;
  launch(kernel, grid, dim3(tx, ty), 0, stream, step, ends, N, H);
}

}  // namespace pynn::recurrent
