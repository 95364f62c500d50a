// mma.h — twin of arch/mma.cuh.
#pragma once

#include "sim/machine.h"
#include "sim/number.h"

namespace pynn::sim {
void multiply_add(const char* what, Number type, float* d, const uint32_t* a, const uint32_t* b,
                  Where where);
}

namespace pynn::ptx {

using sim::Where;

// To the nearest tf32, ties away from zero.
inline uint32_t cvt_rna_tf32(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  const bool finite = (bits & 0x7F800000) != 0x7F800000;
  return (finite ? bits + 0x1000 : bits) & ~0x1FFFu;
}
inline void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                              Where w = Where::current()) {
  sim::multiply_add("mma.m16n8k16.bf16", sim::Number::BF16, d, a, b, w);
}
inline void mma_m16n8k16_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                             Where w = Where::current()) {
  sim::multiply_add("mma.m16n8k16.f16", sim::Number::F16, d, a, b, w);
}
inline void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                             Where w = Where::current()) {
  sim::multiply_add("mma.m16n8k8.tf32", sim::Number::TF32, d, a, b, w);
}

}  // namespace pynn::ptx
