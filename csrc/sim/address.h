// address.h — shared addresses: 32 bits, as PTX instructions take them.
//
//   0x00000000 | offset        an address in the shared memory of the block itself
//   (rank + 1) << 24 | offset  an address in that of block `rank` of the cluster, made by mapa
//
// On the hardware, too, a plain address used by a ".shared::cluster" instruction means the block's own memory.
#pragma once

#include "sim/machine.h"

namespace pynn::sim {

struct SharedRange {
  Block* block;
  uint32_t offset;
  char* p;
};

// The bytes at `address`, which must be aligned, lie in one shared array of a block that still runs, and in
// the caller's own block unless `remote` allows another.
SharedRange shared_range(uint32_t address, size_t bytes, size_t align, const char* what,
                         Where where, bool remote = false);
// As above, for the instruction's own block given explicitly: asynchronous work runs without a thread.
SharedRange shared_range(Block& own, uint32_t address, size_t bytes, size_t align, const char* what,
                         Where where, bool remote);
std::string hex(uint64_t v);

}  // namespace pynn::sim

namespace pynn::ptx {

// The shared address of something in shared memory.  (cvta.to.shared)
uint32_t smem_u32(const void* p, sim::Where where = sim::Where::current());

}  // namespace pynn::ptx
