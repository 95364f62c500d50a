// cluster.cpp — barriers, distributed shared memory, fences and flags.
#include "sim/cluster.h"

#include <algorithm>
#include <cstring>

#include "sim/address.h"
#include "sim/mbarrier.h"

namespace pynn::sim {

namespace {

const char* const CLUSTER_WAIT = "barrier.cluster.wait";

// The phase of the cluster barrier ends once every thread that has not exited has arrived.
void settle_cluster_barrier() {
  Gang& g = *gang;
  if (g.cluster_arrivals < g.live) return;
  g.cluster_arrivals = 0;
  ++g.cluster_phase;
  ++g.meetings;
  race::complete(g.cluster_barrier.sync);
  for (size_t i = 0; i < g.used_threads; ++i) {
    Thread& t = *g.threads[i];
    if (t.wait.what == CLUSTER_WAIT && t.cluster_phase < g.cluster_phase) wake(t);
  }
}

Meeting& named_barrier(const char* what, uint32_t id, uint32_t threads, Where where) {
  if (id > 15) fail(std::string(what) + ": id: expected 0 to 15, got " + std::to_string(id), where);
  if (threads == 0 || threads % 32 || threads > gang->block_threads)
    fail(std::string(what) + ": threads: expected a multiple of 32 up to the block's " +
             std::to_string(gang->block_threads) + ", got " + std::to_string(threads),
         where);
  return current->block->barriers[id];
}

template <class T>
T remote_load(uint32_t address, Where where) {
  const SharedRange at =
      shared_range(address, sizeof(T), sizeof(T), "ld.shared::cluster", where, true);
  race::access(at.p, sizeof(T), race::Access::READ, where);
  T v;
  std::memcpy(&v, at.p, sizeof v);
  return v;
}

template <class T>
void remote_store(uint32_t address, T v, Where where) {
  const SharedRange at =
      shared_range(address, sizeof(T), sizeof(T), "st.shared::cluster", where, true);
  race::access(at.p, sizeof(T), race::Access::WRITE, where);
  std::memcpy(at.p, &v, sizeof v);
}

}  // namespace

void cluster_thread_left(Thread& t) {
  Gang& g = *gang;
  if (t.cluster_arrived && t.cluster_phase == g.cluster_phase && g.cluster_arrivals)
    --g.cluster_arrivals;
  if (g.cluster_arrivals) settle_cluster_barrier();
}

void* map_to_rank(const void* p, uint32_t rank, Where where) {
  const uint32_t address = ptx::mapa(ptx::smem_u32(p, where), rank, where);
  return gang->blocks[rank]->shared.at(address & 0xFFFFFF);
}

void set_max_registers(const char* what, int registers, Where where) {
  Warpgroup& w = *current->block->warpgroups[current->rank / 128];
  const unsigned threads = std::min(128u, gang->block_threads - current->rank / 128 * 128);
  if (threads != 128)
    fail(
        std::string(what) + ": expected a warpgroup of 128 threads, got " + std::to_string(threads),
        where);
  (void)registers;
  meet(w.meeting, 128, {what, where});
}

}  // namespace pynn::sim

namespace pynn::ptx {

using namespace sim;

void bar_sync(uint32_t id, uint32_t threads, Where where) {
  meet(named_barrier("bar.sync", id, threads, where), threads, {"bar.sync", where, false, true});
}

void bar_arrive(uint32_t id, uint32_t threads, Where where) {
  Meeting& m = named_barrier("bar.arrive", id, threads, where);
  arrive_at(m, threads, {"bar.sync", where, false, true});
}

uint32_t cluster_ctarank() {
  return current->block->rank;
}
uint32_t cluster_nctarank() {
  return uint32_t(gang->used_blocks);
}
dim3 cluster_nctaid() {
  return gang->launch->cluster;
}
dim3 cluster_ctaid() {
  const dim3 c = gang->launch->cluster;
  const unsigned r = current->block->rank;
  return {r % c.x, r / c.x % c.y, r / (c.x * c.y)};
}

void barrier_cluster_arrive(Where where) {
  Thread& t = *current;
  if (t.cluster_arrived)
    fail(
        "barrier.cluster.arrive: the thread has arrived already; expected barrier.cluster.wait "
        "between",
        where);
  t.cluster_arrived = true;
  t.cluster_phase = gang->cluster_phase;
  race::release(gang->cluster_barrier.sync);
  ++gang->cluster_arrivals;
  settle_cluster_barrier();
}

void barrier_cluster_wait(Where where) {
  Thread& t = *current;
  if (!t.cluster_arrived)
    fail("barrier.cluster.wait: the thread has not arrived; expected barrier.cluster.arrive before",
         where);
  t.cluster_arrived = false;
  if (t.cluster_phase == gang->cluster_phase) wait_here(CLUSTER_WAIT, where);
  race::acquire(gang->cluster_barrier.sync);
}

uint32_t mapa(uint32_t address, uint32_t rank, Where where) {
  if (rank >= gang->used_blocks)
    fail("mapa: rank: expected less than the " + std::to_string(gang->used_blocks) +
             " blocks of the cluster, got " + std::to_string(rank),
         where);
  return (rank + 1) << 24 | (address & 0xFFFFFF);
}

uint32_t ld_shared_cluster_u32(uint32_t a, Where where) {
  return remote_load<uint32_t>(a, where);
}
float ld_shared_cluster_f32(uint32_t a, Where where) {
  return remote_load<float>(a, where);
}
void st_shared_cluster_u32(uint32_t a, uint32_t v, Where where) {
  remote_store(a, v, where);
}
void st_shared_cluster_f32(uint32_t a, float v, Where where) {
  remote_store(a, v, where);
}

void fence_proxy_async() {
  mbarriers_fenced(*current);
  race::fence_proxy_async();
}
void fence_proxy_async_shared() {
  fence_proxy_async();
}
void fence_acq_rel_cluster() {
  race::fence();
}
void fence_acq_rel_gpu() {
  race::fence();
}

uint32_t ld_acquire_gpu(const uint32_t* p, Where where) {
  yield(where);  // it is polled
  race::access(p, 4, race::Access::ATOMIC, where);
  const uint32_t v = __atomic_load_n(p, __ATOMIC_ACQUIRE);
  race::acquire_at(p);
  return v;
}

void st_release_gpu(uint32_t* p, uint32_t value, Where where) {
  race::access(p, 4, race::Access::ATOMIC, where);
  race::release_at(p);
  __atomic_store_n(p, value, __ATOMIC_RELEASE);
}

uint32_t atom_add_acq_rel_gpu(uint32_t* p, uint32_t value, Where where) {
  race::access(p, 4, race::Access::ATOMIC, where);
  race::release_at(p);
  const uint32_t v = __atomic_fetch_add(p, value, __ATOMIC_ACQ_REL);
  race::acquire_at(p);
  return v;
}

bool elect_sync(uint32_t mask, Where where) {
  const unsigned leader = unsigned(__builtin_ctz(mask ? mask : 1));
  meet_warp(mask, {"elect.sync", where});
  return lane_of(*current) == leader;
}

}  // namespace pynn::ptx
