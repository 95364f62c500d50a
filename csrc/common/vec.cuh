// vec.cuh — N elements moved by one instruction. 16 bytes is the widest access of a thread on sm_80
// and sm_90: LDG.E.128 and STG.E.128 in the SASS.

#pragma once

#include <cstdint>

#include "common/launch.h"

namespace pynn {

inline constexpr int VEC_BYTES = 16;

template <typename T, int N>
struct alignas(sizeof(T) * N) Vec {
  static_assert(sizeof(T) * N <= VEC_BYTES, "one access moves at most 16 bytes");

  T at[N];
};

template <int N, typename T>
__device__ inline Vec<T, N> load_vec(T const* p) {
  return *reinterpret_cast<Vec<T, N> const*>(p);
}

template <int N, typename T>
__device__ inline void store_vec(T* p, Vec<T, N> const& v) {
  *reinterpret_cast<Vec<T, N>*>(p) = v;
}

inline bool is_vec_aligned(void const* p) {
  return reinterpret_cast<uintptr_t>(p) % VEC_BYTES == 0;
}

}  // namespace pynn
