// tensors.cuh — one launch over any number of tensors: the table that says which CTA works where.
//
//   The table is a kernel parameter, so nothing is copied to the device beforehand and a captured
//   launch keeps it: addresses, sizes, and the CTA at which each tensor begins. A CTA finds its
//   tensor by a binary search of 6 or 9 steps in constant memory.
//
//   tensors  ┌──── 0 ────┬─ 1 ─┬──────── 2 ────────┐
//   CTAs     │ 0 │ 1 │ 2 │  3  │ 4 │ 5 │ 6 │ 7 │ 8 │    CHUNK elements each, the last of a tensor less
//
//   FEW tensors make a parameter below 4 KB, MANY one below the 32764 bytes that CUDA takes since
//   12.1; more are several launches. Empty tensors take no CTA.
//
//   The idea of one launch over a table of pointers is that of NVIDIA's apex (multi_tensor_apply).

#pragma once

#include <cstdint>
#include <span>

#include "common/array.h"
#include "common/check.h"
#include "common/launch.h"
#include "common/vec.cuh"

namespace pynn::optim {

inline constexpr int THREADS = 256;
inline constexpr int WIDTH = 4;  // elements of a vector: 16 bytes of f32, 8 of what lies beside it
inline constexpr int FEW = 56;
inline constexpr int MANY = 500;

// ARRAYS pointers for each of up to COUNT tensors.
template <int ARRAYS, int COUNT>
struct Tensors {
  static_assert(COUNT * (ARRAYS * 8 + 13) + 64 <= 32764, "a kernel takes 32764 bytes");

  void* at[COUNT][ARRAYS];
  int64_t sizes[COUNT];
  unsigned first[COUNT];  // CTA
  bool wide[COUNT];       // whether all its arrays are aligned for vectors
  int count;
};

// What one CTA works on: elements start to end of a tensor.
struct Chunk {
  int tensor;
  int64_t start;
  int64_t end;
};

template <int CHUNK, int ARRAYS, int COUNT>
__device__ inline Chunk find_chunk(Tensors<ARRAYS, COUNT> const& tensors) {
  int low = 0;
  int high = tensors.count;
  while (high - low > 1) {
    int const middle = (low + high) / 2;
    if (tensors.first[middle] <= blockIdx.x) {
      low = middle;
    } else {
      high = middle;
    }
  }
  int64_t const start = int64_t{blockIdx.x - tensors.first[low]} * CHUNK;
  int64_t const size = tensors.sizes[low];
  return {low, start, start + CHUNK < size ? start + CHUNK : size};
}

// N elements as f32, 0 past the end.
template <int N, typename T>
__device__ inline void load(float (&to)[N], T const* from, int64_t left, bool wide) {
  if (wide && left >= N) {
    Vec<T, N> const v = load_vec<N>(from);
#pragma unroll
    for (int k = 0; k < N; ++k) to[k] = static_cast<float>(v.at[k]);
    return;
  }
#pragma unroll
  for (int k = 0; k < N; ++k) to[k] = k < left ? static_cast<float>(from[k]) : 0.f;
}

template <int N, typename T>
__device__ inline void store(T* to, float const (&from)[N], int64_t left, bool wide) {
  if (wide && left >= N) {
    Vec<T, N> v;
#pragma unroll
    for (int k = 0; k < N; ++k) v.at[k] = static_cast<T>(from[k]);
    store_vec<N>(to, v);
    return;
  }
#pragma unroll
  for (int k = 0; k < N; ++k) {
    if (k < left) to[k] = static_cast<T>(from[k]);
  }
}

// Calls run(tensors, ctas, ctas_before) for each table that `count` tensors fill; array(i, a) is
// array a of tensor i.
template <int CHUNK, int ARRAYS, int COUNT, typename At, typename Run>
void for_each_table(int64_t count, At&& array, Run&& run) {
  Tensors<ARRAYS, COUNT> tensors{};
  int64_t ctas = 0;
  int64_t before = 0;
  auto const flush = [&] {
    if (tensors.count > 0) run(tensors, static_cast<unsigned>(ctas), before);
    before += ctas;
    ctas = tensors.count = 0;
  };
  for (int64_t i = 0; i < count; ++i) {
    int64_t const size = array(i, 0).size();
    if (size == 0) continue;
    int64_t const need = (size + CHUNK - 1) / CHUNK;
    constexpr int64_t MOST_CTAS = (int64_t{1} << 31) - 1;
    if (tensors.count == COUNT || ctas + need > MOST_CTAS) flush();
    int const slot = tensors.count++;
    tensors.sizes[slot] = size;
    tensors.first[slot] = static_cast<unsigned>(ctas);
    tensors.wide[slot] = true;
    for (int a = 0; a < ARRAYS; ++a) {
      tensors.at[slot][a] = array(i, a).ptr;
      tensors.wide[slot] = tensors.wide[slot] && is_vec_aligned(array(i, a).ptr);
    }
    ctas += need;
  }
  flush();
}

// f.template operator()<COUNT>() with room for `count` tensors, or for as many as a launch takes.
template <typename F>
void dispatch_count(int64_t count, F&& f) {
  if (count <= FEW) return f.template operator()<FEW>();
  f.template operator()<MANY>();
}

}  // namespace pynn::optim
