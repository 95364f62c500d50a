// race.h — what the rest of the simulator tells the race detector; nothing at all in the other builds.
//
//   agent   whatever can access memory by itself: a CUDA thread, or the asynchronous work it issued
//   Sync    something agents synchronize through: a barrier, an mbarrier, a finished asynchronous copy
//
//   release(sync)     what this agent did so far is handed to the sync
//   complete(sync)    the phase is complete: only now can what was handed in be taken out; a barrier
//                     that published each arrival at once would hide races from fast threads
//   acquire(sync)     this agent is now ordered after all that was published
//
// Proxies.  TMA and wgmma see memory through the async proxy, ordinary loads and stores (and cp.async)
// through the generic one.  A generic write is visible to the async proxy only if a fence.proxy.async
// lies between them; the detector keeps, beside "what happened before me", "what of that was fenced".
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <source_location>
#include <string>

namespace pynn::sim {
struct Gang;
struct Thread;
}  // namespace pynn::sim

namespace pynn::sim::race {

using Where = std::source_location;

enum class Access { READ, WRITE, ATOMIC };
enum class Proxy { GENERIC, ASYNC };

#ifdef PYNN_SIM_RACE

struct Knowledge;
using Known = std::shared_ptr<const Knowledge>;

struct Sync {
  std::shared_ptr<Knowledge> gathering;
  Known last_joined;  // held: at its address there could be another by now
  Known published;
  Known memo_from, memo_to;
};

// One stream of asynchronous work: the copies of a thread, the wgmmas of a warpgroup.
struct Stream {
  int agent = -1;
};

// The state of a stream at one moment: what an asynchronous operation knew when it was issued.
struct Ticket {
  int agent = -1;
  uint32_t clock = 0;
  Known known;
};

// The arrays of one call from Python, which the counters take for global memory.
void begin_call();
void hand_over(const void* array, size_t bytes);

void begin_launch();
void begin_gang(Gang& gang);
std::string end_gang();  // the races found, or ""

void release(Sync& sync);
void complete(Sync& sync);
void acquire(Sync& sync);
void fence_proxy_async();
void fence();                                                        // __threadfence and its kin
void access(const void* p, size_t bytes, Access kind, Where where);  // by the current thread
void atomic(const void* p, size_t bytes, Where where);  // an atomic: both release and acquire
void release_at(const void* p);                         // st.release, red.release
void acquire_at(const void* p);                         // ld.acquire

void joined(Stream& stream, Thread& thread);  // the stream's next operation knows what thread knows
Ticket issue(Stream& stream);        // one operation; it may run later, in the stream's order
Ticket issue_alone(Thread& thread);  // one operation that no other is ordered with
void access(const Ticket& t, const void* p, size_t bytes, Access kind, Proxy proxy, Where where);
void release(const Ticket& t, Sync& sync);
void acquire(const Ticket& t);  // the current thread waited for it

#else

struct Sync {};
struct Stream {};
struct Ticket {};
inline void begin_call() {}
inline void hand_over(const void*, size_t) {}
inline void begin_launch() {}
inline void begin_gang(Gang&) {}
inline std::string end_gang() {
  return {};
}
inline void release(Sync&) {}
inline void complete(Sync&) {}
inline void acquire(Sync&) {}
inline void fence_proxy_async() {}
inline void fence() {}
inline void access(const void*, size_t, Access, Where) {}
inline void atomic(const void*, size_t, Where) {}
inline void release_at(const void*) {}
inline void acquire_at(const void*) {}
inline void joined(Stream&, Thread&) {}
inline Ticket issue(Stream&) {
  return {};
}
inline Ticket issue_alone(Thread&) {
  return {};
}
inline void access(const Ticket&, const void*, size_t, Access, Proxy, Where) {}
inline void release(const Ticket&, Sync&) {}
inline void acquire(const Ticket&) {}

#endif

}  // namespace pynn::sim::race
