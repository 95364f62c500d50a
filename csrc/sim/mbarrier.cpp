// mbarrier.cpp — arrivals, transaction bytes, phases and waits.
#include "sim/mbarrier.h"

#include <algorithm>
#include <cstring>

#include "sim/address.h"

namespace pynn::sim {

namespace {

constexpr int64_t MOST = (1 << 20) - 1;  // arrivals, and bytes outstanding (PTX ISA, mbarrier)

struct Word {
  uint64_t phase, expected, pending;
  int64_t tx;

  static Word unpack(uint64_t w) {
    return {w >> 63, w >> 42 & 0xFFFFF, w >> 22 & 0xFFFFF, int64_t(w << 42) >> 42};
  }
  uint64_t pack() const {
    return phase << 63 | expected << 42 | pending << 22 | (uint64_t(tx) & 0x3FFFFF);
  }
};

struct Found {
  Mbarrier& m;
  SharedRange at;
};

Found find(Block& own, uint32_t address, const char* what, Where where, bool remote) {
  const SharedRange at = shared_range(own, address, 8, 8, what, where, remote);
  const auto it = at.block->mbarriers.find(at.offset);
  if (it == at.block->mbarriers.end())
    fail(std::string(what) + ": the mbarrier at " + hex(at.offset) +
             " was not initialised before; expected mbarrier.init, and a barrier after it",
         where);
  uint64_t word;
  std::memcpy(&word, at.p, 8);
  if (word != it->second.word)
    fail(std::string(what) + ": the mbarrier at " + hex(at.offset) +
             " was overwritten by ordinary stores",
         where);
  return {it->second, at};
}

Found find_own(uint32_t address, const char* what, Where where, bool remote) {
  Found f = find(*current->block, address, what, where, remote);
  race::access(f.at.p, 8, race::Access::ATOMIC, where);
  return f;
}

void store(Found& f, const Word& w) {
  f.m.word = w.pack();
  std::memcpy(f.at.p, &f.m.word, 8);
}

// Writes the word back; flips the phase if it is complete, and wakes those who waited for it.
void settle(Found& f, Word w) {
  if (w.pending || w.tx) return store(f, w);
  w.phase ^= 1;
  w.pending = w.expected;
  store(f, w);
  race::complete(f.m.sync);
  for (Thread* t : f.m.waiting) wake(*t);
  f.m.waiting.clear();
}

void arrive(Found f, const char* what, uint32_t tx, Where where) {
  Word w = Word::unpack(f.m.word);
  if (w.pending == 0)
    fail(std::string(what) + ": more arrivals than the " + std::to_string(w.expected) +
             " this phase of the mbarrier expects",
         where);
  w.pending -= 1;
  w.tx += tx;
  if (w.tx > MOST)
    fail(std::string(what) + ": expected at most 1048575 bytes outstanding, got " +
             std::to_string(w.tx),
         where);
  settle(f, w);
}

void expect(const char* what, uint32_t bar, uint32_t tx, bool arrives, bool remote, Where where) {
  Found f = find_own(bar, what, where, remote);
  if (arrives) {
    race::release(f.m.sync);
    return arrive(f, what, tx, where);
  }
  Word w = Word::unpack(f.m.word);
  w.tx += tx;
  if (w.tx > MOST)
    fail(std::string(what) + ": expected at most 1048575 bytes outstanding, got " +
             std::to_string(w.tx),
         where);
  store(f, w);
}

bool passed(const Mbarrier& m, uint32_t parity) {
  return Word::unpack(m.word).phase != parity;
}

Found waited(uint32_t bar, uint32_t parity, const char* what, Where where) {
  if (parity > 1)
    fail(std::string(what) + ": parity: expected 0 or 1, got " + std::to_string(parity), where);
  return find_own(bar, what, where, false);
}

}  // namespace

void mbarrier_complete_tx(Block& own, uint32_t address, uint32_t bytes, const race::Ticket& ticket,
                          Where where) {
  Found f = find(own, address, "complete_tx", where, true);
  race::release(ticket, f.m.sync);
  Word w = Word::unpack(f.m.word);
  w.tx -= bytes;
  if (w.tx < -MOST)
    fail("complete_tx: " + std::to_string(-w.tx) + " bytes more arrived than were expected", where);
  settle(f, w);
}

void mbarrier_arrive_async(Block& own, uint32_t address, const race::Ticket& ticket, Where where) {
  Found f = find(own, address, "cp.async.mbarrier.arrive", where, false);
  race::release(ticket, f.m.sync);
  arrive(f, "cp.async.mbarrier.arrive", 0, where);
}

void mbarrier_check_async(uint32_t address, const char* what, Where where, bool remote) {
  const Found f = find_own(address, what, where, remote);
  if (!f.m.visible)
    fail(std::string(what) +
             ": the mbarrier is not visible to the async proxy; expected fence.mbarrier_init or "
             "fence.proxy.async after mbarrier.init, by the same thread",
         where);
}

std::string describe_wait(const Thread& t) {
  const Word w = Word::unpack(t.wait.mbarrier_block->mbarriers.at(t.wait.mbarrier).word);
  return "mbarrier " + hex(t.wait.mbarrier) + " for parity " + std::to_string(t.wait.parity) +
         ": it is in phase " + std::to_string(w.phase) + ", " + std::to_string(w.pending) + " of " +
         std::to_string(w.expected) + " arrivals and " + std::to_string(w.tx) + " bytes missing";
}

void mbarriers_fenced(Thread& t) {
  for (auto& [offset, m] : t.block->mbarriers)
    if (m.init_by == t.rank) m.visible = true;
}

}  // namespace pynn::sim

namespace pynn::ptx {

using namespace sim;

void mbarrier_init(uint32_t bar, uint32_t count, Where where) {
  const SharedRange at = shared_range(bar, 8, 8, "mbarrier.init", where);
  if (count == 0 || count > MOST)
    fail("mbarrier.init: count: expected 1 to 1048575, got " + std::to_string(count), where);
  if (at.block->mbarriers.count(at.offset))
    fail("mbarrier.init: the mbarrier at " + hex(at.offset) +
             " is in use; expected mbarrier.inval before",
         where);
  race::access(at.p, 8, race::Access::WRITE, where);
  Found f{at.block->mbarriers[at.offset], at};
  f.m.init_by = current->rank;
  store(f, {0, count, count, 0});
}

void mbarrier_inval(uint32_t bar, Where where) {
  const Found f = find(*current->block, bar, "mbarrier.inval", where, false);
  race::access(f.at.p, 8, race::Access::WRITE, where);
  f.at.block->mbarriers.erase(f.at.offset);
}

void fence_mbarrier_init() {
  mbarriers_fenced(*current);
}

void mbarrier_arrive(uint32_t bar, Where where) {
  expect("mbarrier.arrive", bar, 0, true, false, where);
}

void mbarrier_expect_tx(uint32_t bar, uint32_t bytes, Where where) {
  expect("mbarrier.expect_tx", bar, bytes, false, false, where);
}

void mbarrier_arrive_expect_tx(uint32_t bar, uint32_t bytes, Where where) {
  expect("mbarrier.arrive.expect_tx", bar, bytes, true, false, where);
}

void mbarrier_arrive_cluster(uint32_t bar, Where where) {
  expect("mbarrier.arrive.shared::cluster", bar, 0, true, true, where);
}

void mbarrier_arrive_expect_tx_cluster(uint32_t bar, uint32_t bytes, Where where) {
  expect("mbarrier.arrive.expect_tx.shared::cluster", bar, bytes, true, true, where);
}

bool mbarrier_test_wait_parity(uint32_t bar, uint32_t parity, Where where) {
  const Found f = waited(bar, parity, "mbarrier.test_wait", where);
  if (!passed(f.m, parity)) {
    yield(where);  // it is polled: let the others go on
    return false;
  }
  race::acquire(f.m.sync);
  return true;
}

bool mbarrier_try_wait_parity(uint32_t bar, uint32_t parity, Where where) {
  const Found f = waited(bar, parity, "mbarrier.try_wait", where);
  if (!passed(f.m, parity)) {
    if (options().async == Async::RANDOM && gang->random(8) == 0) {
      yield(where);  // it may give up: a kernel must loop
      return false;
    }
    f.m.waiting.push_back(current);
    current->wait.mbarrier_block = f.at.block;
    current->wait.mbarrier = f.at.offset;
    current->wait.parity = parity;
    wait_here("mbarrier.try_wait", where);
  }
  race::acquire(f.m.sync);
  return true;
}

void mbarrier_wait_parity(uint32_t bar, uint32_t parity, Where where) {
  while (!mbarrier_try_wait_parity(bar, parity, where)) {
  }
}

}  // namespace pynn::ptx
