// broadcast.cuh — y[i] = op(a[i], b[i], ...) where operands may repeat along axes: a row, a column,
// a scalar, or any other shape that NumPy would broadcast to y's.
//
//   Neighbouring axes along which the same operands repeat are one axis, so most shapes end as one
//   axis (equal shapes, scalars) or two (rows, columns); eight at most:
//
//     a (N, H, W, C), b (C,)            (N H W, C)      strides of b (0, 1)
//     a (N, H, W, C), b (N, 1, 1, C)    (N, H W, C)     strides of b (C, 0, 1)
//     a (R, 1), b (1, C)                (R, C)          strides of a (1, 0), of b (0, 1)
//
//   grid, CTA, thread and tail as in common/map.cuh. A thread finds its place along the axes once
//   for a vector, by a multiplication each (Divisor), and loads 16 bytes of an operand, or, where
//   the operand repeats along the last axis, one element.
//
//   WIDTH   16 bytes of the widest type where pointers are aligned and the last axis is a multiple
//           of it (or the only axis), 1 element otherwise
//
//   bytes sizeof(T) (n + the operands' own sizes)    bound: memory
//
//   An index has 31 bits; a larger y is cut in two along its first axis.
//   Granlund, Montgomery 1994, "Division by invariant integers using multiplication", PLDI.

#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "common/array.h"
#include "common/check.h"
#include "common/launch.h"
#include "common/map.cuh"
#include "common/vec.cuh"

namespace pynn {

// A typed pointer and a shape.
template <typename T>
struct View {
  T* ptr;
  std::span<int64_t const> shape;
};

template <typename T>
View<T const> view(Array const& array) {
  return {array.data<T>(), array.shape()};
}

template <typename T>
View<T> view(Out const& array) {
  return {array.data<T>(), array.shape()};
}

// n / value for n < 2^31:  (n magic / 2^32 + n) / 2^shift
struct Divisor {
  uint32_t value = 1;
  uint32_t magic = 1;
  uint32_t shift = 0;

  Divisor() = default;
  explicit Divisor(uint32_t divisor) : value(divisor) {
    while (uint64_t{1} << shift < divisor) ++shift;
    magic = static_cast<uint32_t>((((uint64_t{1} << shift) - divisor) << 32) / divisor + 1);
  }

  __device__ uint32_t divide(uint32_t n) const { return (__umulhi(n, magic) + n) >> shift; }
};

// y's axes, merged, outermost first, and each operand's strides along them: 0 where it repeats.
template <int INPUTS>
struct Axes {
  int ndim = 0;
  int64_t lengths[MAX_NDIM] = {};
  int64_t strides[INPUTS][MAX_NDIM] = {};

  int64_t size() const {
    int64_t n = 1;
    for (int d = 0; d < ndim; ++d) n *= lengths[d];
    return n;
  }
};

// What the kernel needs of Axes.
template <int INPUTS>
struct AxesOnDevice {
  int ndim;
  Divisor lengths[MAX_NDIM];
  uint32_t strides[INPUTS][MAX_NDIM];
};

template <int INPUTS>
Axes<INPUTS> merge_axes(std::span<int64_t const> shape,
                        std::array<std::span<int64_t const>, INPUTS> const& inputs) {
  Axes<INPUTS> axes;  // innermost first until the end
  int64_t sizes[INPUTS];
  std::ranges::fill(sizes, 1);
  unsigned repeats_before = ~0u;
  for (size_t d = 1; d <= shape.size(); ++d) {
    int64_t const length = shape[shape.size() - d];
    if (length == 1) continue;
    unsigned repeats = 0;
    for (int k = 0; k < INPUTS; ++k) {
      bool const own = d <= inputs[k].size() && inputs[k][inputs[k].size() - d] == length;
      if (!own) repeats |= 1u << k;
    }
    if (repeats != repeats_before) {
      for (int k = 0; k < INPUTS; ++k) {
        axes.strides[k][axes.ndim] = repeats >> k & 1 ? 0 : sizes[k];
      }
      axes.lengths[axes.ndim++] = 1;
      repeats_before = repeats;
    }
    axes.lengths[axes.ndim - 1] *= length;
    for (int k = 0; k < INPUTS; ++k) sizes[k] *= repeats >> k & 1 ? 1 : length;
  }
  if (axes.ndim == 0) axes.lengths[axes.ndim++] = 1;  // one element
  std::reverse(axes.lengths, axes.lengths + axes.ndim);
  for (auto& strides : axes.strides) std::reverse(strides, strides + axes.ndim);
  return axes;
}

// The shape that the operands broadcast to, checked.
inline std::vector<int64_t> broadcast_shape(char const* op,
                                            std::initializer_list<Array const*> inputs) {
  std::vector<int64_t> shape;
  for (Array const* input : inputs) {
    std::span<int64_t const> const own = input->shape();
    if (own.size() > shape.size()) shape.insert(shape.begin(), own.size() - shape.size(), 1);
    for (size_t d = 1; d <= own.size(); ++d) {
      int64_t& length = shape[shape.size() - d];
      int64_t const mine = own[own.size() - d];
      expect(mine == length || mine == 1 || length == 1, op, "inputs", "shapes that broadcast",
             show((*inputs.begin())->shape()) + " and " + show(own));
      if (length == 1) length = mine;
    }
  }
  return shape;
}

template <int INPUTS>
struct Offsets {
  uint32_t at[MAP_LOADS][INPUTS];
};

// Where the vectors of this thread begin in each operand.
template <int WIDTH, int INPUTS>
__device__ inline Offsets<INPUTS> find_offsets(AxesOnDevice<INPUTS> const& axes) {
  Offsets<INPUTS> offsets{};
#pragma unroll
  for (int l = 0; l < MAP_LOADS; ++l) {
    uint32_t rest = static_cast<uint32_t>(map_index<WIDTH>(l));
    for (int d = axes.ndim - 1; d > 0; --d) {
      uint32_t const outer = axes.lengths[d].divide(rest);
      uint32_t const along = rest - outer * axes.lengths[d].value;
#pragma unroll
      for (int k = 0; k < INPUTS; ++k) offsets.at[l][k] += along * axes.strides[k][d];
      rest = outer;
    }
#pragma unroll
    for (int k = 0; k < INPUTS; ++k) offsets.at[l][k] += rest * axes.strides[k][0];
  }
  return offsets;
}

// A vector of *p; of 16-bit types made word by word, which spares the halves of registers.
template <int WIDTH, typename T>
__device__ inline Vec<T, WIDTH> repeat_vec(T const* p) {
  Vec<T, WIDTH> vec;
  if constexpr (sizeof(T) == 2 && WIDTH % 2 == 0) {
    uint32_t const bits = *reinterpret_cast<uint16_t const*>(p);
    uint32_t words[WIDTH / 2];
#pragma unroll
    for (int i = 0; i < WIDTH / 2; ++i) words[i] = bits * 0x10001u;
    std::memcpy(&vec, words, sizeof vec);
  } else {
    T const value = *p;
#pragma unroll
    for (int i = 0; i < WIDTH; ++i) vec.at[i] = value;
  }
  return vec;
}

// The vectors of this thread in operand K; one element, repeated, where the last stride is 0.
template <int WIDTH, int K, int INPUTS, typename T>
__device__ inline MapTile<T, WIDTH> load_repeated(AxesOnDevice<INPUTS> const& axes,
                                                  Offsets<INPUTS> const& offsets, int64_t n,
                                                  T const* x) {
  MapTile<T, WIDTH> tile{};
  bool const repeats = axes.strides[K][axes.ndim - 1] == 0;
#pragma unroll
  for (int l = 0; l < MAP_LOADS; ++l) {
    if (map_index<WIDTH>(l) + WIDTH > n) break;
    T const* const p = x + offsets.at[l][K];
    if (repeats) {
      tile.load[l] = repeat_vec<WIDTH>(p);
    } else {
      tile.load[l] = load_vec<WIDTH>(p);
    }
  }
  return tile;
}

template <int WIDTH, typename Op, typename T, size_t... K, typename... In>
__device__ inline void broadcast_tile(Op const& op, AxesOnDevice<sizeof...(In)> const& axes,
                                      int64_t n, T* y, std::index_sequence<K...>,
                                      In const*... inputs) {
  Offsets<sizeof...(In)> const offsets = find_offsets<WIDTH>(axes);
  map_tile<WIDTH>(op, n, y, load_repeated<WIDTH, K>(axes, offsets, n, inputs)...);

  // tail: only where there is one axis
  int64_t const i = n / WIDTH * WIDTH + threadIdx.x;
  if (blockIdx.x == gridDim.x - 1 && i < n) {
    y[i] = static_cast<T>(op(static_cast<float>(inputs[i * axes.strides[K][0]])...));
  }
}

template <int WIDTH, typename Op, typename T, typename... In>
__global__ void __launch_bounds__(MAP_THREADS)
    broadcast_kernel(Op op, __grid_constant__ AxesOnDevice<sizeof...(In)> const axes, int64_t n,
                     T* y, In const*... inputs) {
  broadcast_tile<WIDTH>(op, axes, n, y, std::index_sequence_for<In...>{}, inputs...);
}

template <int WIDTH, int INPUTS, typename Op, typename T, typename... In>
void broadcast_width(cudaStream_t stream, Op op, Axes<INPUTS> const& axes, T* y,
                     In const*... inputs) {
  AxesOnDevice<INPUTS> on_device{};
  on_device.ndim = axes.ndim;
  for (int d = 0; d < axes.ndim; ++d) {
    on_device.lengths[d] = Divisor(static_cast<uint32_t>(axes.lengths[d]));
    for (int k = 0; k < INPUTS; ++k) {
      on_device.strides[k][d] = static_cast<uint32_t>(axes.strides[k][d]);
    }
  }
  int64_t const n = axes.size();
  constexpr int64_t TILE = int64_t{MAP_THREADS} * MAP_LOADS * WIDTH;
  launch(broadcast_kernel<WIDTH, Op, T, In...>, static_cast<unsigned>((n + TILE - 1) / TILE),
         MAP_THREADS, 0, stream, op, on_device, n, y, inputs...);
}

template <typename T, int WIDTH>
bool takes_vectors(T const* p, int64_t last_stride) {
  return last_stride == 0 || reinterpret_cast<uintptr_t>(p) % (sizeof(T) * WIDTH) == 0;
}

// The largest y of one launch: a tile past it still has an index of 32 bits.
inline constexpr int64_t BROADCAST_MAX = (int64_t{1} << 31) - 1;

template <int INPUTS, typename Op, typename T, size_t... K, typename... In>
void broadcast_axes(cudaStream_t stream, Op op, Axes<INPUTS> axes, T* y, std::index_sequence<K...>,
                    In const*... inputs) {
  constexpr std::index_sequence<K...> each;
  if (axes.size() > BROADCAST_MAX) {
    if (axes.lengths[0] == 1) {  // drop the axis
      std::copy(axes.lengths + 1, axes.lengths + axes.ndim, axes.lengths);
      for (auto& strides : axes.strides) std::copy(strides + 1, strides + axes.ndim, strides);
      --axes.ndim;
      return broadcast_axes<INPUTS>(stream, op, axes, y, each, inputs...);
    }
    constexpr int64_t ALIGN = 64;  // keeps the second part's vectors aligned
    int64_t const all = axes.lengths[0];
    int64_t const first = all > ALIGN ? (all / 2 + ALIGN - 1) / ALIGN * ALIGN : all / 2;
    int64_t const inner = axes.size() / all;
    axes.lengths[0] = first;
    broadcast_axes<INPUTS>(stream, op, axes, y, each, inputs...);
    axes.lengths[0] = all - first;
    return broadcast_axes<INPUTS>(stream, op, axes, y + first * inner, each,
                                  inputs + first * axes.strides[K][0]...);
  }
  constexpr int WIDTH = VEC_BYTES / static_cast<int>(std::max({sizeof(T), sizeof(In)...}));
  int const last = axes.ndim - 1;
  bool const wide = (axes.ndim == 1 || axes.lengths[last] % WIDTH == 0) &&
                    takes_vectors<T, WIDTH>(y, 1) &&
                    (takes_vectors<In, WIDTH>(inputs, axes.strides[K][last]) && ...);
  if (wide) {
    broadcast_width<WIDTH, INPUTS>(stream, op, axes, y, inputs...);
  } else {
    broadcast_width<1, INPUTS>(stream, op, axes, y, inputs...);
  }
}

// The operands' shapes must broadcast to y's; y may be an operand of its own shape. Launches
// nothing where y is empty.
template <typename Op, typename T, typename... In>
void broadcast(cudaStream_t stream, Op op, View<T> y, View<In const>... inputs) {
  constexpr int INPUTS = sizeof...(In);
  if (std::ranges::find(y.shape, 0) != y.shape.end()) return;
  broadcast_axes<INPUTS>(stream, op, merge_axes<INPUTS>(y.shape, {inputs.shape...}), y.ptr,
                         std::index_sequence_for<In...>{}, inputs.ptr...);
}

}  // namespace pynn
