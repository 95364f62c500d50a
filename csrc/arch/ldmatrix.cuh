// ldmatrix.cuh — 8x8 matrices of 16-bit elements between shared memory and the registers of a warp.
//
//   ldmatrix_x1 _x2 _x4 (r, row)        lane 8i + j gives the address of row j of matrix i: 8 elements, 16 bytes
//   ..._trans                           the same matrices, transposed on the way
//   stmatrix_x1 _x2 _x4 (row, r)        the reverse (sm_90)
//
//   lane l then holds in r[i], low half first, elements (l/4, 2(l%4)) and (l/4, 2(l%4) + 1) of matrix i:
//
//         0   1   2   3   4   5   6   7
//     0 │ T0    │ T1    │ T2    │ T3    │          with _trans, of the transposed matrix
//     1 │ T4    │ T5    │ T6    │ T7    │
//     …
//
//   which is the fragment mma.sync wants. Whole warp, converged.
//
//   PTX ISA, "ldmatrix", "stmatrix"

#pragma once

#include "arch/address.cuh"

#ifdef PYNN_SIM

#include "sim/ldmatrix.h"

#elif defined(__CUDACC__)

namespace pynn::ptx {

__device__ __forceinline__ void ldmatrix_x1(uint32_t (&r)[1], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
               : "=r"(r[0])
               : "r"(row)
               : "memory");
}

__device__ __forceinline__ void ldmatrix_x1_trans(uint32_t (&r)[1], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
               : "=r"(r[0])
               : "r"(row)
               : "memory");
}

__device__ __forceinline__ void ldmatrix_x2(uint32_t (&r)[2], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(row)
               : "memory");
}

__device__ __forceinline__ void ldmatrix_x2_trans(uint32_t (&r)[2], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(row)
               : "memory");
}

__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}

__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}

// sm_90 and up

__device__ __forceinline__ void stmatrix_x1(uint32_t row, const uint32_t (&r)[1]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x1.shared.b16 [%0], {%1};" ::"r"(row), "r"(r[0])
               : "memory");
}

__device__ __forceinline__ void stmatrix_x1_trans(uint32_t row, const uint32_t (&r)[1]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x1.trans.shared.b16 [%0], {%1};" ::"r"(row), "r"(r[0])
               : "memory");
}

__device__ __forceinline__ void stmatrix_x2(uint32_t row, const uint32_t (&r)[2]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1, %2};" ::"r"(row), "r"(r[0]),
               "r"(r[1])
               : "memory");
}

__device__ __forceinline__ void stmatrix_x2_trans(uint32_t row, const uint32_t (&r)[2]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(row),
               "r"(r[0]), "r"(r[1])
               : "memory");
}

__device__ __forceinline__ void stmatrix_x4(uint32_t row, const uint32_t (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}

__device__ __forceinline__ void stmatrix_x4_trans(uint32_t row, const uint32_t (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}

}  // namespace pynn::ptx

#endif
