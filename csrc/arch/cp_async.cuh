// cp_async.cuh — copies from global to shared memory that run beside the thread (sm_80 and up).
//
//   cp_async_cg(s, g)          16 bytes, past L1            cp_async_ca<BYTES>(s, g)   4, 8 or 16, through L1
//   ..._zfill(s, g, n)         n bytes from g, zeros after: a predicated edge without a branch
//   cp_async_commit_group()    all copies of this thread since the last commit form a group
//   cp_async_wait_group<N>()   until at most the N youngest groups of this thread are under way
//
// A wait makes the thread's own copies visible to itself; the other threads need a barrier after it. These copies
// go through the generic proxy: before wgmma or TMA reads what they wrote, fence_proxy_async().
//
//   PTX ISA, "cp.async", "cp.async.commit_group", "cp.async.wait_group", "cp.async.mbarrier.arrive"

#pragma once

#include "arch/address.cuh"

#ifdef PYNN_SIM

#include "sim/cp_async.h"

#elif defined(__CUDACC__)

namespace pynn::ptx {

template <int BYTES>
__device__ __forceinline__ void cp_async_ca(uint32_t dst, const void* src) {
  static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async.ca copies 4, 8 or 16 bytes");
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(dst), "l"(src), "n"(BYTES)
               : "memory");
}

template <int BYTES>
__device__ __forceinline__ void cp_async_ca_zfill(uint32_t dst, const void* src, uint32_t bytes) {
  static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async.ca copies 4, 8 or 16 bytes");
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(dst), "l"(src), "n"(BYTES),
               "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void cp_async_cg(uint32_t dst, const void* src) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(dst), "l"(src) : "memory");
}

__device__ __forceinline__ void cp_async_cg_zfill(uint32_t dst, const void* src, uint32_t bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void cp_async_commit_group() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int N>
__device__ __forceinline__ void cp_async_wait_group() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

__device__ __forceinline__ void cp_async_wait_all() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

// The mbarrier gets one arrival when all copies this thread has issued so far have landed.
__device__ __forceinline__ void cp_async_mbarrier_arrive_noinc(uint32_t bar) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(bar) : "memory");
}

}  // namespace pynn::ptx

#endif
