// race_hooks.cpp — the functions that code compiled with -fsanitize=thread calls, in place of libtsan's.
//
// The names and signatures are the compiler's (gcc, tsan.cc; llvm, tsan_interface.h).
#ifdef PYNN_SIM_RACE

#include "sim/race_hooks.h"

#include <dlfcn.h>

#include <bit>
#include <cstdio>
#include <map>

#include "sim/machine.h"

namespace pynn::sim::race {

namespace {

constexpr Site SOURCE = Site(1) << 63;

// The lines of a return address, innermost inlined function first, by addr2line.  The first outside of the simulator
// and of system headers is the one to show.
std::string line_of(const void* pc) {
  Dl_info info{};
  if (!dladdr(pc, &info) || !info.dli_fname) return "?";
  char command[600];
  std::snprintf(command, sizeof command, "addr2line -i -e '%s' 0x%zx 2>/dev/null", info.dli_fname,
                reinterpret_cast<size_t>(pc) - reinterpret_cast<size_t>(info.dli_fbase) - 1);
  std::string found = "?";
  FILE* pipe = popen(command, "r");
  if (!pipe) return found;
  for (char text[600]; std::fgets(text, sizeof text, pipe);) {
    std::string line = text;
    while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.pop_back();
    if (line.find("/sim/") != std::string::npos && line.find("/csrc/") != std::string::npos)
      continue;
    if (line.find("/include/") != std::string::npos) continue;
    found = line.substr(line.find_last_of('/') + 1);
    break;
  }
  pclose(pipe);
  return found.substr(0, found.find(" (discriminator"));
}

}  // namespace

Site site_of(Where where) {
  return reinterpret_cast<Site>(std::bit_cast<const void*>(where)) | SOURCE;
}

Site site_of(const void* return_address) {
  return reinterpret_cast<Site>(return_address);
}

std::string site_text(Site site) {
  if (site & SOURCE)
    return place(std::bit_cast<Where>(reinterpret_cast<const void*>(site & ~SOURCE)));
  static std::map<Site, std::string> known;
  const auto [it, fresh] = known.emplace(site, "");
  if (fresh) it->second = line_of(reinterpret_cast<const void*>(site));
  return it->second;
}

}  // namespace pynn::sim::race

namespace {

using pynn::sim::race::access;
using pynn::sim::race::Access;
using pynn::sim::race::site_of;

inline void read(void* p, size_t bytes, void* pc) {
  if (pynn::sim::current) access(p, bytes, Access::READ, site_of(pc));
}
inline void write(void* p, size_t bytes, void* pc) {
  if (pynn::sim::current) access(p, bytes, Access::WRITE, site_of(pc));
}

}  // namespace

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_atomic_thread_fence(int) {}

void __tsan_read1(void* p) {
  read(p, 1, __builtin_return_address(0));
}
void __tsan_read2(void* p) {
  read(p, 2, __builtin_return_address(0));
}
void __tsan_read4(void* p) {
  read(p, 4, __builtin_return_address(0));
}
void __tsan_read8(void* p) {
  read(p, 8, __builtin_return_address(0));
}
void __tsan_read16(void* p) {
  read(p, 16, __builtin_return_address(0));
}
void __tsan_write1(void* p) {
  write(p, 1, __builtin_return_address(0));
}
void __tsan_write2(void* p) {
  write(p, 2, __builtin_return_address(0));
}
void __tsan_write4(void* p) {
  write(p, 4, __builtin_return_address(0));
}
void __tsan_write8(void* p) {
  write(p, 8, __builtin_return_address(0));
}
void __tsan_write16(void* p) {
  write(p, 16, __builtin_return_address(0));
}
void __tsan_unaligned_read2(void* p) {
  read(p, 2, __builtin_return_address(0));
}
void __tsan_unaligned_read4(void* p) {
  read(p, 4, __builtin_return_address(0));
}
void __tsan_unaligned_read8(void* p) {
  read(p, 8, __builtin_return_address(0));
}
void __tsan_unaligned_read16(void* p) {
  read(p, 16, __builtin_return_address(0));
}
void __tsan_unaligned_write2(void* p) {
  write(p, 2, __builtin_return_address(0));
}
void __tsan_unaligned_write4(void* p) {
  write(p, 4, __builtin_return_address(0));
}
void __tsan_unaligned_write8(void* p) {
  write(p, 8, __builtin_return_address(0));
}
void __tsan_unaligned_write16(void* p) {
  write(p, 16, __builtin_return_address(0));
}
void __tsan_read_range(void* p, size_t n) {
  read(p, n, __builtin_return_address(0));
}
void __tsan_write_range(void* p, size_t n) {
  write(p, n, __builtin_return_address(0));
}

// Atomics of the host's own code (reference counts, guards of statics); kernels use atomics.h, which is not instrumented.
unsigned char __tsan_atomic8_load(const unsigned char* p, int) {
  return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}
unsigned __tsan_atomic32_load(const unsigned* p, int) {
  return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}
uint64_t __tsan_atomic64_load(const uint64_t* p, int) {
  return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}
void __tsan_atomic8_store(unsigned char* p, unsigned char v, int) {
  __atomic_store_n(p, v, __ATOMIC_SEQ_CST);
}
void __tsan_atomic32_store(unsigned* p, unsigned v, int) {
  __atomic_store_n(p, v, __ATOMIC_SEQ_CST);
}
void __tsan_atomic64_store(uint64_t* p, uint64_t v, int) {
  __atomic_store_n(p, v, __ATOMIC_SEQ_CST);
}
unsigned __tsan_atomic32_fetch_add(unsigned* p, unsigned v, int) {
  return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);
}
uint64_t __tsan_atomic64_fetch_add(uint64_t* p, uint64_t v, int) {
  return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);
}
unsigned __tsan_atomic32_fetch_sub(unsigned* p, unsigned v, int) {
  return __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST);
}
uint64_t __tsan_atomic64_fetch_sub(uint64_t* p, uint64_t v, int) {
  return __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST);
}

}  // extern "C"

#endif  // PYNN_SIM_RACE
