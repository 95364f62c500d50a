// machine.h — the machine that is imitated: threads in blocks in gangs, and how they wait for one another.
//
//   grid     every block of a launch; the gangs of it run one after another, or spread over OS threads
//   gang     blocks that must be on the machine together: one block, or the blocks of a cluster
//   block    threads that share one arena of shared memory and 16 named barriers
//   thread   a fiber.  It runs until it has to wait; the scheduler then picks the next by options().order
//
// Threads of a warp do not run in lockstep: since Volta nothing promises it, and code that relies on it
// should fail here.  A collective (barrier, shuffle, vote, ldmatrix, mma, wgmma) is a Meeting: every member
// arrives with its operands, the last one computes for all, all go on.
//
// Stricter than the hardware on purpose: a thread that has returned still counts as expected at a barrier
// and in a warp mask (CUDA lets barriers ignore it since sm_70), and __syncthreads must be reached from one
// source line.
#pragma once

#include <vector_types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <source_location>
#include <stdexcept>
#include <string>
#include <vector>

#include "sim/fiber.h"
#include "sim/options.h"
#include "sim/race.h"
#include "sim/shared_memory.h"

namespace pynn::sim {

using Where = std::source_location;  // file and line of a call, taken by a default argument

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Block;

struct Launch {
  const void* kernel = nullptr;
  std::string name;  // found by run_grid
  dim3 grid, block, cluster;
  size_t dynamic_bytes = 0;
  void (*run)(const void* bound) = nullptr;  // calls the kernel once
  const void* bound = nullptr;               // it with its arguments
};

struct Meeting {
  const char* what = nullptr;
  Where where;
  unsigned needed = 0;
  std::vector<Thread*> threads;  // those who have arrived ...
  std::vector<void*> operands;   // ... and what each brought
  race::Sync sync;
};

// One kind of collective.
struct Collective {
  const char* what;
  Where where;
  bool one_line = false;  // all must come from the same source line
  bool orders = false;    // memory accesses before it happen before those after it
};

// Operations that a thread or warpgroup issued, run in order, waited for in groups.
struct AsyncQueue {
  struct Operation {
    std::function<void()> read;   // takes the source; may be empty
    std::function<void()> write;  // has its effect
    race::Ticket read_ticket, write_ticket;
    Where where;
    bool has_read = false, has_written = false, waited = false;
  };
  std::deque<Operation> operations;  // issued and not yet waited for
  std::deque<size_t> groups;         // operations in each committed group, oldest first
  size_t open = 0;                   // issued since the last commit
  size_t issued = 0, retired = 0;    // in all; of those, no longer in `operations`
  race::Stream stream;
  race::Ticket done;  // the last one that was waited for
};

struct Wait {
  const char* what = nullptr;  // nullptr: runs or can run
  Where where;
  const Meeting* meeting = nullptr;
  Block* mbarrier_block = nullptr;
  uint32_t mbarrier = 0;  // address in that block's shared memory ...
  uint32_t parity = 0;    // ... and the phase waited for
};

struct Thread {
  Fiber fiber;
  uint3 index{};
  Block* block = nullptr;
  unsigned rank = 0;    // in the block, x fastest
  unsigned number = 0;  // in the gang
  bool started = false, returned = false, yielded = false;
  Wait wait;
  AsyncQueue copies;  // cp.async
  AsyncQueue bulk;    // cp.async.bulk: shared to global
  bool cluster_arrived = false;
  uint64_t cluster_phase = 0;
};

struct WarpMeeting {
  uint32_t mask;
  Meeting meeting;
};

struct Accumulators;  // wgmma.cpp

struct Warpgroup {
  Meeting meeting;
  AsyncQueue queue;
  std::vector<std::shared_ptr<Accumulators>> in_flight;
  std::vector<std::shared_ptr<Accumulators>> settled;  // whose results nobody has touched, perhaps
  bool fenced = false;
};

struct Mbarrier {
  uint64_t word = 0;     // what the 8 bytes in shared memory must hold
  bool visible = false;  // fenced since init, for other blocks and for the async proxy
  unsigned init_by = 0;
  std::vector<Thread*> waiting;
  race::Sync sync;
};

struct Block {
  uint3 index{};
  unsigned rank = 0;  // in the cluster
  unsigned live = 0;  // threads that have not returned
  Gang* gang = nullptr;
  SharedMemory shared;
  Meeting barriers[16];
  std::vector<std::vector<std::unique_ptr<WarpMeeting>>> warps;
  std::vector<std::unique_ptr<Warpgroup>> warpgroups;
  std::map<uint32_t, Mbarrier> mbarriers;
};

struct Load {
  std::function<void()> run;
};

struct Gang {
  explicit Gang(size_t stack_bytes);

  const Launch* launch = nullptr;
  unsigned block_threads = 0;
  std::vector<std::unique_ptr<Block>> blocks;
  size_t used_blocks = 0;
  std::vector<std::unique_ptr<Thread>> threads;
  size_t used_threads = 0, live = 0;
  std::vector<uint64_t> ready, batch;  // one bit for each thread
  Fiber scheduler;
  StackPool stacks;
  SharedLayout layout;  // the same in all blocks of a launch
  std::string error;
  bool cancelled = false;
  uint32_t random_state = 1;
  std::vector<Load> loads;          // in flight, in the order of their issue
  std::vector<AsyncQueue*> queues;  // that may have something in flight
  Meeting cluster_barrier;
  uint64_t cluster_phase = 0;
  unsigned cluster_arrivals = 0;
  uint64_t switches = 0, meetings = 0;

  uint32_t random(uint32_t below);
  void run();  // the blocks that `used_blocks` were set up for
};

// The thread that runs now; nullptr in host code and while the simulator itself works.
extern __thread Thread* current __attribute__((tls_model("initial-exec")));
extern __thread Gang* gang __attribute__((tls_model("initial-exec")));

// Ends the launch with an error that names kernel, block, thread, file and line.
[[noreturn]] void fail(const std::string& message, Where where);
std::string context(const Thread* thread);  // "block (0,0,0), thread (3,0,0)"
std::string place(Where where);             // "gelu.cu:30"
std::string deadlock_report(const Gang& gang, const char* headline);

void wait_here(const char* what, Where where);  // until wake()
void wake(Thread& thread);
void yield(Where where);  // lets the others go first

using LastArrival = void (*)(Meeting& meeting, void* context);
void meet(Meeting& meeting, unsigned needed, const Collective& how, void* operand = nullptr,
          LastArrival last = nullptr, void* context = nullptr);
void meet_warp(uint32_t mask, const Collective& how, void* operand = nullptr,
               LastArrival last = nullptr, void* context = nullptr);

// Arrives without waiting (bar.arrive); the others see one more.
void arrive_at(Meeting& meeting, unsigned needed, const Collective& how);

// A load into shared memory: runs now, late or at random.
void submit_load(std::function<void()> run);
// An operation of a queue; group by group it is finished by commit() and wait().
void submit(AsyncQueue& queue, AsyncQueue::Operation operation);
void commit(AsyncQueue& queue);
void wait_groups(AsyncQueue& queue, size_t left, bool read_only);
void perform_until(AsyncQueue& queue, size_t issued);  // the first `issued` operations of all
bool run_pending(Gang& gang);  // one asynchronous operation; false: none is left

// barrier.cluster counts the threads that have not exited: one has.
void cluster_thread_left(Thread& thread);

inline unsigned lane_of(const Thread& t) {
  return t.rank & 31;
}
inline unsigned warp_of(const Thread& t) {
  return t.rank >> 5;
}

}  // namespace pynn::sim
