// wgmma.cuh — D (64 x N) += A (64 x K) B (K x N) on the tensor cores, by a warpgroup of 128 threads (sm_90a).
//
//   wgmma_fence()                     first: the accumulators, and A in registers, are ready
//   wgmma_mma_async<T>(d, a, b, acc)  N = 2 * size of d: every multiple of 8 up to 256;  acc 0: D = A B
//   wgmma_commit_group()              what was issued since the last commit is a group
//   wgmma_wait_group<M>()             until at most M groups are under way; only then may d be touched
//
//   T   __nv_bfloat16, __half (K = 16), tf32 (K = 8), __nv_fp8_e4m3, __nv_fp8_e5m2 (K = 32); sums in f32
//   a   descriptor of A in shared memory, or 4 registers laid out as A of mma.sync in each warp's 16 rows
//   b   descriptor of B in shared memory
//   majors: Major::K, rows of contiguous K; Major::MN, contiguous M or N, for 16-bit types alone
//
//   d[i] of thread t is D(16 (t/32) + (t%32)/4 + 8 (i/2 % 2),  8 (i/4) + 2 (t%4) + i%2)
//
// Descriptor: 0–13 address, 16–29 leading, 32–45 stride, all >> 4; 49–51 base offset; 62–63 swizzle.
// With T16 = 16 bytes of elements (8 of 16 bits), atoms of 8 rows, S the swizzle span (128, 64, 32 bytes):
//
//   K-major, swizzled    rows of S bytes, 8 to an atom; stride = bytes to the next 8 rows; leading unused;
//                        along K add bytes to the address, inside the span
//   K-major, plain       8 x 16 B core matrices, each 128 contiguous bytes; leading = to the next 16 bytes
//                        of K, stride = to the next 8 rows
//   MN-major, swizzled   rows of S bytes along M or N, one for each k, 8 to an atom; leading = to the next
//                        S bytes of M or N, stride = to the next 8 k
//   MN-major, plain      core matrices of 8 k x 16 B; leading = to the next 8 k, stride = to the next 16 bytes
//
// A swizzled atom starts at a multiple of 8 S bytes. wgmma reads through the async proxy.
//
//   PTX ISA, "wgmma.mma_async", "Shared Memory Matrix Layout", "Matrix Descriptor"

#pragma once

#include <cuda_fp8.h>

#include "arch/address.cuh"

namespace pynn::ptx {

struct tf32 {};  // an f32 of which the tensor core reads 19 bits

enum class Major { K, MN };
enum class Swizzle : uint64_t { NONE = 0, B128 = 1, B64 = 2, B32 = 3 };

__host__ __device__ inline uint64_t wgmma_descriptor(uint32_t address, uint32_t leading_bytes,
                                                     uint32_t stride_bytes, Swizzle swizzle) {
  return uint64_t{(address & 0x3FFFF) >> 4} | uint64_t{(leading_bytes & 0x3FFFF) >> 4} << 16 |
         uint64_t{(stride_bytes & 0x3FFFF) >> 4} << 32 | static_cast<uint64_t>(swizzle) << 62;
}

}  // namespace pynn::ptx

#ifdef PYNN_SIM

#include "sim/wgmma.h"

#elif defined(__CUDACC__)

#include "arch/wgmma_n.cuh"

namespace pynn::ptx {

__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void wgmma_commit_group() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int M>
__device__ __forceinline__ void wgmma_wait_group() {
  static_assert(M >= 0 && M <= 7, "wgmma.wait_group takes 0 to 7");
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(M) : "memory");
}

// Keeps the compiler from moving accesses of d across this point.
template <int SIZE>
__device__ __forceinline__ void wgmma_keep(float (&d)[SIZE]) {
#pragma unroll
  for (int i = 0; i < SIZE; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

template <class T>
struct WgmmaType;  // the part of the instruction's name that follows m64nN

template <>
struct WgmmaType<__nv_bfloat16> {
  static constexpr char NAME[] = "k16.f32.bf16.bf16";
  static constexpr bool MAJORS = true;
};
template <>
struct WgmmaType<__half> {
  static constexpr char NAME[] = "k16.f32.f16.f16";
  static constexpr bool MAJORS = true;
};
template <>
struct WgmmaType<tf32> {
  static constexpr char NAME[] = "k8.f32.tf32.tf32";
  static constexpr bool MAJORS = false;
};
template <>
struct WgmmaType<__nv_fp8_e4m3> {
  static constexpr char NAME[] = "k32.f32.e4m3.e4m3";
  static constexpr bool MAJORS = false;
};
template <>
struct WgmmaType<__nv_fp8_e5m2> {
  static constexpr char NAME[] = "k32.f32.e5m2.e5m2";
  static constexpr bool MAJORS = false;
};

// The immediates tnspA and tnspB, which only 16-bit types have; with A in registers there is tnspB alone.
template <bool EXIST, Major A, Major B>
struct WgmmaMajors {
  static constexpr char BOTH[] = {
      ',', ' ', A == Major::MN ? '1' : '0', ',', ' ', B == Major::MN ? '1' : '0', 0};
  static constexpr char ONLY_B[] = {',', ' ', B == Major::MN ? '1' : '0', 0};
};
template <Major A, Major B>
struct WgmmaMajors<false, A, B> {
  static_assert(A == Major::K && B == Major::K,
                "wgmma of tf32 and fp8 takes K-major operands only");
  static constexpr char BOTH[] = {0};
  static constexpr char ONLY_B[] = {0};
};

template <class T, Major A_MAJOR = Major::K, Major B_MAJOR = Major::K, int SIZE>
__device__ __forceinline__ void wgmma_mma_async(float (&d)[SIZE], uint64_t a, uint64_t b,
                                                bool accumulate) {
  using Type = WgmmaType<T>;
  wgmma_ss<Type, WgmmaMajors<Type::MAJORS, A_MAJOR, B_MAJOR>>(d, a, b, accumulate);
}

template <class T, Major B_MAJOR = Major::K, int SIZE>
__device__ __forceinline__ void wgmma_mma_async(float (&d)[SIZE], const uint32_t (&a)[4],
                                                uint64_t b, bool accumulate) {
  using Type = WgmmaType<T>;
  wgmma_rs<Type, WgmmaMajors<Type::MAJORS, Major::K, B_MAJOR>>(d, a, b, accumulate);
}

}  // namespace pynn::ptx

#endif
