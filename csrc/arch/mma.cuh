// mma.cuh — D += A B on the tensor cores of a warp, operands in registers (sm_80 and up).
//
//   mma_m16n8k16_bf16(d, a, b)   mma_m16n8k16_f16(d, a, b)   mma_m16n8k8_tf32(d, a, b)        sums in f32
//
//   with g = lane / 4 and t = lane % 4, lane holds      (two 16-bit elements in a register, low half first)
//
//           m16n8k16, 16-bit                                  m16n8k8, tf32
//     a[0]  A(g,     2t), A(g,     2t+1)                      A(g,   t)
//     a[1]  A(g + 8, 2t), A(g + 8, 2t+1)                      A(g+8, t)
//     a[2]  A(g,     2t + 8), A(g,     2t+9)                  A(g,   t+4)
//     a[3]  A(g + 8, 2t + 8), A(g + 8, 2t+9)                  A(g+8, t+4)
//     b[0]  B(2t,     g), B(2t+1, g)                          B(t,   g)
//     b[1]  B(2t + 8, g), B(2t+9, g)                          B(t+4, g)
//     d[0], d[1]   D(g, 2t), D(g, 2t+1)        d[2], d[3]   D(g+8, 2t), D(g+8, 2t+1)
//
// tf32 is f32 with the 13 low bits ignored; cvt_rna_tf32 rounds instead of cutting them off. Whole warp, converged.
//
//   PTX ISA, "mma", "Matrix Fragments for mma.m16n8k8", "... mma.m16n8k16"; "cvt"

#pragma once

#include "common/launch.h"

#ifdef PYNN_SIM

#include "sim/mma.h"

#elif defined(__CUDACC__)

namespace pynn::ptx {

__device__ __forceinline__ uint32_t cvt_rna_tf32(float x) {
  uint32_t r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
  return r;
}

__device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4],
                                                  const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void mma_m16n8k16_f16(float (&d)[4], const uint32_t (&a)[4],
                                                 const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4],
                                                 const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace pynn::ptx

#endif
