// symbols.cpp — the name of a kernel from its address: the ELF symbol table of the file that holds it.
//
// dladdr alone sees exported symbols only; most kernels are in an anonymous namespace.
#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>

#include "sim/grid.h"

namespace pynn::sim {

namespace {

// Address in the file -> mangled name, of every function in .symtab (or .dynsym in a stripped file).
std::map<uint64_t, std::string> functions_of(const char* path) {
  std::map<uint64_t, std::string> found;
  std::ifstream file(path, std::ios::binary);
  const auto read = [&](uint64_t at, void* to, size_t bytes) {
    file.seekg(std::streamoff(at));
    return bool(file.read(static_cast<char*>(to), std::streamsize(bytes)));
  };
  ElfW(Ehdr) header;
  if (!read(0, &header, sizeof header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG))
    return found;
  std::vector<ElfW(Shdr)> sections(header.e_shnum);
  if (!read(header.e_shoff, sections.data(), sections.size() * sizeof(sections[0]))) return found;
  for (const auto& s : sections) {
    if (s.sh_type != SHT_SYMTAB && s.sh_type != SHT_DYNSYM) continue;
    std::vector<ElfW(Sym)> symbols(s.sh_size / sizeof(ElfW(Sym)));
    std::string names(sections[s.sh_link].sh_size, 0);
    if (!read(s.sh_offset, symbols.data(), s.sh_size)) continue;
    if (!read(sections[s.sh_link].sh_offset, names.data(), names.size())) continue;
    for (const auto& symbol : symbols)
      if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC)
        found[symbol.st_value] = names.c_str() + symbol.st_name;
  }
  return found;
}

// "void pynn::(anonymous namespace)::map_kernel<float>(float*, int)" -> "map_kernel<float>"
std::string short_name(std::string name) {
  int depth = 0;
  size_t end = name.size(), begin = 0;
  for (size_t i = name.size(); i-- > 0;) {
    const char c = name[i];
    if (c == ')' || c == '>') ++depth;
    if (c == '(' || c == '<') --depth;
    if (c == '(' && depth == 0 && end == name.size()) end = i;
    if (depth == 0 && end != name.size() && i < end &&
        (c == ' ' || (c == ':' && name[i - 1] == ':'))) {
      begin = i + 1;
      break;
    }
  }
  return name.substr(begin, end - begin);
}

}  // namespace

std::string kernel_name(const void* function) {
  static std::mutex mutex;
  static std::map<const void*, std::string> known;
  static std::map<std::string, std::map<uint64_t, std::string>> files;
  const std::lock_guard lock(mutex);
  if (const auto it = known.find(function); it != known.end()) return it->second;
  Dl_info info{};
  struct link_map* map = nullptr;
  std::string name = "kernel";
  if (dladdr1(function, &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) && info.dli_fname) {
    const char* path = map && map->l_name[0] ? map->l_name : "/proc/self/exe";
    if (!files.count(path)) files[path] = functions_of(path);
    const auto& functions = files[path];
    const auto it = functions.find(uint64_t(function) - uint64_t(map ? map->l_addr : 0));
    if (it != functions.end()) {
      int status = 0;
      char* plain = abi::__cxa_demangle(it->second.c_str(), nullptr, nullptr, &status);
      name = status == 0 ? short_name(plain) : it->second;
      std::free(plain);
    }
  }
  return known[function] = name;
}

}  // namespace pynn::sim
