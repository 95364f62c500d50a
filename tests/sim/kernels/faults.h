// faults.h — a program of faults: each a kernel in two forms, right and with one thing wrong.
//
//   program NAME clean|faulty ORDER ASYNC SEED     prints "NAME: right", "wrong answer" or the simulator's message
//   program all  clean        ORDER ASYNC SEED     every case
//
// The process ends with 0 only for a right answer.  A sanitizer ends it by itself.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <numeric>

#include "common/launch.h"
#include "common/shared.cuh"
#include "sim/options.h"

namespace pynn::faults {

// Runs the kernel's clean or faulty form; true if the result is right.
using Run = bool (*)(bool faulty);

struct Case {
  const char* name;
  Run run;
};

// Memory of its own allocation, 128-byte aligned, so that a sanitizer sees both ends.
template <class T>
class Buffer {
 public:
  explicit Buffer(int n)
      : n_(n), p_(static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(128)))) {
    for (int i = 0; i < n; ++i) p_[i] = T(float(i % 64));
  }
  ~Buffer() { ::operator delete(p_, std::align_val_t(128)); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  operator T*() { return p_; }
  T* get() { return p_; }

 private:
  int n_;
  T* p_;
};

template <class... P, class... A>
void run(bool faulty, void (*clean)(P...), void (*bad)(P...), const LaunchConfig& how,
         A... arguments) {
  launch(faulty ? bad : clean, how, static_cast<P>(arguments)...);
}

inline int run_case(const Case& c, bool faulty) {
  try {
    const bool right = c.run(faulty);
    std::printf("%s: %s\n", c.name, right ? "right" : "wrong answer");
    return right ? 0 : 1;
  } catch (const std::exception& e) {
    std::printf("%s: %s\n", c.name, e.what());
    return 2;
  }
}

template <size_t N>
int main_of(const Case (&cases)[N], int argc, char** argv) {
  if (argc != 6) return std::fprintf(stderr, "NAME|all clean|faulty ORDER ASYNC SEED\n"), 3;
  sim::set_schedule(argv[3], argv[4], uint32_t(std::atoi(argv[5])));
  const bool all = !std::strcmp(argv[1], "all");
  int worst = all ? 0 : 3;
  for (const Case& c : cases) {
    if (!all && std::strcmp(c.name, argv[1])) continue;
    const int outcome = run_case(c, !std::strcmp(argv[2], "faulty"));
    worst = all ? std::max(worst, outcome) : outcome;
  }
  return worst;
}

}  // namespace pynn::faults
