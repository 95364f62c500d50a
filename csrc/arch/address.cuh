// address.cuh — shared addresses of 32 bits, which every wrapper in this directory takes.
//
// PTX addresses shared memory by its own 32-bit offsets. A kernel converts a pointer once and does its
// address arithmetic in 32 bits, where a 64-bit pointer would cost two registers and two additions.
//
// Every header here gives one short function for each instruction, named as the PTX manual names it. Under
// nvcc it is the instruction; in the simulator it is a twin in csrc/sim/ that also checks what PTX forbids.
//
//   PTX ISA, "State Spaces", "cvta"

#pragma once

#include "common/launch.h"

#ifdef PYNN_SIM

#include "sim/address.h"

#elif defined(__CUDACC__)

namespace pynn::ptx {

__device__ __forceinline__ uint32_t smem_u32(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

}  // namespace pynn::ptx

#endif
