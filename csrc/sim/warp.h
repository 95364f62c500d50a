// warp.h — barriers, fences, shuffles, votes, matches and reductions: what CUDA C++ offers without PTX.
#pragma once

#include <cstring>
#include <type_traits>

#include "sim/words.h"

namespace pynn::sim {

enum class Shuffle { INDEX, UP, DOWN, XOR };
enum class Reduce { ADD, MIN, MAX, MIN_SIGNED, MAX_SIGNED, AND, OR, XOR };

void sync_threads(const char* what, Where where);
unsigned sync_threads_vote(const char* what, int predicate,
                           Where where);  // threads with predicate != 0
uint64_t shuffle(const char* what, uint32_t mask, uint64_t value, Shuffle kind, int operand,
                 int width, Where where);
unsigned ballot(const char* what, uint32_t mask, bool predicate, Where where);
unsigned match_any(uint32_t mask, uint64_t value, Where where);
unsigned match_all(uint32_t mask, uint64_t value, int* all, Where where);
unsigned reduce(const char* what, uint32_t mask, unsigned value, Reduce kind, Where where);
void sync_warp(uint32_t mask, Where where);

template <class T>
T shuffle_as(const char* what, uint32_t mask, T value, Shuffle kind, int operand, int width,
             Where where) {
  static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = shuffle(what, mask, bits, kind, operand, width, where);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace pynn::sim

using PynnSimWhere = pynn::sim::Where;

inline void __syncthreads(PynnSimWhere w = PynnSimWhere::current()) {
  pynn::sim::sync_threads("__syncthreads", w);
}
inline int __syncthreads_count(int p, PynnSimWhere w = PynnSimWhere::current()) {
  return int(pynn::sim::sync_threads_vote("__syncthreads_count", p, w));
}
inline int __syncthreads_or(int p, PynnSimWhere w = PynnSimWhere::current()) {
  return pynn::sim::sync_threads_vote("__syncthreads_or", p, w) != 0;
}
inline int __syncthreads_and(int p, PynnSimWhere w = PynnSimWhere::current()) {
  return pynn::sim::sync_threads_vote("__syncthreads_and", !p, w) == 0;
}
inline void __syncwarp(unsigned mask = ~0u, PynnSimWhere w = PynnSimWhere::current()) {
  pynn::sim::sync_warp(mask, w);
}
inline void __threadfence() {
  pynn::sim::race::fence();
}
inline void __threadfence_block() {
  pynn::sim::race::fence();
}
inline void __threadfence_system() {
  pynn::sim::race::fence();
}

template <class T>
T __shfl_sync(unsigned mask, T v, int lane, int width = 32,
              PynnSimWhere w = PynnSimWhere::current()) {
  return pynn::sim::shuffle_as("__shfl_sync", mask, v, pynn::sim::Shuffle::INDEX, lane, width, w);
}
template <class T>
T __shfl_up_sync(unsigned mask, T v, unsigned d, int width = 32,
                 PynnSimWhere w = PynnSimWhere::current()) {
  return pynn::sim::shuffle_as("__shfl_up_sync", mask, v, pynn::sim::Shuffle::UP, int(d), width, w);
}
template <class T>
T __shfl_down_sync(unsigned mask, T v, unsigned d, int width = 32,
                   PynnSimWhere w = PynnSimWhere::current()) {
  return pynn::sim::shuffle_as("__shfl_down_sync", mask, v, pynn::sim::Shuffle::DOWN, int(d), width,
                               w);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int x, int width = 32,
                  PynnSimWhere w = PynnSimWhere::current()) {
  return pynn::sim::shuffle_as("__shfl_xor_sync", mask, v, pynn::sim::Shuffle::XOR, x, width, w);
}

inline unsigned __ballot_sync(unsigned mask, int p, PynnSimWhere w = PynnSimWhere::current()) {
  return pynn::sim::ballot("__ballot_sync", mask, p != 0, w);
}
inline int __any_sync(unsigned mask, int p, PynnSimWhere w = PynnSimWhere::current()) {
  return pynn::sim::ballot("__any_sync", mask, p != 0, w) != 0;
}
inline int __all_sync(unsigned mask, int p, PynnSimWhere w = PynnSimWhere::current()) {
  return pynn::sim::ballot("__all_sync", mask, p == 0, w) == 0;
}

// Lanes need not be converged, so the only lane surely active is the caller's own: the smallest answer CUDA
// allows.  Code that builds a mask for a *_sync function from this is wrong; a fixed mask is right.
inline unsigned __activemask() {
  return 1u << pynn::sim::lane();
}

template <class T>
unsigned __match_any_sync(unsigned mask, T v, PynnSimWhere w = PynnSimWhere::current()) {
  static_assert(sizeof(T) <= 8, "a match compares at most 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &v, sizeof v);
  return pynn::sim::match_any(mask, bits, w);
}
template <class T>
unsigned __match_all_sync(unsigned mask, T v, int* all, PynnSimWhere w = PynnSimWhere::current()) {
  static_assert(sizeof(T) <= 8, "a match compares at most 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &v, sizeof v);
  return pynn::sim::match_all(mask, bits, all, w);
}

template <class T>
T __reduce_add_sync(unsigned mask, T v, PynnSimWhere w = PynnSimWhere::current()) {
  return T(pynn::sim::reduce("__reduce_add_sync", mask, unsigned(v), pynn::sim::Reduce::ADD, w));
}
template <class T>
T __reduce_min_sync(unsigned mask, T v, PynnSimWhere w = PynnSimWhere::current()) {
  constexpr auto KIND =
      std::is_signed_v<T> ? pynn::sim::Reduce::MIN_SIGNED : pynn::sim::Reduce::MIN;
  return T(pynn::sim::reduce("__reduce_min_sync", mask, unsigned(v), KIND, w));
}
template <class T>
T __reduce_max_sync(unsigned mask, T v, PynnSimWhere w = PynnSimWhere::current()) {
  constexpr auto KIND =
      std::is_signed_v<T> ? pynn::sim::Reduce::MAX_SIGNED : pynn::sim::Reduce::MAX;
  return T(pynn::sim::reduce("__reduce_max_sync", mask, unsigned(v), KIND, w));
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned v,
                                  PynnSimWhere w = PynnSimWhere::current()) {
  return pynn::sim::reduce("__reduce_and_sync", mask, v, pynn::sim::Reduce::AND, w);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned v,
                                 PynnSimWhere w = PynnSimWhere::current()) {
  return pynn::sim::reduce("__reduce_or_sync", mask, v, pynn::sim::Reduce::OR, w);
}
inline unsigned __reduce_xor_sync(unsigned mask, unsigned v,
                                  PynnSimWhere w = PynnSimWhere::current()) {
  return pynn::sim::reduce("__reduce_xor_sync", mask, v, pynn::sim::Reduce::XOR, w);
}
