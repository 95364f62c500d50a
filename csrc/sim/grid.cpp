// grid.cpp — checks a launch, sets up gangs, spreads them over OS threads.
#include "sim/grid.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

namespace pynn::sim {

namespace {

std::string text(dim3 d) {
  return "(" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) + ")";
}

uint64_t volume(dim3 d) {
  return uint64_t(d.x) * d.y * d.z;
}

void check(const Launch& l) {
  const auto bad = [&](const std::string& what) {
    throw Error("[" + l.name + "] launch: " + what + " (cudaErrorInvalidConfiguration)");
  };
  const uint64_t threads = volume(l.block);
  if (threads == 0 || threads > 1024 || l.block.x > 1024 || l.block.y > 1024 || l.block.z > 64)
    bad("block: expected 1 to 1024 threads, at most (1024, 1024, 64), got " + text(l.block));
  if (volume(l.grid) == 0 || l.grid.x > 2147483647u || l.grid.y > 65535 || l.grid.z > 65535)
    bad("grid: expected at least one block, at most (2147483647, 65535, 65535), got " +
        text(l.grid));
  const uint64_t cluster = volume(l.cluster);
  if (cluster == 0 || cluster > 16) bad("cluster: expected 1 to 16 blocks, got " + text(l.cluster));
  if (l.grid.x % l.cluster.x || l.grid.y % l.cluster.y || l.grid.z % l.cluster.z)
    bad("cluster: expected a divisor of the grid " + text(l.grid) + ", got " + text(l.cluster));
  if (l.dynamic_bytes > SHARED_LIMIT)
    bad("dynamic shared memory: expected at most 232448 bytes, got " +
        std::to_string(l.dynamic_bytes));
}

void reset(Meeting& m) {
  m.threads.clear();
  m.operands.clear();
  m.sync = {};
}

void reset(AsyncQueue& q) {
  q.operations.clear();
  q.groups.clear();
  q.open = q.issued = q.retired = 0;
  q.stream = {};
  q.done = {};
}

void set_up_block(Gang& g, Block& b) {
  b.live = g.block_threads;
  b.gang = &g;
  b.mbarriers.clear();
  for (Meeting& m : b.barriers) reset(m);
  b.warps.resize((g.block_threads + 31) / 32);
  for (auto& warp : b.warps) warp.clear();
  b.warpgroups.resize((g.block_threads + 127) / 128);
  for (auto& w : b.warpgroups) w = std::make_unique<Warpgroup>();
  b.shared.begin(g.layout);
}

void set_up_thread(Thread& t) {
  t.started = t.returned = t.yielded = false;
  t.wait = {};
  reset(t.copies);
  reset(t.bulk);
  t.cluster_arrived = false;
  t.cluster_phase = 0;
}

// The gang'th cluster of the grid: its blocks with their indices and ranks, its threads with theirs.
void set_up(Gang& g, const Launch& l, uint64_t number) {
  const dim3 c = l.cluster, clusters(l.grid.x / c.x, l.grid.y / c.y, l.grid.z / c.z);
  const uint3 first{unsigned(number % clusters.x) * c.x,
                    unsigned(number / clusters.x % clusters.y) * c.y,
                    unsigned(number / (uint64_t(clusters.x) * clusters.y)) * c.z};
  g.used_blocks = volume(c);
  g.used_threads = g.used_blocks * g.block_threads;
  reset(g.cluster_barrier);
  while (g.blocks.size() < g.used_blocks) g.blocks.push_back(std::make_unique<Block>());
  while (g.threads.size() < g.used_threads) g.threads.push_back(std::make_unique<Thread>());
  for (unsigned r = 0; r < g.used_blocks; ++r) {
    Block& b = *g.blocks[r];
    b.rank = r;
    b.index = {first.x + r % c.x, first.y + r / c.x % c.y, first.z + r / (c.x * c.y)};
    set_up_block(g, b);
    for (unsigned i = 0; i < g.block_threads; ++i) {
      Thread& t = *g.threads[r * g.block_threads + i];
      set_up_thread(t);
      t.block = &b;
      t.rank = i;
      t.number = r * g.block_threads + i;
      t.index = {i % l.block.x, i / l.block.x % l.block.y, i / (l.block.x * l.block.y)};
    }
  }
  g.random_state = (options().seed * 2654435761u + uint32_t(number) * 40503u) | 1;
}

Gang& gang_of_this_os_thread() {
  static thread_local std::unique_ptr<Gang> mine;
  if (!mine || mine->stacks.stack_bytes() != options().stack_bytes)
    mine = std::make_unique<Gang>(options().stack_bytes);
  return *mine;
}

}  // namespace

void run_grid(Launch& launch) {
  launch.name = kernel_name(launch.kernel);
  if (gang) throw Error("[" + launch.name + "] launch: not from inside a kernel");
  check(launch);
  const uint64_t gangs = volume(launch.grid) / volume(launch.cluster);
  std::atomic<uint64_t> next{0};
  std::mutex mutex;
  std::string error;
  race::begin_launch();

  const auto work = [&] {
    Gang& g = gang_of_this_os_thread();
    g.launch = &launch;
    g.block_threads = unsigned(volume(launch.block));
    g.layout.begin(launch.dynamic_bytes);
    const uint64_t switches = g.switches, meetings = g.meetings;
    for (uint64_t i; (i = next++) < gangs;) {
      // blocks, too, come in the order asked for: nothing in CUDA says which runs first
      set_up(g, launch, options().order == Order::DESCENDING ? gangs - 1 - i : i);
      g.run();
      if (g.error.empty()) continue;
      const std::lock_guard lock(mutex);
      if (error.empty()) error = g.error;
      next = gangs;
    }
    const std::lock_guard lock(mutex);
    counters().switches += g.switches - switches;
    counters().barriers += g.meetings - meetings;
  };

  const bool one = variant() == "race";  // the detector keeps one history
  const uint64_t workers =
      one ? 1 : std::min<uint64_t>(gangs, uint64_t(std::max(1, options().os_threads)));
  if (workers == 1) {
    work();
  } else {
    std::vector<std::thread> threads;
    for (uint64_t i = 0; i < workers; ++i) threads.emplace_back(work);
    for (std::thread& t : threads) t.join();
  }
  ++counters().launches;
  counters().blocks += volume(launch.grid);
  if (!error.empty()) throw Error(error);
}

}  // namespace pynn::sim
