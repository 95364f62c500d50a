// atomics.cpp — what every atomic checks.

#include "sim/atomics.h"

namespace pynn::sim {

void check_atomic(const void* p, size_t bytes, const char* what, Where where) {
  if (reinterpret_cast<uintptr_t>(p) % bytes)
    fail(std::string(what) + ": expected an address aligned to " + std::to_string(bytes) +
             " bytes, got one " + std::to_string(reinterpret_cast<uintptr_t>(p) % bytes) +
             " beyond",
         where);
  race::atomic(p, bytes, where);
}

}  // namespace pynn::sim
