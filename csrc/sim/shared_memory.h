// shared_memory.h — the shared memory of one block, and how its arrays are laid out in it.
//
//   +0      1 KiB kept free: address 0 is never an array
//   +1024   dynamic shared memory (1024-byte aligned), then the static arrays in the order of first use
//
//           ... red zone | array | red zone | array | red zone ...
//
// An address is the byte offset in this arena, below 2^18 as in a wgmma descriptor.  Everything is filled
// with 0xFF before each block: NaN in every float type, so that a value nobody wrote shows in the result.
// After each block the red zones must still hold 0xFF; AddressSanitizer also forbids touching them.
// An address of another block of the cluster carries (rank + 1) << 24.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace pynn::sim {

constexpr size_t SHARED_LIMIT = 227 * 1024;  // per block on sm_90
constexpr size_t STATIC_SHARED_LIMIT = 48 * 1024;
constexpr size_t ARENA_BYTES = 256 * 1024;
constexpr size_t RED_ZONE = 64;

struct SharedArray {
  const void* id;  // what identifies the array: its type and its name
  const char* name;
  uint32_t offset;
  uint32_t bytes;
};

// Found while the first block runs, then the same for every block: mapa needs equal offsets.
struct SharedLayout {
  std::vector<SharedArray> arrays;
  size_t used = 0;          // bytes of the arena
  size_t static_bytes = 0;  // bytes of the arrays alone
  size_t dynamic_bytes = 0;

  void begin(size_t dynamic);
  // The array, added if it is new; nullptr if it does not fit, with the reason in *why.
  const SharedArray* find(const void* id, const char* name, size_t bytes, size_t align,
                          std::string* why);
};

class SharedMemory {
 public:
  SharedMemory();
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  void begin(const SharedLayout& layout);  // fill, poison, open the known arrays
  void open(const SharedArray& array);
  std::string damage(const SharedLayout& layout);  // a red zone that was written, or ""

  char* at(uint32_t offset) { return arena_ + offset; }
  bool contains(const void* p) const {
    return static_cast<const char*>(p) >= arena_ &&
           static_cast<const char*>(p) < arena_ + ARENA_BYTES;
  }
  uint32_t offset(const void* p) const { return uint32_t(static_cast<const char*>(p) - arena_); }

 private:
  char* arena_;
  size_t dirty_ = ARENA_BYTES;  // bytes that may not be 0xFF
};

}  // namespace pynn::sim
