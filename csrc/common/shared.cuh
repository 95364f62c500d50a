// shared.cuh — shared memory of a CTA, spelled so that nvcc and the simulator both take it.
//
//   auto& tile = shared<float[16][17], "tile">();    a static array, 16-byte aligned or as the third argument says
//   auto* ring = dynamic_shared<__half>();           the bytes asked for at launch, 1024-byte aligned
//
// CUDA's own words cannot be had twice: `extern __shared__ T x[]` is no C++, and a plain `__shared__ T x[N]`
// would become a C++ static, which blocks on two OS threads, or two blocks of a cluster, would share. Here the
// simulator lays each array into its block's own memory, with red zones, filled with NaN, and errors call it by
// name. Under nvcc both lines cost nothing. The same type and name mean the same array, wherever they stand.

#pragma once

#include <cstddef>

#include "common/launch.h"

#ifdef PYNN_SIM

#include "sim/shared.h"

#else

namespace pynn {

template <size_t N>
struct ArrayName {
  char text[N];
  constexpr ArrayName(const char (&name)[N]) {
    for (size_t i = 0; i < N; ++i) text[i] = name[i];
  }
};

#ifdef __CUDACC__

template <class T, ArrayName NAME, size_t ALIGN = 16>
__device__ __forceinline__ T& shared() {
  __shared__ __align__(ALIGN) unsigned char bytes[sizeof(T)];
  return *reinterpret_cast<T*>(bytes);
}

template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(1024) unsigned char pynn_dynamic_shared[];
  return reinterpret_cast<T*>(pynn_dynamic_shared);
}

#endif  // __CUDACC__

}  // namespace pynn

#endif  // PYNN_SIM
