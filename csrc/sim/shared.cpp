// shared.cpp — finds the arrays of shared.h in the arena.
#include "sim/shared.h"

namespace pynn::sim {

void* shared_array(const void* id, const char* name, size_t bytes, size_t align, Where where) {
  Gang& g = *gang;
  std::string why;
  const size_t known = g.layout.arrays.size();
  const SharedArray* a = g.layout.find(id, name, bytes, align, &why);
  if (!a) fail("\"" + std::string(name) + "\": " + why, where);
  if (g.layout.arrays.size() != known)
    for (size_t i = 0; i < g.used_blocks; ++i) g.blocks[i]->shared.open(*a);
  return current->block->shared.at(a->offset);
}

void* dynamic_shared_memory(Where where) {
  if (!gang->layout.dynamic_bytes)
    fail("dynamic shared memory: expected a launch with smem > 0, got smem = 0", where);
  return current->block->shared.at(gang->layout.arrays[0].offset);
}

}  // namespace pynn::sim
