// cluster.cuh — named barriers, clusters, distributed shared memory, fences, registers.
//
//   bar_sync(id, n)                 n threads meet at barrier id (0 is __syncthreads'); bar_arrive does not wait
//   barrier_cluster_arrive / _wait  all threads of the cluster that have not exited
//   mapa(s, rank)                   the address s, in CTA `rank` of the cluster
//   fence_proxy_async()             what this thread wrote, or knows to be written, by ordinary stores
//                                   becomes visible to TMA and wgmma
//
// A CTA must not exit while a peer still uses its shared memory: end with a cluster barrier.
//
//   PTX ISA, "barrier", "barrier.cluster", "mapa", "membar/fence", "setmaxnreg", "griddepcontrol", "elect.sync"

#pragma once

#include "arch/address.cuh"

#ifdef PYNN_SIM

#include "sim/cluster.h"

#elif defined(__CUDACC__)

namespace pynn::ptx {

// named barriers

__device__ __forceinline__ void bar_sync(uint32_t id, uint32_t threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

__device__ __forceinline__ void bar_arrive(uint32_t id, uint32_t threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// cluster (sm_90)

__device__ __forceinline__ uint32_t cluster_ctarank() {
  uint32_t r;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
  return r;
}

__device__ __forceinline__ uint32_t cluster_nctarank() {
  uint32_t r;
  asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(r));
  return r;
}

__device__ __forceinline__ dim3 cluster_ctaid() {
  dim3 r;
  asm volatile("mov.u32 %0, %%cluster_ctaid.x;" : "=r"(r.x));
  asm volatile("mov.u32 %0, %%cluster_ctaid.y;" : "=r"(r.y));
  asm volatile("mov.u32 %0, %%cluster_ctaid.z;" : "=r"(r.z));
  return r;
}

__device__ __forceinline__ dim3 cluster_nctaid() {
  dim3 r;
  asm volatile("mov.u32 %0, %%cluster_nctaid.x;" : "=r"(r.x));
  asm volatile("mov.u32 %0, %%cluster_nctaid.y;" : "=r"(r.y));
  asm volatile("mov.u32 %0, %%cluster_nctaid.z;" : "=r"(r.z));
  return r;
}

__device__ __forceinline__ void barrier_cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}

__device__ __forceinline__ void barrier_cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

__device__ __forceinline__ uint32_t mapa(uint32_t address, uint32_t rank) {
  uint32_t r;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(r) : "r"(address), "r"(rank));
  return r;
}

template <class T>
__device__ __forceinline__ T* mapa_generic(T* p, uint32_t rank) {
  uint64_t r;
  asm volatile("mapa.u64 %0, %1, %2;" : "=l"(r) : "l"(p), "r"(rank));
  return reinterpret_cast<T*>(r);
}

__device__ __forceinline__ uint32_t ld_shared_cluster_u32(uint32_t address) {
  uint32_t v;
  asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(v) : "r"(address) : "memory");
  return v;
}

__device__ __forceinline__ float ld_shared_cluster_f32(uint32_t address) {
  float v;
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(v) : "r"(address) : "memory");
  return v;
}

__device__ __forceinline__ void st_shared_cluster_u32(uint32_t address, uint32_t value) {
  asm volatile("st.shared::cluster.u32 [%0], %1;" ::"r"(address), "r"(value) : "memory");
}

__device__ __forceinline__ void st_shared_cluster_f32(uint32_t address, float value) {
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(address), "f"(value) : "memory");
}

// fences

__device__ __forceinline__ void fence_proxy_async() {
  asm volatile("fence.proxy.async;" ::: "memory");
}

__device__ __forceinline__ void fence_proxy_async_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void fence_acq_rel_cluster() {
  asm volatile("fence.acq_rel.cluster;" ::: "memory");
}

__device__ __forceinline__ void fence_acq_rel_gpu() {
  asm volatile("fence.acq_rel.gpu;" ::: "memory");
}

// flags in global memory (sm_70)

__device__ __forceinline__ uint32_t ld_acquire_gpu(const uint32_t* p) {
  uint32_t v;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}

__device__ __forceinline__ void st_release_gpu(uint32_t* p, uint32_t value) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(value) : "memory");
}

__device__ __forceinline__ uint32_t atom_add_acq_rel_gpu(uint32_t* p, uint32_t value) {
  uint32_t v;
  asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;"
               : "=r"(v)
               : "l"(p), "r"(value)
               : "memory");
  return v;
}

// registers, dependent launches, election (sm_90)

// Whole warpgroup; needs __launch_bounds__, or ptxas does not know the count and ignores it.
template <int REGISTERS>
__device__ __forceinline__ void setmaxnreg_inc() {
  static_assert(REGISTERS >= 24 && REGISTERS <= 256 && REGISTERS % 8 == 0,
                "setmaxnreg takes a multiple of 8 from 24 to 256");
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

template <int REGISTERS>
__device__ __forceinline__ void setmaxnreg_dec() {
  static_assert(REGISTERS >= 24 && REGISTERS <= 256 && REGISTERS % 8 == 0,
                "setmaxnreg takes a multiple of 8 from 24 to 256");
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

// Until the grids this one depends on have ended and their writes are visible.
__device__ __forceinline__ void griddepcontrol_wait() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

__device__ __forceinline__ void griddepcontrol_launch_dependents() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// True in one lane of the warp.
__device__ __forceinline__ bool elect_sync(uint32_t mask = ~0u) {
  uint32_t elected;
  asm volatile(
      "{\n.reg .pred p;\n"
      "elect.sync _|p, %1;\n"
      "selp.u32 %0, 1, 0, p;\n}"
      : "=r"(elected)
      : "r"(mask));
  return elected != 0;
}

}  // namespace pynn::ptx

#endif
