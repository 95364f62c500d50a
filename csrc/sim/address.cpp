// address.cpp — checks a shared address and finds its bytes.
#include "sim/address.h"

#include <cstdio>

namespace pynn::sim {

std::string hex(uint64_t v) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(v));
  return text;
}

SharedRange shared_range(uint32_t address, size_t bytes, size_t align, const char* what,
                         Where where, bool remote) {
  return shared_range(*current->block, address, bytes, align, what, where, remote);
}

SharedRange shared_range(Block& own, uint32_t address, size_t bytes, size_t align, const char* what,
                         Where where, bool remote) {
  const uint32_t window = address >> 24, offset = address & 0xFFFFFF;
  Block* block = &own;
  if (window) {
    if (window > own.gang->used_blocks)
      fail(std::string(what) + ": expected a shared address of this cluster, got " + hex(address),
           where);
    block = own.gang->blocks[window - 1].get();
    if (!remote && block != &own)
      fail(std::string(what) + ": expected an address of the block's own shared memory, got " +
               hex(address) + " of block " + std::to_string(window - 1) + " of the cluster",
           where);
  }
  if (offset % align)
    fail(std::string(what) + ": expected a shared address aligned to " + std::to_string(align) +
             " bytes, got " + hex(offset) + " (" + std::to_string(offset % align) + " beyond)",
         where);
  if (block != &own && block->live == 0)
    fail(std::string(what) + ": block " + std::to_string(block->rank) +
             " of the cluster has exited; expected a cluster barrier before its end",
         where);
  for (const SharedArray& a : own.gang->layout.arrays)
    if (offset >= a.offset && offset + bytes <= size_t(a.offset) + a.bytes)
      return {block, offset, block->shared.at(offset)};
  std::string near;
  for (const SharedArray& a : own.gang->layout.arrays)
    if (offset >= a.offset && offset <= a.offset + a.bytes)
      near = ", byte " + std::to_string(offset - a.offset) + " of \"" + a.name + "\" which has " +
             std::to_string(a.bytes);
  fail(std::string(what) + ": expected " + std::to_string(bytes) +
           " bytes inside one shared array, got " + hex(offset) + near,
       where);
}

}  // namespace pynn::sim

namespace pynn::ptx {

uint32_t smem_u32(const void* p, sim::Where where) {
  const sim::Block& own = *sim::current->block;
  if (own.shared.contains(p)) return own.shared.offset(p);
  for (size_t i = 0; i < sim::gang->used_blocks; ++i)
    if (sim::gang->blocks[i]->shared.contains(p))
      return uint32_t(i + 1) << 24 | sim::gang->blocks[i]->shared.offset(p);
  sim::fail("smem_u32: expected a pointer into shared memory, got one that is not", where);
}

}  // namespace pynn::ptx
