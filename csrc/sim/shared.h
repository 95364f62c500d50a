// shared.h — the twin of common/shared.cuh: arrays in the arena of the block that runs.
#pragma once

#include <algorithm>
#include <cstddef>

#include "sim/machine.h"

namespace pynn {

namespace sim {
void* shared_array(const void* id, const char* name, size_t bytes, size_t align, Where where);
void* dynamic_shared_memory(Where where);
}  // namespace sim

template <size_t N>
struct ArrayName {
  char text[N];
  constexpr ArrayName(const char (&name)[N]) { std::copy_n(name, N, text); }
};

template <class T, ArrayName NAME, size_t ALIGN = 16>
T& shared(sim::Where where = sim::Where::current()) {
  static const char id = 0;  // its address: one for each type and name
  return *static_cast<T*>(
      sim::shared_array(&id, NAME.text, sizeof(T), std::max(ALIGN, alignof(T)), where));
}

template <class T>
T* dynamic_shared(sim::Where where = sim::Where::current()) {
  return static_cast<T*>(sim::dynamic_shared_memory(where));
}

}  // namespace pynn
