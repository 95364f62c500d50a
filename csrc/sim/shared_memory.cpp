// shared_memory.cpp — layout, fill and red zones of the arena.
#include "sim/shared_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) (void)0
#define ASAN_UNPOISON_MEMORY_REGION(p, n) (void)0
#endif

namespace pynn::sim {

void SharedLayout::begin(size_t dynamic) {
  arrays.clear();
  used = 1024;
  static_bytes = 0;
  dynamic_bytes = dynamic;
  if (dynamic) {
    arrays.push_back({nullptr, "dynamic shared memory", 1024, uint32_t(dynamic)});
    used += dynamic;
  }
}

const SharedArray* SharedLayout::find(const void* id, const char* name, size_t bytes, size_t align,
                                      std::string* why) {
  for (const SharedArray& a : arrays)
    if (a.id == id) return &a;
  static_bytes += bytes;
  if (static_bytes > STATIC_SHARED_LIMIT) {
    *why =
        "static shared memory: expected at most 49152 bytes, got " + std::to_string(static_bytes);
    return nullptr;
  }
  if (static_bytes + dynamic_bytes > SHARED_LIMIT) {
    *why = "shared memory: expected at most 232448 bytes, static and dynamic, got " +
           std::to_string(static_bytes + dynamic_bytes);
    return nullptr;
  }
  const size_t offset = (used + RED_ZONE + align - 1) / align * align;
  if (offset + bytes + RED_ZONE > ARENA_BYTES) {
    *why = "shared memory: too many arrays for the simulator's red zones; join some of them";
    return nullptr;
  }
  used = offset + bytes;
  arrays.push_back({id, name, uint32_t(offset), uint32_t(bytes)});
  return &arrays.back();
}

SharedMemory::SharedMemory() : arena_(static_cast<char*>(std::aligned_alloc(1024, ARENA_BYTES))) {
  if (!arena_) throw std::bad_alloc();
}

SharedMemory::~SharedMemory() {
  ASAN_UNPOISON_MEMORY_REGION(arena_, ARENA_BYTES);
  std::free(arena_);
}

void SharedMemory::begin(const SharedLayout& layout) {
  ASAN_UNPOISON_MEMORY_REGION(arena_, ARENA_BYTES);
  std::memset(arena_, 0xFF, dirty_);
  ASAN_POISON_MEMORY_REGION(arena_, ARENA_BYTES);
  dirty_ = ARENA_BYTES;
  for (const SharedArray& a : layout.arrays) open(a);
}

void SharedMemory::open([[maybe_unused]] const SharedArray& array) {
  ASAN_UNPOISON_MEMORY_REGION(arena_ + array.offset, array.bytes);
}

std::string SharedMemory::damage(const SharedLayout& layout) {
  ASAN_UNPOISON_MEMORY_REGION(arena_, ARENA_BYTES);
  uint32_t from = 0;
  const SharedArray* before = nullptr;
  std::string found;
  for (size_t i = 0; i <= layout.arrays.size() && found.empty(); ++i) {
    const bool last = i == layout.arrays.size();
    const uint32_t to =
        last ? uint32_t(std::min(ARENA_BYTES, layout.used + 1024)) : layout.arrays[i].offset;
    for (uint32_t o = from; o < to; ++o) {
      if (static_cast<unsigned char>(arena_[o]) == 0xFF) continue;
      if (before && (last || o - (before->offset + before->bytes) <= to - o)) {
        found = "shared memory: byte " + std::to_string(o - before->offset) + " of \"" +
                before->name + "\" was written, which has " + std::to_string(before->bytes) +
                " bytes";
      } else {
        found = "shared memory: byte -" + std::to_string(to - o) +
                (last ? std::string() : " before \"" + std::string(layout.arrays[i].name) + "\"") +
                " was written";
      }
      break;
    }
    if (!last) {
      before = &layout.arrays[i];
      from = before->offset + before->bytes;
    }
  }
  dirty_ = std::min(ARENA_BYTES, layout.used + 1024);
  if (!found.empty()) dirty_ = ARENA_BYTES;
  return found;
}

}  // namespace pynn::sim
