// machine.cpp — the scheduler of a gang, meetings, and asynchronous work.
#include "sim/machine.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace pynn::sim {

__thread Thread* current = nullptr;
__thread Gang* gang = nullptr;

namespace {

constexpr size_t MOST_THREADS = 16 * 1024;  // 16 blocks of a cluster, 1024 threads each
constexpr int PATIENCE = 20000;             // rounds in which every thread only spins

struct Cancelled {};  // unwinds the threads of a gang that has failed

void check_return(Thread& t) {
  for (const AsyncQueue::Operation& o : t.bulk.operations)
    if (!o.waited)
      fail(
          "cp.async.bulk: the thread returned while a copy out of shared memory was in flight; "
          "expected cp.async.bulk.wait_group before",
          o.where);
}

void thread_returned(Thread& t) {
  --t.block->live;
  --gang->live;
  cluster_thread_left(t);
}

void thread_main() {
  Fiber::entered(gang->scheduler);
  Thread& t = *current;
  try {
    gang->launch->run(gang->launch->bound);
    check_return(t);
    thread_returned(t);
  } catch (const Cancelled&) {
  } catch (const std::exception& e) {
    if (gang->error.empty()) gang->error = e.what();
  }
  t.returned = true;
  Fiber::swap(t.fiber, gang->scheduler, true);
  std::abort();  // nobody switches to a thread that has returned
}

void switch_away(Thread& t) {
  Fiber::swap(t.fiber, gang->scheduler);
  if (gang->cancelled) throw Cancelled();
}

void run_thread(Gang& g, Thread& t) {
  t.started = true;
  t.yielded = false;
  current = &t;
  ++g.switches;
  Fiber::swap(g.scheduler, t.fiber);
  current = nullptr;
}

// The threads of g.batch in this launch's order.
void order_batch(Gang& g, std::vector<uint32_t>& out) {
  out.clear();
  for (size_t w = 0; w < g.batch.size(); ++w)
    for (uint64_t bits = g.batch[w]; bits; bits &= bits - 1)
      out.push_back(uint32_t(w * 64 + std::countr_zero(bits)));
  if (options().order == Order::DESCENDING) std::reverse(out.begin(), out.end());
  if (options().order == Order::RANDOM)
    for (size_t i = out.size(); i > 1; --i) std::swap(out[i - 1], out[g.random(uint32_t(i))]);
}

void perform_read(AsyncQueue::Operation& o) {
  if (o.has_read) return;
  o.has_read = true;
  if (o.read) o.read();
}

void perform(AsyncQueue::Operation& o) {
  perform_read(o);
  if (o.has_written) return;
  o.has_written = true;
  if (o.write) o.write();
}

// Runs the oldest operation of the queue that has not run; false if all have.
bool perform_next(AsyncQueue& q) {
  for (auto& o : q.operations)
    if (!o.has_written) {
      perform(o);
      return true;
    }
  return false;
}

}  // namespace

Gang::Gang(size_t stack_bytes) : stacks(MOST_THREADS, stack_bytes) {}

uint32_t Gang::random(uint32_t below) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state % below;
}

void Gang::run() {
  gang = this;
  error.clear();
  cancelled = false;
  loads.clear();
  queues.clear();
  live = used_threads;
  cluster_phase = 0;
  cluster_arrivals = 0;
  race::begin_gang(*this);
  ready.assign((used_threads + 63) / 64, 0);
  for (size_t i = 0; i < used_threads; ++i) {
    threads[i]->fiber.start(stacks.stack(i), stacks.stack_bytes(), thread_main);
    wake(*threads[i]);
  }

  std::vector<uint32_t> turn;
  int idle = 0;
  const bool random_async = options().async == Async::RANDOM;
  try {
    while (live && error.empty()) {
      if (std::all_of(ready.begin(), ready.end(), [](uint64_t w) { return w == 0; })) {
        if (run_pending(*this)) continue;
        error = deadlock_report(*this, "deadlock: no thread can go on");
        break;
      }
      batch.swap(ready);
      ready.assign(batch.size(), 0);
      order_batch(*this, turn);
      bool only_spin = true;
      for (uint32_t i : turn) {
        if (random_async && random(64) == 0) run_pending(*this);
        run_thread(*this, *threads[i]);
        only_spin = only_spin && threads[i]->yielded;
        if (!error.empty()) break;
      }
      if (!only_spin)
        idle = 0;
      else if (!run_pending(*this) && ++idle > PATIENCE)
        error = deadlock_report(*this, "livelock: every thread that can run only polls");
    }
    if (error.empty())
      for (AsyncQueue* q : queues)
        while (perform_next(*q)) {
        }
    if (error.empty() && !loads.empty())
      error = "[" + launch->name +
              "] a TMA load was still in flight when its block ended; expected a wait on "
              "its mbarrier before the end";
  } catch (const std::exception& e) {  // asynchronous work that runs on the scheduler's stack
    if (error.empty()) error = e.what();
  }

  if (!error.empty()) {  // unwind whoever still waits, so that nothing is left behind on the stacks
    cancelled = true;
    for (size_t i = 0; i < used_threads; ++i)
      if (threads[i]->started && !threads[i]->returned) run_thread(*this, *threads[i]);
  }
  for (size_t i = 0; i < used_blocks; ++i) {
    const std::string damage = blocks[i]->shared.damage(layout);
    if (error.empty() && !damage.empty()) {
      const uint3 b = blocks[i]->index;
      error = "[" + launch->name + "] " + damage + "; block (" + std::to_string(b.x) + "," +
              std::to_string(b.y) + "," + std::to_string(b.z) + ")";
    }
  }
  const std::string races = race::end_gang();
  if (error.empty()) error = races;
  gang = nullptr;
}

std::string place(Where where) {
  const char* slash = std::strrchr(where.file_name(), '/');
  return std::string(slash ? slash + 1 : where.file_name()) + ":" + std::to_string(where.line());
}

std::string context(const Thread* t) {
  if (!t) return "asynchronous unit";
  const auto triple = [](uint3 v) {
    return "(" + std::to_string(v.x) + "," + std::to_string(v.y) + "," + std::to_string(v.z) + ")";
  };
  return "block " + triple(t->block->index) + ", thread " + triple(t->index);
}

void fail(const std::string& message, Where where) {
  throw Error("[" + (gang ? gang->launch->name : std::string("sim")) + "] " + message + "; " +
              context(current) + ", " + place(where));
}

void wake(Thread& t) {
  t.wait.what = nullptr;
  t.wait.meeting = nullptr;
  t.wait.mbarrier_block = nullptr;
  gang->ready[t.number >> 6] |= uint64_t(1) << (t.number & 63);
}

void wait_here(const char* what, Where where) {
  Thread& t = *current;
  t.wait.what = what;
  t.wait.where = where;
  switch_away(t);
}

void yield(Where where) {
  Thread& t = *current;
  t.wait.where = where;
  t.yielded = true;
  wake(t);
  switch_away(t);
}

namespace {

// Enters the meeting; true for the last of those needed.
bool enter(Meeting& m, unsigned needed, const Collective& how, void* operand) {
  Thread& me = *current;
  if (m.threads.empty()) {
    m.needed = needed;
    m.what = how.what;
    m.where = how.where;
  } else if (m.needed != needed || std::strcmp(m.what, how.what) ||
             (how.one_line && (m.where.line() != how.where.line() ||
                               std::strcmp(m.where.file_name(), how.where.file_name())))) {
    fail(std::string("divergent ") + how.what + " (" + std::to_string(needed) +
             " threads): thread " + std::to_string(m.threads[0]->rank) + " waits in " + m.what +
             " (" + std::to_string(m.needed) + " threads) at " + place(m.where),
         how.where);
  }
  for (Thread* t : m.threads)
    if (t == &me) fail(std::string(how.what) + ": the thread arrived twice", how.where);
  m.threads.push_back(&me);
  m.operands.push_back(operand);
  if (how.orders) race::release(m.sync);
  return m.threads.size() == needed;
}

void leave(Meeting& m, const Collective& how) {
  if (how.orders) race::complete(m.sync);
  ++gang->meetings;
  for (Thread* t : m.threads)
    if (t->wait.meeting == &m) wake(*t);  // others arrived without waiting, and may wait elsewhere
  m.threads.clear();
  m.operands.clear();
}

}  // namespace

void meet(Meeting& m, unsigned needed, const Collective& how, void* operand, LastArrival last,
          void* context) {
  if (enter(m, needed, how, operand)) {
    if (last) last(m, context);
    leave(m, how);
    wake(*current);
    switch_away(*current);
  } else {
    current->wait.meeting = &m;
    wait_here(how.what, how.where);
  }
  if (how.orders) race::acquire(m.sync);
}

void arrive_at(Meeting& m, unsigned needed, const Collective& how) {
  if (enter(m, needed, how, nullptr)) leave(m, how);
}

void meet_warp(uint32_t mask, const Collective& how, void* operand, LastArrival last,
               void* context) {
  Thread& me = *current;
  Block& b = *me.block;
  const unsigned lane = lane_of(me), warp = warp_of(me);
  if (!(mask >> lane & 1)) {
    char text[120];
    std::snprintf(text, sizeof text, "%s: lane %u is not in its own mask 0x%08x", how.what, lane,
                  mask);
    fail(text, how.where);
  }
  const unsigned lanes = std::min(32u, gang->block_threads - warp * 32);
  const uint32_t exist = lanes == 32 ? ~0u : (1u << lanes) - 1;
  if (mask & ~exist && mask != ~0u) {
    char text[160];
    std::snprintf(text, sizeof text,
                  "%s: mask 0x%08x names lanes that do not exist, the warp has %u", how.what, mask,
                  lanes);
    fail(text, how.where);
  }
  auto& meetings = b.warps[warp];
  WarpMeeting* found = nullptr;
  for (auto& m : meetings) {
    if (m->mask == mask)
      found = m.get();
    else if (!m->meeting.threads.empty() && (m->mask >> lane & 1)) {
      char text[200];
      std::snprintf(
          text, sizeof text,
          "%s: mask 0x%08x, while lane %u of the warp waits for this lane in %s with mask 0x%08x",
          how.what, mask, lane_of(*m->meeting.threads[0]), m->meeting.what, m->mask);
      fail(text, how.where);
    }
  }
  if (!found) {
    meetings.push_back(std::make_unique<WarpMeeting>());
    found = meetings.back().get();
    found->mask = mask;
  }
  meet(found->meeting, unsigned(std::popcount(mask & exist)), how, operand, last, context);
}

void submit_load(std::function<void()> run) {
  if (options().async == Async::NOW)
    run();
  else
    gang->loads.push_back({std::move(run)});
}

void submit(AsyncQueue& q, AsyncQueue::Operation o) {
  if (std::find(gang->queues.begin(), gang->queues.end(), &q) == gang->queues.end())
    gang->queues.push_back(&q);
  q.operations.push_back(std::move(o));
  ++q.open;
  ++q.issued;
  if (options().async == Async::NOW) perform(q.operations.back());
}

void commit(AsyncQueue& q) {
  q.groups.push_back(q.open);
  q.open = 0;
}

void wait_groups(AsyncQueue& q, size_t left, bool read_only) {
  size_t i = 0;
  for (size_t g = 0; g + left < q.groups.size(); ++g)
    for (size_t k = 0; k < q.groups[g]; ++k, ++i) {
      AsyncQueue::Operation& o = q.operations[i];
      if (read_only)
        perform_read(o);
      else
        perform(o);
      o.waited = true;
      race::acquire(read_only ? o.read_ticket : o.write_ticket);
      if (!read_only) q.done = o.write_ticket;
    }
  if (read_only) return;  // the writes come as late as wait_group or the end of the block
  q.retired += i;
  for (; i; --i) q.operations.pop_front();
  while (q.groups.size() > left) q.groups.pop_front();
}

void perform_until(AsyncQueue& q, size_t issued) {
  for (size_t i = 0; i + q.retired < issued; ++i) perform(q.operations[i]);
}

bool run_pending(Gang& g) {
  const bool pick = options().async == Async::RANDOM;
  if (pick && (g.loads.empty() || g.random(2))) {
    const size_t n = g.queues.size();
    for (size_t k = 0, first = n ? g.random(uint32_t(n)) : 0; k < n; ++k)
      if (perform_next(*g.queues[(first + k) % n])) return true;
  }
  if (g.loads.empty()) return false;
  const size_t i = pick ? g.random(uint32_t(g.loads.size())) : 0;
  auto run = std::move(g.loads[i].run);
  g.loads.erase(g.loads.begin() + long(i));
  run();
  return true;
}

}  // namespace pynn::sim
