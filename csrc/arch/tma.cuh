// tma.cuh — boxes of a tensor between global and shared memory, moved by the Tensor Memory Accelerator (sm_90).
//
//   cp_async_bulk_tensor_load(s, map, bar, x, y ...)     one thread asks; when the box is there, its bytes are
//                                                        taken off the mbarrier, which must expect them
//   ..._load_multicast(s, map, bar, ctas, x, y ...)      the same box to the same offsets in several CTAs of
//                                                        the cluster, and to the mbarrier of each
//   ..._load_im2col_4d(s, map, bar, c, w, h, n, ow, oh)  pixels in the order of a convolution
//   ..._store(map, s, x, y ...)  ..._reduce_add(...)     shared to global; in groups:
//       cp_async_bulk_commit_group()
//       cp_async_bulk_wait_group_read<N>()               shared memory may be overwritten, or the CTA exit
//       cp_async_bulk_wait_group<N>()                    global memory is written
//   cp_async_bulk_load(s, g, bytes, bar)                 contiguous bytes, without a map
//   cp_async_bulk_store(g, s, bytes)
//
//   coordinates in elements, contiguous dimension first; x, y may lie outside the tensor
//   shared address: 128-byte aligned (1024 with the 128-byte swizzle, so that atoms are where wgmma looks)
//
//   swizzle: 16-byte chunk c of row r (of 128, 64 or 32 bytes) goes to chunk
//     128B   c ^ (r % 8)        64B   c ^ (r/2 % 4)        32B   c ^ (r/4 % 2)        = address bits 4.. ^= bits 7..
//
// TMA is in the async proxy: before a store, fence_proxy_async() by the writers, then a barrier.
//
//   PTX ISA, "cp.async.bulk.tensor", "cp.async.bulk", "cp.reduce.async.bulk.tensor", "Swizzling modes"

#pragma once

#include "arch/address.cuh"
#include "arch/tensor_map.h"

#ifdef PYNN_SIM

#include "sim/tma.h"

#elif defined(__CUDACC__)

namespace pynn::ptx {

__device__ __forceinline__ void prefetch_tensormap(const TensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// groups of stores

__device__ __forceinline__ void cp_async_bulk_commit_group() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

template <int N>
__device__ __forceinline__ void cp_async_bulk_wait_group() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory");
}

template <int N>
__device__ __forceinline__ void cp_async_bulk_wait_group_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory");
}

// contiguous bytes

__device__ __forceinline__ void cp_async_bulk_load(uint32_t dst, const void* src, uint32_t bytes,
                                                   uint32_t bar) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(dst),
      "l"(src), "r"(bytes), "r"(bar)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_store(void* dst, uint32_t src, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(dst), "r"(src),
               "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void cp_reduce_async_bulk_add_f32(float* dst, uint32_t src,
                                                             uint32_t bytes) {
  asm volatile(
      "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(dst),
      "r"(src), "r"(bytes)
      : "memory");
}

// boxes

__device__ __forceinline__ void cp_async_bulk_tensor_load(uint32_t dst, const TensorMap& map,
                                                          uint32_t bar, int x) {
  asm volatile(
      "cp.async.bulk.tensor.1d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3}], [%2];" ::"r"(dst),
      "l"(&map), "r"(bar), "r"(x)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_load(uint32_t dst, const TensorMap& map,
                                                          uint32_t bar, int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4}], [%2];" ::"r"(dst),
      "l"(&map), "r"(bar), "r"(x), "r"(y)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_load(uint32_t dst, const TensorMap& map,
                                                          uint32_t bar, int x, int y, int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(dst),
      "l"(&map), "r"(bar), "r"(x), "r"(y), "r"(z)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_load(uint32_t dst, const TensorMap& map,
                                                          uint32_t bar, int x, int y, int z,
                                                          int v) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(dst),
      "l"(&map), "r"(bar), "r"(x), "r"(y), "r"(z), "r"(v)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_load(uint32_t dst, const TensorMap& map,
                                                          uint32_t bar, int x, int y, int z, int v,
                                                          int w) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5, %6, %7}], [%2];" ::"r"(dst),
      "l"(&map), "r"(bar), "r"(x), "r"(y), "r"(z), "r"(v), "r"(w)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_load_multicast(uint32_t dst,
                                                                    const TensorMap& map,
                                                                    uint32_t bar, uint16_t ctas,
                                                                    int x) {
  asm volatile(
      "cp.async.bulk.tensor.1d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%4}], [%2], %3;" ::"r"(dst),
      "l"(&map), "r"(bar), "h"(ctas), "r"(x)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_load_multicast(uint32_t dst,
                                                                    const TensorMap& map,
                                                                    uint32_t bar, uint16_t ctas,
                                                                    int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%4, %5}], [%2], %3;" ::"r"(dst),
      "l"(&map), "r"(bar), "h"(ctas), "r"(x), "r"(y)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_load_multicast(uint32_t dst,
                                                                    const TensorMap& map,
                                                                    uint32_t bar, uint16_t ctas,
                                                                    int x, int y, int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%4, %5, %6}], [%2], %3;" ::"r"(dst),
      "l"(&map), "r"(bar), "h"(ctas), "r"(x), "r"(y), "r"(z)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_load_multicast(uint32_t dst,
                                                                    const TensorMap& map,
                                                                    uint32_t bar, uint16_t ctas,
                                                                    int x, int y, int z, int v) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%4, %5, %6, %7}], [%2], %3;" ::"r"(dst),
      "l"(&map), "r"(bar), "h"(ctas), "r"(x), "r"(y), "r"(z), "r"(v)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_load_multicast(uint32_t dst,
                                                                    const TensorMap& map,
                                                                    uint32_t bar, uint16_t ctas,
                                                                    int x, int y, int z, int v,
                                                                    int w) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%4, %5, %6, %7, %8}], [%2], %3;" ::"r"(dst),
      "l"(&map), "r"(bar), "h"(ctas), "r"(x), "r"(y), "r"(z), "r"(v), "r"(w)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_store(const TensorMap& map, uint32_t src,
                                                           int x) {
  asm volatile(
      "cp.async.bulk.tensor.1d.global.shared::cta.tile.bulk_group [%0, {%2}], [%1];" ::"l"(&map),
      "r"(src), "r"(x)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_store(const TensorMap& map, uint32_t src,
                                                           int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(
          &map),
      "r"(src), "r"(x), "r"(y)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_store(const TensorMap& map, uint32_t src,
                                                           int x, int y, int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(
          &map),
      "r"(src), "r"(x), "r"(y), "r"(z)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_store(const TensorMap& map, uint32_t src,
                                                           int x, int y, int z, int v) {
  asm volatile(
      "cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::
          "l"(&map),
      "r"(src), "r"(x), "r"(y), "r"(z), "r"(v)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_store(const TensorMap& map, uint32_t src,
                                                           int x, int y, int z, int v, int w) {
  asm volatile(
      "cp.async.bulk.tensor.5d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4, %5, %6}], "
      "[%1];" ::"l"(&map),
      "r"(src), "r"(x), "r"(y), "r"(z), "r"(v), "r"(w)
      : "memory");
}

__device__ __forceinline__ void cp_reduce_async_bulk_tensor_add(const TensorMap& map, uint32_t src,
                                                                int x) {
  asm volatile(
      "cp.reduce.async.bulk.tensor.1d.global.shared::cta.add.tile.bulk_group [%0, {%2}], [%1];" ::
          "l"(&map),
      "r"(src), "r"(x)
      : "memory");
}

__device__ __forceinline__ void cp_reduce_async_bulk_tensor_add(const TensorMap& map, uint32_t src,
                                                                int x, int y) {
  asm volatile(
      "cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group [%0, {%2, %3}], "
      "[%1];" ::"l"(&map),
      "r"(src), "r"(x), "r"(y)
      : "memory");
}

__device__ __forceinline__ void cp_reduce_async_bulk_tensor_add(const TensorMap& map, uint32_t src,
                                                                int x, int y, int z) {
  asm volatile(
      "cp.reduce.async.bulk.tensor.3d.global.shared::cta.add.tile.bulk_group [%0, {%2, %3, %4}], "
      "[%1];" ::"l"(&map),
      "r"(src), "r"(x), "r"(y), "r"(z)
      : "memory");
}

__device__ __forceinline__ void cp_reduce_async_bulk_tensor_add(const TensorMap& map, uint32_t src,
                                                                int x, int y, int z, int v) {
  asm volatile(
      "cp.reduce.async.bulk.tensor.4d.global.shared::cta.add.tile.bulk_group [%0, {%2, %3, %4, "
      "%5}], [%1];" ::"l"(&map),
      "r"(src), "r"(x), "r"(y), "r"(z), "r"(v)
      : "memory");
}

__device__ __forceinline__ void cp_reduce_async_bulk_tensor_add(const TensorMap& map, uint32_t src,
                                                                int x, int y, int z, int v, int w) {
  asm volatile(
      "cp.reduce.async.bulk.tensor.5d.global.shared::cta.add.tile.bulk_group [%0, {%2, %3, %4, %5, "
      "%6}], [%1];" ::"l"(&map),
      "r"(src), "r"(x), "r"(y), "r"(z), "r"(v), "r"(w)
      : "memory");
}

// pixels of a convolution: first pixel (c, w, h, d, n), then the filter tap (ow, oh, od)

__device__ __forceinline__ void cp_async_bulk_tensor_load_im2col_3d(uint32_t dst,
                                                                    const TensorMap& map,
                                                                    uint32_t bar, int c, int w,
                                                                    int n, uint16_t ow) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5}], [%2], {%6};" ::"r"(dst),
      "l"(&map), "r"(bar), "r"(c), "r"(w), "r"(n), "h"(ow)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_load_im2col_multicast_3d(
    uint32_t dst, const TensorMap& map, uint32_t bar, uint16_t ctas, int c, int w, int n,
    uint16_t ow) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes."
      "multicast::cluster "
      "[%0], [%1, {%4, %5, %6}], [%2], {%7}, %3;" ::"r"(dst),
      "l"(&map), "r"(bar), "h"(ctas), "r"(c), "r"(w), "r"(n), "h"(ow)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_load_im2col_4d(uint32_t dst,
                                                                    const TensorMap& map,
                                                                    uint32_t bar, int c, int w,
                                                                    int h, int n, uint16_t ow,
                                                                    uint16_t oh) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8};" ::"r"(dst),
      "l"(&map), "r"(bar), "r"(c), "r"(w), "r"(h), "r"(n), "h"(ow), "h"(oh)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_load_im2col_multicast_4d(
    uint32_t dst, const TensorMap& map, uint32_t bar, uint16_t ctas, int c, int w, int h, int n,
    uint16_t ow, uint16_t oh) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes."
      "multicast::cluster "
      "[%0], [%1, {%4, %5, %6, %7}], [%2], {%8, %9}, %3;" ::"r"(dst),
      "l"(&map), "r"(bar), "h"(ctas), "r"(c), "r"(w), "r"(h), "r"(n), "h"(ow), "h"(oh)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_load_im2col_5d(
    uint32_t dst, const TensorMap& map, uint32_t bar, int c, int w, int h, int d, int n,
    uint16_t ow, uint16_t oh, uint16_t od) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5, %6, %7}], [%2], {%8, %9, %10};" ::"r"(dst),
      "l"(&map), "r"(bar), "r"(c), "r"(w), "r"(h), "r"(d), "r"(n), "h"(ow), "h"(oh), "h"(od)
      : "memory");
}

__device__ __forceinline__ void cp_async_bulk_tensor_load_im2col_multicast_5d(
    uint32_t dst, const TensorMap& map, uint32_t bar, uint16_t ctas, int c, int w, int h, int d,
    int n, uint16_t ow, uint16_t oh, uint16_t od) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes."
      "multicast::cluster "
      "[%0], [%1, {%4, %5, %6, %7, %8}], [%2], {%9, %10, %11}, %3;" ::"r"(dst),
      "l"(&map), "r"(bar), "h"(ctas), "r"(c), "r"(w), "r"(h), "r"(d), "r"(n), "h"(ow), "h"(oh),
      "h"(od)
      : "memory");
}

}  // namespace pynn::ptx

#endif
