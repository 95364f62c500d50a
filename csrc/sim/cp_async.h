// cp_async.h — twin of arch/cp_async.cuh.
//
// A copy takes effect at once, or as late as the wait that covers it, or at random between.  It belongs to the
// generic proxy.
#pragma once

#include "sim/machine.h"

namespace pynn::sim {
void copy_async(const char* what, uint32_t dst, const void* src, uint32_t size, uint32_t bytes,
                Where where);
void copy_async_commit();
void copy_async_wait(size_t left);
}  // namespace pynn::sim

namespace pynn::ptx {

using sim::Where;

template <int BYTES>
void cp_async_ca(uint32_t dst, const void* src, Where where = Where::current()) {
  static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async.ca copies 4, 8 or 16 bytes");
  sim::copy_async("cp.async.ca", dst, src, BYTES, BYTES, where);
}
template <int BYTES>
void cp_async_ca_zfill(uint32_t dst, const void* src, uint32_t bytes,
                       Where where = Where::current()) {
  static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async.ca copies 4, 8 or 16 bytes");
  sim::copy_async("cp.async.ca", dst, src, BYTES, bytes, where);
}
inline void cp_async_cg(uint32_t dst, const void* src, Where where = Where::current()) {
  sim::copy_async("cp.async.cg", dst, src, 16, 16, where);
}
inline void cp_async_cg_zfill(uint32_t dst, const void* src, uint32_t bytes,
                              Where where = Where::current()) {
  sim::copy_async("cp.async.cg", dst, src, 16, bytes, where);
}
inline void cp_async_commit_group() {
  sim::copy_async_commit();
}
template <int N>
void cp_async_wait_group() {
  static_assert(N >= 0, "cp.async.wait_group takes 0 or more");
  sim::copy_async_wait(N);
}
inline void cp_async_wait_all() {
  sim::copy_async_commit();
  sim::copy_async_wait(0);
}
void cp_async_mbarrier_arrive_noinc(uint32_t bar, Where where = Where::current());

}  // namespace pynn::ptx
