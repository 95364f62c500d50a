// cp_async.cpp — copies of a thread, in groups.
#include "sim/cp_async.h"

#include <cstring>

#include "sim/address.h"
#include "sim/mbarrier.h"

namespace pynn::sim {

void copy_async(const char* what, uint32_t dst, const void* src, uint32_t size, uint32_t bytes,
                Where where) {
  const SharedRange to = shared_range(dst, size, size, what, where);
  if (reinterpret_cast<uintptr_t>(src) % size)
    fail(std::string(what) + ": expected a global address aligned to " + std::to_string(size) +
             " bytes, got one " + std::to_string(reinterpret_cast<uintptr_t>(src) % size) +
             " beyond",
         where);
  if (bytes > size)
    fail(std::string(what) + ": expected at most " + std::to_string(size) + " source bytes, got " +
             std::to_string(bytes),
         where);
  Thread& t = *current;
  race::joined(t.copies.stream, t);
  AsyncQueue::Operation o;
  o.where = where;
  o.write_ticket = race::issue(t.copies.stream);
  counters().async_bytes += bytes;
  o.write = [to, src, size, bytes, ticket = o.write_ticket, where] {
    race::access(ticket, src, bytes, race::Access::READ, race::Proxy::GENERIC, where);
    race::access(ticket, to.p, size, race::Access::WRITE, race::Proxy::GENERIC, where);
    std::memcpy(to.p, src, bytes);
    std::memset(to.p + bytes, 0, size - bytes);
  };
  submit(t.copies, std::move(o));
}

void copy_async_commit() {
  commit(current->copies);
}

void copy_async_wait(size_t left) {
  wait_groups(current->copies, left, false);
}

}  // namespace pynn::sim

namespace pynn::ptx {

using namespace sim;

void cp_async_mbarrier_arrive_noinc(uint32_t bar, Where where) {
  Thread& t = *current;
  shared_range(bar, 8, 8, "cp.async.mbarrier.arrive", where);
  race::joined(t.copies.stream, t);
  const race::Ticket ticket = race::issue(t.copies.stream);
  const size_t before = t.copies.issued;  // those issued so far, not later ones
  submit_load([&t, bar, ticket, where, before] {
    perform_until(t.copies, before);
    mbarrier_arrive_async(*t.block, bar, ticket, where);
  });
}

}  // namespace pynn::ptx
