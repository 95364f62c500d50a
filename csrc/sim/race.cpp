// race.cpp — a happens-before race detector over shared and global memory.
//
// The compiler's -fsanitize=thread instrumentation calls __tsan_read4(p) and so on for every load and store of a
// kernel; race_hooks.cpp brings them here.  libtsan itself is not linked: it knows nothing of fibers, barriers of
// 256 threads, or memory that is fresh for each block.
//
//   cell        for each byte: who wrote it last and at which clock, and two who read it since
//   knowledge   of an agent, what happened before: race_clocks.h
//
// An access races with an earlier one if it does not know the earlier one's clock.  Blocks of one launch know
// nothing of one another, unless a flag with fences (or acquire and release) carried it.  Of readers of a byte two
// are kept: a race with a third can be missed.
#ifdef PYNN_SIM_RACE

#include "sim/race.h"

#include <algorithm>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>

#include "sim/machine.h"
#include "sim/race_clocks.h"
#include "sim/race_hooks.h"

namespace pynn::sim::race {

namespace {

constexpr int ALONE = 32;  // agents that take turns for operations without order
constexpr size_t PAGE = 4096;
constexpr int MOST_REPORTS = 4;

struct Agent {
  Known known;
  uint32_t clock = 1;   // of what it does now
  uint32_t fenced = 0;  // its own writes up to here are visible to the async proxy
  Known released;       // at its last fence, for the atomics after it
  Known taken;          // by its atomics, for its next fence
};

struct Touch {
  uint32_t gang = 0;
  uint32_t clock = 0;
  int agent = -1;
  Site site = 0;
};

struct Cell {
  uint32_t launch = 0;
  bool atomic = false, async = false;   // of the write
  bool loaded = false, stored = false;  // in this launch, by anyone
  Touch write;
  Touch read[2];
};

struct State {
  uint32_t launch = 0, gang = 0;
  std::vector<std::span<const char>> arrays;  // handed over by the call from Python
  std::vector<Agent> agents;
  int threads = 0, next_alone = 0;
  std::unordered_map<const void*, Sync> flags;
  std::unordered_map<uintptr_t, std::unique_ptr<Cell[]>> pages;
  uintptr_t last_page = 0;
  Cell* last_cells = nullptr;
  std::set<std::pair<Site, Site>> reported;
  std::string report;
};

State& state() {
  static State s;
  return s;
}

std::shared_ptr<Knowledge> copy(const Known& known) {
  return race::copy(known, state().gang);
}

Known joined_with(const Known& a, const Known& b) {
  return race::joined_with(a, b, state().gang);
}

Agent& agent(int i) {
  auto& all = state().agents;
  if (all.size() <= size_t(i)) all.resize(size_t(i) + 1);
  return all[size_t(i)];
}

Agent* me() {
  return current ? &agent(int(current->number)) : nullptr;
}

// All that the agent has done and knows; what it does next is no part of it.
std::shared_ptr<Knowledge> snapshot(int i) {
  Agent& a = agent(i);
  auto k = copy(a.known);
  raise(k->order, i, a.clock);
  raise(k->proxy, i, a.fenced);
  ++a.clock;
  return k;
}

bool ordered(const Known& known, int self, const Touch& before) {
  const State& s = state();
  if (before.gang == s.gang)
    return before.agent == self || (known && at(known->order, before.agent) >= before.clock);
  if (!known) return false;
  const auto it = known->foreign.find(before.gang);
  return it != known->foreign.end() && at(it->second, before.agent) >= before.clock;
}

Cell* cells_of(uintptr_t address) {
  State& s = state();
  const uintptr_t page = address / PAGE;
  if (page != s.last_page || !s.last_cells) {
    auto& cells = s.pages[page];
    if (!cells) cells.reset(new Cell[PAGE]);
    s.last_page = page;
    s.last_cells = cells.get();
  }
  return s.last_cells;
}

const Block* shared_block(const void* p) {
  for (size_t i = 0; i < gang->used_blocks; ++i)
    if (gang->blocks[i]->shared.contains(p)) return gang->blocks[i].get();
  return nullptr;
}

std::string location(const void* p) {
  const Block* b = shared_block(p);
  if (!b) return "global memory";
  const uint32_t o = b->shared.offset(p);
  for (const SharedArray& a : gang->layout.arrays)
    if (o >= a.offset && o < a.offset + a.bytes)
      return "shared memory, byte " + std::to_string(o - a.offset) + " of \"" + a.name + "\"";
  return "shared memory, byte " + std::to_string(o);
}

std::string who(const Touch& t) {
  const State& s = state();
  if (t.gang != s.gang) return "another block";
  if (t.agent >= s.threads) return "an asynchronous operation";
  return context(gang->threads[size_t(t.agent)].get());
}

struct Kinds {
  const char* now;
  const char* before;
};

void report(const void* p, const Touch& now, const Touch& before, Kinds kinds, bool fence_alone) {
  State& s = state();
  if (int(s.reported.size()) >= MOST_REPORTS) return;
  if (!s.reported.insert({before.site, now.site}).second) return;
  const std::string later = kinds.now + (" by " + who(now)) + " at " + site_text(now.site);
  const std::string earlier =
      kinds.before + (" by " + who(before)) + " at " + site_text(before.site);
  s.report += s.report.empty() ? "[" + gang->launch->name + "] " : "\n";
  if (fence_alone) {
    s.report += "missing fence.proxy.async for " + location(p) + ": expected one between the " +
                earlier + " and the " + later;
  } else {
    s.report +=
        "data race in " + location(p) + ": " + later + " is not ordered after the " + earlier;
  }
}

bool handed_over(const void* p) {
  const char* const byte = static_cast<const char*>(p);
  return std::ranges::any_of(state().arrays, [byte](std::span<const char> a) {
    return a.data() <= byte && byte < a.data() + a.size();
  });
}

struct Actor {
  int agent;
  uint32_t clock;
  const Known& known;
  Proxy proxy;
  Site site;
};

const char* name(Access kind) {
  return kind == Access::READ ? "read" : kind == Access::WRITE ? "write" : "atomic";
}

void touch(const Actor& actor, const void* p, size_t bytes, Access kind) {
  State& s = state();
  const bool in_shared = shared_block(p) != nullptr;
  if (!in_shared && gang->stacks.contains(p)) return;
  // not the launch's parameters, which the kernel reads from the host's stack
  const bool in_array = !in_shared && handed_over(p);
  if (in_array)
    (kind == Access::READ ? counters().global_load_bytes : counters().global_store_bytes) += bytes;
  const Touch now{s.gang, actor.clock, actor.agent, actor.site};
  uintptr_t address = reinterpret_cast<uintptr_t>(p);
  for (size_t i = 0; i < bytes; ++i, ++address) {
    Cell& c = cells_of(address)[address % PAGE];
    if (c.launch != s.launch || (in_shared && c.write.gang != s.gang && c.read[0].gang != s.gang)) {
      c = Cell();
      c.launch = s.launch;
    }
    if (in_array) {
      bool& seen = kind == Access::READ ? c.loaded : c.stored;
      counters().distinct_bytes += !seen;
      seen = true;
    }
    const void* byte = reinterpret_cast<const void*>(address);
    if (c.write.agent >= 0) {
      if (!ordered(actor.known, actor.agent, c.write)) {
        if (!(kind == Access::ATOMIC && c.atomic))
          report(byte, now, c.write, {name(kind), c.atomic ? "atomic" : "write"}, false);
      } else if (actor.proxy == Proxy::ASYNC && !c.async && !c.atomic && c.write.gang == s.gang &&
                 !(actor.known && at(actor.known->proxy, c.write.agent) >= c.write.clock)) {
        report(byte, now, c.write, {name(kind), "ordinary write"}, true);
      }
    }
    if (kind == Access::READ) {
      Touch& r = c.read[0].agent < 0 || c.read[0].agent == actor.agent ||
                         ordered(actor.known, actor.agent, c.read[0])
                     ? c.read[0]
                     : c.read[1];
      r = now;
      continue;
    }
    for (Touch& r : c.read) {
      if (r.agent >= 0 && !ordered(actor.known, actor.agent, r))
        report(byte, now, r, {name(kind), "read"}, false);
      if (kind == Access::WRITE) r = Touch();
    }
    c.write = now;
    c.atomic = kind == Access::ATOMIC;
    c.async = actor.proxy == Proxy::ASYNC;
  }
}

}  // namespace

void begin_call() {
  state().arrays.clear();
}

void hand_over(const void* array, size_t bytes) {
  state().arrays.emplace_back(static_cast<const char*>(array), bytes);
}

void begin_launch() {
  State& s = state();
  ++s.launch;
  s.flags.clear();
  if (s.pages.size() > 4096) {  // 1.4 GB of cells: begin anew
    s.pages.clear();
    s.last_cells = nullptr;
  }
}

void begin_gang(Gang& g) {
  State& s = state();
  ++s.gang;
  s.threads = int(g.used_threads);
  s.agents.assign(g.used_threads + ALONE, Agent());
  s.next_alone = 0;
  s.reported.clear();
  s.report.clear();
}

std::string end_gang() {
  return std::exchange(state().report, {});
}

void release(Sync& sync) {
  Agent* a = me();
  if (!a) return;
  const int i = int(current->number);
  if (!sync.gathering) sync.gathering = copy(nullptr);
  if (a->known && a->known != sync.last_joined) {
    join(*sync.gathering, *a->known);
    sync.last_joined = a->known;
  }
  raise(sync.gathering->order, i, a->clock);
  raise(sync.gathering->proxy, i, a->fenced);
  ++a->clock;
}

void complete(Sync& sync) {
  if (!sync.gathering) return;
  if (sync.published) join(*sync.gathering, *sync.published);
  sync.published = std::move(sync.gathering);
  sync.gathering = nullptr;
  sync.last_joined = nullptr;
  sync.memo_from = sync.memo_to = nullptr;
}

void acquire(Sync& sync) {
  Agent* a = me();
  if (!a || !sync.published || a->known == sync.published) return;
  if (!sync.memo_to || sync.memo_from != a->known) {
    sync.memo_from = a->known;
    sync.memo_to = joined_with(a->known, sync.published);
  }
  a->known = sync.memo_to;
}

void fence_proxy_async() {
  Agent* a = me();
  if (!a) return;
  auto k = copy(a->known);
  raise(k->proxy, k->order);
  a->known = k;
  a->fenced = a->clock++;
}

void fence() {
  Agent* a = me();
  if (!a) return;
  if (a->taken) a->known = joined_with(a->known, std::exchange(a->taken, nullptr));
  a->released = snapshot(int(current->number));
}

void access(const void* p, size_t bytes, Access kind, Site site) {
  if (Agent* a = me())
    touch({int(current->number), a->clock, a->known, Proxy::GENERIC, site}, p, bytes, kind);
}

void access(const void* p, size_t bytes, Access kind, Where where) {
  access(p, bytes, kind, site_of(where));
}

void atomic(const void* p, size_t bytes, Where where) {
  Agent* a = me();
  if (!a) return;
  access(p, bytes, Access::ATOMIC, where);
  Sync& flag = state().flags[p];
  if (flag.published) a->taken = a->taken ? joined_with(a->taken, flag.published) : flag.published;
  if (a->released) {
    flag.gathering = copy(a->released);
    complete(flag);
  }
}

void release_at(const void* p) {
  if (!me()) return;
  Sync& flag = state().flags[p];
  flag.gathering = snapshot(int(current->number));
  complete(flag);
}

void acquire_at(const void* p) {
  Agent* a = me();
  if (!a) return;
  const auto it = state().flags.find(p);
  if (it != state().flags.end()) a->known = joined_with(a->known, it->second.published);
}

void joined(Stream& stream, Thread& thread) {
  if (stream.agent < 0) {
    stream.agent = int(state().agents.size());
    state().agents.emplace_back();
  }
  const Known k = snapshot(int(thread.number));
  Agent& a = agent(stream.agent);
  a.known = joined_with(a.known, k);
}

Ticket issue(Stream& stream) {
  Agent& a = agent(stream.agent);
  return {stream.agent, a.clock++, a.known};
}

Ticket issue_alone(Thread& thread) {
  State& s = state();
  const int i = s.threads + s.next_alone++ % ALONE;
  return {i, agent(i).clock++, snapshot(int(thread.number))};
}

void access(const Ticket& t, const void* p, size_t bytes, Access kind, Proxy proxy, Where where) {
  touch({t.agent, t.clock, t.known, proxy, site_of(where)}, p, bytes, kind);
}

void release(const Ticket& t, Sync& sync) {
  if (!sync.gathering) sync.gathering = copy(nullptr);
  if (t.known) join(*sync.gathering, *t.known);
  raise(sync.gathering->order, t.agent, t.clock);
}

void acquire(const Ticket& t) {
  Agent* a = me();
  if (!a || t.agent < 0) return;
  auto k = copy(a->known);
  if (t.known) join(*k, *t.known);
  raise(k->order, t.agent, t.clock);
  a->known = k;
}

}  // namespace pynn::sim::race

#endif  // PYNN_SIM_RACE
