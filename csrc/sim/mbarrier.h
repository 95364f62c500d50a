// mbarrier.h — twin of arch/mbarrier.cuh: the barrier object in shared memory.
//
//   63      62            42            22             0
//   phase | expected (20) | pending (20) | tx bytes (22, signed)
//
// A phase is complete when no arrival is pending and no byte is outstanding; then the phase bit flips and
// pending starts from expected again.  The real layout is opaque, so this one is as good; a kernel must not
// look.  The simulator remembers what the word must be and says so if ordinary stores changed it.
#pragma once

#include "sim/machine.h"

namespace pynn::sim {

// complete_tx of an asynchronous copy that was issued by a thread of `own`.
void mbarrier_complete_tx(Block& own, uint32_t address, uint32_t bytes, const race::Ticket& ticket,
                          Where where);
// The mbarrier exists, and asynchronous copies may use it.
void mbarrier_check_async(uint32_t address, const char* what, Where where, bool remote = false);
// An arrival by asynchronous work (cp.async.mbarrier.arrive), without a thread.
void mbarrier_arrive_async(Block& own, uint32_t address, const race::Ticket& ticket, Where where);
std::string describe_wait(const Thread& t);
void mbarriers_fenced(
    Thread& t);  // by a fence.mbarrier_init or fence.proxy.async of the initialising thread

}  // namespace pynn::sim

namespace pynn::ptx {

using sim::Where;

void mbarrier_init(uint32_t bar, uint32_t count, Where where = Where::current());
void mbarrier_inval(uint32_t bar, Where where = Where::current());
void fence_mbarrier_init();
void mbarrier_arrive(uint32_t bar, Where where = Where::current());
void mbarrier_expect_tx(uint32_t bar, uint32_t bytes, Where where = Where::current());
void mbarrier_arrive_expect_tx(uint32_t bar, uint32_t bytes, Where where = Where::current());
void mbarrier_arrive_cluster(uint32_t bar, Where where = Where::current());
void mbarrier_arrive_expect_tx_cluster(uint32_t bar, uint32_t bytes,
                                       Where where = Where::current());
bool mbarrier_test_wait_parity(uint32_t bar, uint32_t parity, Where where = Where::current());
bool mbarrier_try_wait_parity(uint32_t bar, uint32_t parity, Where where = Where::current());
void mbarrier_wait_parity(uint32_t bar, uint32_t parity, Where where = Where::current());

}  // namespace pynn::ptx
