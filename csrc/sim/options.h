// options.h — how the simulator runs: order of threads, timing of asynchronous work, seed; and what it counted.
//
//   PYNN_SIM_ORDER    ascending | descending | random   which of the threads that can run goes first
//   PYNN_SIM_ASYNC    now | late | random               when TMA, cp.async and wgmma take effect
//   PYNN_SIM_SEED     1                                 of the two random choices
//   PYNN_SIM_THREADS  1                                 OS threads that share the blocks of a grid
//   PYNN_SIM_STACK    64 (512 under AddressSanitizer)   KiB of stack for each CUDA thread
//
// A correct kernel gives the same answer under all nine schedules; under each of them another kind of fault shows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pynn::sim {

enum class Order { ASCENDING, DESCENDING, RANDOM };
enum class Async { NOW, LATE, RANDOM };

struct Options {
  Order order = Order::ASCENDING;
  Async async = Async::NOW;
  uint32_t seed = 1;
  int os_threads = 1;
  size_t stack_bytes = 64 << 10;
};

// What the kernels of this process did since the last reset.  The last three are known in the race-detector build alone,
// which observes every access: bytes of the arrays that Python handed over, by instruction, by TMA or by cp.async.  What
// TMA multicasts is loaded once, what lies outside of a tensor never; an atomic counts as a store.  distinct_bytes counts
// a byte once in each launch that loads it and once in each that stores it: what must move even if caches hold the rest.
struct Counters {
  uint64_t launches = 0;
  uint64_t blocks = 0;
  uint64_t switches = 0;     // from one CUDA thread to another
  uint64_t barriers = 0;     // completed barriers, shuffles, votes and warp-wide instructions
  uint64_t async_bytes = 0;  // moved by TMA and cp.async, filled-in zeros included
  uint64_t global_load_bytes = 0;
  uint64_t global_store_bytes = 0;
  uint64_t distinct_bytes = 0;
};

Options& options();
Counters& counters();

// Sets order ("ascending", "descending", "random"), async mode ("now", "late", "random") and seed; throws
// std::invalid_argument for another word.
void set_schedule(std::string_view order, std::string_view async, uint32_t seed);

// "" | "address" | "race": which variant of the simulator this build is.
std::string_view variant();

}  // namespace pynn::sim
