// tma.h — twin of arch/tma.cuh.
#pragma once

#include <initializer_list>

#include "sim/machine.h"
#include "sim/tensor_map.h"

namespace pynn::sim {

using Coordinates = std::initializer_list<int>;

constexpr uint32_t OWN_BLOCK = 0x10000;  // in place of a multicast mask

void bulk_tensor_load(uint32_t dst, const TensorMap& map, uint32_t bar, uint32_t ctas,
                      Coordinates at, Where where);
void bulk_tensor_load_im2col(uint32_t dst, const TensorMap& map, uint32_t bar, uint32_t ctas,
                             Coordinates at, Coordinates taps, Where where);
void bulk_tensor_store(const TensorMap& map, uint32_t src, bool add, Coordinates at, Where where);
void bulk_wait(size_t left, bool read_only);

}  // namespace pynn::sim

namespace pynn::ptx {

using sim::Where;

inline void prefetch_tensormap(const TensorMap&) {}

void cp_async_bulk_commit_group();
template <int N>
void cp_async_bulk_wait_group() {
  sim::bulk_wait(N, false);
}
template <int N>
void cp_async_bulk_wait_group_read() {
  sim::bulk_wait(N, true);
}
void cp_async_bulk_load(uint32_t dst, const void* src, uint32_t bytes, uint32_t bar,
                        Where w = Where::current());
void cp_async_bulk_store(void* dst, uint32_t src, uint32_t bytes, Where w = Where::current());
void cp_reduce_async_bulk_add_f32(float* dst, uint32_t src, uint32_t bytes,
                                  Where w = Where::current());

inline void cp_async_bulk_tensor_load(uint32_t dst, const TensorMap& map, uint32_t bar, int x,
                                      Where where = Where::current()) {
  sim::bulk_tensor_load(dst, map, bar, sim::OWN_BLOCK, {x}, where);
}
inline void cp_async_bulk_tensor_load(uint32_t dst, const TensorMap& map, uint32_t bar, int x,
                                      int y, Where where = Where::current()) {
  sim::bulk_tensor_load(dst, map, bar, sim::OWN_BLOCK, {x, y}, where);
}
inline void cp_async_bulk_tensor_load(uint32_t dst, const TensorMap& map, uint32_t bar, int x,
                                      int y, int z, Where where = Where::current()) {
  sim::bulk_tensor_load(dst, map, bar, sim::OWN_BLOCK, {x, y, z}, where);
}
inline void cp_async_bulk_tensor_load(uint32_t dst, const TensorMap& map, uint32_t bar, int x,
                                      int y, int z, int v, Where where = Where::current()) {
  sim::bulk_tensor_load(dst, map, bar, sim::OWN_BLOCK, {x, y, z, v}, where);
}
inline void cp_async_bulk_tensor_load(uint32_t dst, const TensorMap& map, uint32_t bar, int x,
                                      int y, int z, int v, int w, Where where = Where::current()) {
  sim::bulk_tensor_load(dst, map, bar, sim::OWN_BLOCK, {x, y, z, v, w}, where);
}
inline void cp_async_bulk_tensor_load_multicast(uint32_t dst, const TensorMap& map, uint32_t bar,
                                                uint16_t ctas, int x,
                                                Where where = Where::current()) {
  sim::bulk_tensor_load(dst, map, bar, ctas, {x}, where);
}
inline void cp_async_bulk_tensor_load_multicast(uint32_t dst, const TensorMap& map, uint32_t bar,
                                                uint16_t ctas, int x, int y,
                                                Where where = Where::current()) {
  sim::bulk_tensor_load(dst, map, bar, ctas, {x, y}, where);
}
inline void cp_async_bulk_tensor_load_multicast(uint32_t dst, const TensorMap& map, uint32_t bar,
                                                uint16_t ctas, int x, int y, int z,
                                                Where where = Where::current()) {
  sim::bulk_tensor_load(dst, map, bar, ctas, {x, y, z}, where);
}
inline void cp_async_bulk_tensor_load_multicast(uint32_t dst, const TensorMap& map, uint32_t bar,
                                                uint16_t ctas, int x, int y, int z, int v,
                                                Where where = Where::current()) {
  sim::bulk_tensor_load(dst, map, bar, ctas, {x, y, z, v}, where);
}
inline void cp_async_bulk_tensor_load_multicast(uint32_t dst, const TensorMap& map, uint32_t bar,
                                                uint16_t ctas, int x, int y, int z, int v, int w,
                                                Where where = Where::current()) {
  sim::bulk_tensor_load(dst, map, bar, ctas, {x, y, z, v, w}, where);
}
inline void cp_async_bulk_tensor_store(const TensorMap& map, uint32_t src, int x,
                                       Where where = Where::current()) {
  sim::bulk_tensor_store(map, src, false, {x}, where);
}
inline void cp_async_bulk_tensor_store(const TensorMap& map, uint32_t src, int x, int y,
                                       Where where = Where::current()) {
  sim::bulk_tensor_store(map, src, false, {x, y}, where);
}
inline void cp_async_bulk_tensor_store(const TensorMap& map, uint32_t src, int x, int y, int z,
                                       Where where = Where::current()) {
  sim::bulk_tensor_store(map, src, false, {x, y, z}, where);
}
inline void cp_async_bulk_tensor_store(const TensorMap& map, uint32_t src, int x, int y, int z,
                                       int v, Where where = Where::current()) {
  sim::bulk_tensor_store(map, src, false, {x, y, z, v}, where);
}
inline void cp_async_bulk_tensor_store(const TensorMap& map, uint32_t src, int x, int y, int z,
                                       int v, int w, Where where = Where::current()) {
  sim::bulk_tensor_store(map, src, false, {x, y, z, v, w}, where);
}
inline void cp_reduce_async_bulk_tensor_add(const TensorMap& map, uint32_t src, int x,
                                            Where where = Where::current()) {
  sim::bulk_tensor_store(map, src, true, {x}, where);
}
inline void cp_reduce_async_bulk_tensor_add(const TensorMap& map, uint32_t src, int x, int y,
                                            Where where = Where::current()) {
  sim::bulk_tensor_store(map, src, true, {x, y}, where);
}
inline void cp_reduce_async_bulk_tensor_add(const TensorMap& map, uint32_t src, int x, int y, int z,
                                            Where where = Where::current()) {
  sim::bulk_tensor_store(map, src, true, {x, y, z}, where);
}
inline void cp_reduce_async_bulk_tensor_add(const TensorMap& map, uint32_t src, int x, int y, int z,
                                            int v, Where where = Where::current()) {
  sim::bulk_tensor_store(map, src, true, {x, y, z, v}, where);
}
inline void cp_reduce_async_bulk_tensor_add(const TensorMap& map, uint32_t src, int x, int y, int z,
                                            int v, int w, Where where = Where::current()) {
  sim::bulk_tensor_store(map, src, true, {x, y, z, v, w}, where);
}
inline void cp_async_bulk_tensor_load_im2col_3d(uint32_t dst, const TensorMap& map, uint32_t bar,
                                                int c, int w, int n, uint16_t ow,
                                                Where where = Where::current()) {
  sim::bulk_tensor_load_im2col(dst, map, bar, sim::OWN_BLOCK, {c, w, n}, {ow}, where);
}
inline void cp_async_bulk_tensor_load_im2col_multicast_3d(uint32_t dst, const TensorMap& map,
                                                          uint32_t bar, uint16_t ctas, int c, int w,
                                                          int n, uint16_t ow,
                                                          Where where = Where::current()) {
  sim::bulk_tensor_load_im2col(dst, map, bar, ctas, {c, w, n}, {ow}, where);
}
inline void cp_async_bulk_tensor_load_im2col_4d(uint32_t dst, const TensorMap& map, uint32_t bar,
                                                int c, int w, int h, int n, uint16_t ow,
                                                uint16_t oh, Where where = Where::current()) {
  sim::bulk_tensor_load_im2col(dst, map, bar, sim::OWN_BLOCK, {c, w, h, n}, {ow, oh}, where);
}
inline void cp_async_bulk_tensor_load_im2col_multicast_4d(uint32_t dst, const TensorMap& map,
                                                          uint32_t bar, uint16_t ctas, int c, int w,
                                                          int h, int n, uint16_t ow, uint16_t oh,
                                                          Where where = Where::current()) {
  sim::bulk_tensor_load_im2col(dst, map, bar, ctas, {c, w, h, n}, {ow, oh}, where);
}
inline void cp_async_bulk_tensor_load_im2col_5d(uint32_t dst, const TensorMap& map, uint32_t bar,
                                                int c, int w, int h, int d, int n, uint16_t ow,
                                                uint16_t oh, uint16_t od,
                                                Where where = Where::current()) {
  sim::bulk_tensor_load_im2col(dst, map, bar, sim::OWN_BLOCK, {c, w, h, d, n}, {ow, oh, od}, where);
}
inline void cp_async_bulk_tensor_load_im2col_multicast_5d(uint32_t dst, const TensorMap& map,
                                                          uint32_t bar, uint16_t ctas, int c, int w,
                                                          int h, int d, int n, uint16_t ow,
                                                          uint16_t oh, uint16_t od,
                                                          Where where = Where::current()) {
  sim::bulk_tensor_load_im2col(dst, map, bar, ctas, {c, w, h, d, n}, {ow, oh, od}, where);
}

}  // namespace pynn::ptx
