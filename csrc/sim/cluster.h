// cluster.h — twin of arch/cluster.cuh: barriers of PTX, cluster barrier, distributed shared memory, fences.
#pragma once

#include "sim/machine.h"

namespace pynn::ptx {

using sim::Where;

// ---- named barriers of a block: 0 is the one of __syncthreads
void bar_sync(uint32_t id, uint32_t threads, Where where = Where::current());
void bar_arrive(uint32_t id, uint32_t threads, Where where = Where::current());

// ---- cluster
uint32_t cluster_ctarank();
uint32_t cluster_nctarank();
dim3 cluster_ctaid();
dim3 cluster_nctaid();
void barrier_cluster_arrive(Where where = Where::current());
void barrier_cluster_wait(Where where = Where::current());
uint32_t mapa(uint32_t address, uint32_t rank, Where where = Where::current());
template <class T>
T* mapa_generic(T* p, uint32_t rank, Where where = Where::current());
uint32_t ld_shared_cluster_u32(uint32_t address, Where where = Where::current());
float ld_shared_cluster_f32(uint32_t address, Where where = Where::current());
void st_shared_cluster_u32(uint32_t address, uint32_t value, Where where = Where::current());
void st_shared_cluster_f32(uint32_t address, float value, Where where = Where::current());

// ---- fences
void fence_proxy_async();  // generic writes of this thread and those it knows of -> async proxy
void fence_proxy_async_shared();
void fence_acq_rel_cluster();
void fence_acq_rel_gpu();

// ---- flags in global memory
uint32_t ld_acquire_gpu(const uint32_t* p, Where where = Where::current());
void st_release_gpu(uint32_t* p, uint32_t value, Where where = Where::current());
uint32_t atom_add_acq_rel_gpu(uint32_t* p, uint32_t value, Where where = Where::current());

// ---- registers, dependent launches, election
template <int REGISTERS>
void setmaxnreg_inc(Where where = Where::current());
template <int REGISTERS>
void setmaxnreg_dec(Where where = Where::current());
inline void griddepcontrol_wait() {}  // launches are synchronous: the one before has ended
inline void griddepcontrol_launch_dependents() {}
bool elect_sync(uint32_t mask = ~0u, Where where = Where::current());

}  // namespace pynn::ptx

namespace pynn::sim {
void* map_to_rank(const void* p, uint32_t rank, Where where);
void set_max_registers(const char* what, int registers, Where where);
}  // namespace pynn::sim

namespace pynn::ptx {

template <class T>
T* mapa_generic(T* p, uint32_t rank, Where where) {
  return static_cast<T*>(sim::map_to_rank(p, rank, where));
}
template <int REGISTERS>
void setmaxnreg_inc(Where where) {
  static_assert(REGISTERS >= 24 && REGISTERS <= 256 && REGISTERS % 8 == 0,
                "setmaxnreg takes a multiple of 8 from 24 to 256");
  sim::set_max_registers("setmaxnreg.inc", REGISTERS, where);
}
template <int REGISTERS>
void setmaxnreg_dec(Where where) {
  static_assert(REGISTERS >= 24 && REGISTERS <= 256 && REGISTERS % 8 == 0,
                "setmaxnreg takes a multiple of 8 from 24 to 256");
  sim::set_max_registers("setmaxnreg.dec", REGISTERS, where);
}

}  // namespace pynn::ptx
