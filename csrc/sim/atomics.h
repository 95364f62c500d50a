// atomics.h — atomicAdd and its kin, on every type CUDA has them for.
//
// A true atomic of the host, since blocks may run on several OS threads.  An atomic orders nothing else by
// itself: the race detector wants a __threadfence() before the one that hands data over, and one after the
// one that takes it.  A failed atomicCAS lets the other threads go on, so that a lock can be waited for.
#pragma once

#include <cstring>
#include <type_traits>

#include "sim/machine.h"
#include "sim/words.h"

namespace pynn::sim {

template <size_t BYTES>
using Bits =
    std::conditional_t<BYTES == 2, uint16_t, std::conditional_t<BYTES == 4, uint32_t, uint64_t>>;

void check_atomic(const void* p, size_t bytes, const char* what, Where where);

// *p = f(*p), returns what was there before.
template <class T, class F>
[[gnu::no_sanitize("thread")]] T read_modify_write(T* p, F f, const char* what, Where where) {
  static_assert(sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8,
                "an atomic has 2, 4 or 8 bytes");
  check_atomic(p, sizeof(T), what, where);
  auto* bits = reinterpret_cast<Bits<sizeof(T)>*>(p);
  Bits<sizeof(T)> before = __atomic_load_n(bits, __ATOMIC_SEQ_CST), after;
  T old;
  do {
    std::memcpy(static_cast<void*>(&old), &before, sizeof(T));
    const T value = f(old);
    std::memcpy(&after, static_cast<const void*>(&value), sizeof(T));
  } while (!__atomic_compare_exchange_n(bits, &before, after, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST));
  return old;
}

inline float add(float a, float b) {
  return a + b;
}
inline double add(double a, double b) {
  return a + b;
}
inline __half add(__half a, __half b) {
  return __float2half_rn(__half2float(a) + __half2float(b));
}
inline __nv_bfloat16 add(__nv_bfloat16 a, __nv_bfloat16 b) {
  return __float2bfloat16_rn(__bfloat162float(a) + __bfloat162float(b));
}
inline __half2 add(__half2 a, __half2 b) {
  return {add(a.x, b.x), add(a.y, b.y)};
}
inline __nv_bfloat162 add(__nv_bfloat162 a, __nv_bfloat162 b) {
  return {add(a.x, b.x), add(a.y, b.y)};
}
template <class T>
  requires std::is_integral_v<T>
T add(T a, T b) {
  using U = std::make_unsigned_t<T>;
  return T(U(a) + U(b));  // wraps, as the device does
}

}  // namespace pynn::sim

template <class T>
T atomicAdd(T* p, std::type_identity_t<T> v, pynn::sim::Where w = pynn::sim::Where::current()) {
  return pynn::sim::read_modify_write(
      p, [&](T old) { return pynn::sim::add(old, v); }, "atomicAdd", w);
}
inline float2 atomicAdd(float2* p, float2 v, pynn::sim::Where w = pynn::sim::Where::current()) {
  return {atomicAdd(&p->x, v.x, w),
          atomicAdd(&p->y, v.y, w)};  // each element is atomic, not the pair
}
inline float4 atomicAdd(float4* p, float4 v, pynn::sim::Where w = pynn::sim::Where::current()) {
  return {atomicAdd(&p->x, v.x, w), atomicAdd(&p->y, v.y, w), atomicAdd(&p->z, v.z, w),
          atomicAdd(&p->w, v.w, w)};
}
template <class T>
T atomicSub(T* p, std::type_identity_t<T> v, pynn::sim::Where w = pynn::sim::Where::current()) {
  static_assert(std::is_integral_v<T>, "CUDA has atomicSub for int and unsigned");
  return pynn::sim::read_modify_write(
      p, [&](T old) { return T(std::make_unsigned_t<T>(old) - v); }, "atomicSub", w);
}
template <class T>
T atomicMin(T* p, std::type_identity_t<T> v, pynn::sim::Where w = pynn::sim::Where::current()) {
  static_assert(std::is_integral_v<T>, "CUDA has atomicMin for integers");
  return pynn::sim::read_modify_write(p, [&](T old) { return v < old ? v : old; }, "atomicMin", w);
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> v, pynn::sim::Where w = pynn::sim::Where::current()) {
  static_assert(std::is_integral_v<T>, "CUDA has atomicMax for integers");
  return pynn::sim::read_modify_write(p, [&](T old) { return v > old ? v : old; }, "atomicMax", w);
}
template <class T>
T atomicExch(T* p, std::type_identity_t<T> v, pynn::sim::Where w = pynn::sim::Where::current()) {
  return pynn::sim::read_modify_write(p, [&](T) { return v; }, "atomicExch", w);
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> compare, std::type_identity_t<T> v,
            pynn::sim::Where w = pynn::sim::Where::current()) {
  static_assert(std::is_integral_v<T>, "CUDA has atomicCAS for integers");
  const T old = pynn::sim::read_modify_write(
      p, [&](T was) { return was == compare ? v : was; }, "atomicCAS", w);
  if (old != compare) pynn::sim::yield(w);
  return old;
}
template <class T>
T atomicAnd(T* p, std::type_identity_t<T> v, pynn::sim::Where w = pynn::sim::Where::current()) {
  return pynn::sim::read_modify_write(p, [&](T old) { return T(old & v); }, "atomicAnd", w);
}
template <class T>
T atomicOr(T* p, std::type_identity_t<T> v, pynn::sim::Where w = pynn::sim::Where::current()) {
  return pynn::sim::read_modify_write(p, [&](T old) { return T(old | v); }, "atomicOr", w);
}
template <class T>
T atomicXor(T* p, std::type_identity_t<T> v, pynn::sim::Where w = pynn::sim::Where::current()) {
  return pynn::sim::read_modify_write(p, [&](T old) { return T(old ^ v); }, "atomicXor", w);
}
inline unsigned atomicInc(unsigned* p, unsigned most,
                          pynn::sim::Where w = pynn::sim::Where::current()) {
  return pynn::sim::read_modify_write(
      p, [&](unsigned old) { return old >= most ? 0 : old + 1; }, "atomicInc", w);
}
inline unsigned atomicDec(unsigned* p, unsigned most,
                          pynn::sim::Where w = pynn::sim::Where::current()) {
  return pynn::sim::read_modify_write(
      p, [&](unsigned old) { return old == 0 || old > most ? most : old - 1; }, "atomicDec", w);
}
