// fiber.cpp — the switch itself, per processor, and the stacks.
#include "sim/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef PYNN_SIM_UCONTEXT
// void pynn_sim_switch(void** save, void* to): pushes the preserved registers, stores the stack pointer in *save, takes
// `to` for the stack pointer, pops.  System V ABI for x86-64, AAPCS64 for aarch64.
extern "C" void pynn_sim_switch(void** save, void* to);
#if defined(__x86_64__)
asm(R"(
.text
.hidden pynn_sim_switch
.globl pynn_sim_switch
.type pynn_sim_switch, @function
pynn_sim_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size pynn_sim_switch, .-pynn_sim_switch
)");
#else
asm(R"(
.text
.hidden pynn_sim_switch
.globl pynn_sim_switch
.type pynn_sim_switch, %function
pynn_sim_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size pynn_sim_switch, .-pynn_sim_switch
)");
#endif
#endif

namespace pynn::sim {

#ifdef __SANITIZE_ADDRESS__
namespace {
constexpr size_t ENTRY_FRAMES = 8 << 10;  // bytes; to clear whole stacks took most of a run
}
#endif

void Fiber::start(char* stack, size_t bytes, void (*entry)()) {
  bottom_ = stack;
  bytes_ = bytes;
  fake_stack_ = nullptr;
#ifdef __SANITIZE_ADDRESS__
  // what the fiber before left there: the frames of its entry, which never returned
  __asan_unpoison_memory_region(stack + bytes - ENTRY_FRAMES, ENTRY_FRAMES);
#endif
#ifdef PYNN_SIM_UCONTEXT
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack;
  context_.uc_stack.ss_size = bytes;
  context_.uc_link = nullptr;
  makecontext(&context_, entry, 0);
#elif defined(__x86_64__)
  void** top = reinterpret_cast<void**>(stack + bytes);
  *--top = nullptr;  // where entry would return to
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;  // six registers
  stack_pointer_ = top;
#else
  void** top = reinterpret_cast<void**>(stack + bytes) - 20;
  for (int i = 0; i < 20; ++i) top[i] = nullptr;
  top[11] = reinterpret_cast<void*>(entry);  // x30, the link register
  stack_pointer_ = top;
#endif
}

void Fiber::swap(Fiber& from, Fiber& to, bool finished) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(finished ? nullptr : &from.fake_stack_, to.bottom_, to.bytes_);
#endif
#ifdef PYNN_SIM_UCONTEXT
  swapcontext(&from.context_, &to.context_);
#else
  pynn_sim_switch(&from.stack_pointer_, to.stack_pointer_);
#endif
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(from.fake_stack_, nullptr, nullptr);
#else
  (void)finished;
#endif
}

void Fiber::entered(Fiber& from) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &from.bottom_, &from.bytes_);
#else
  (void)from;
#endif
}

// The guard is a page, which has 4 KiB on x86-64 and often 64 KiB on aarch64.
StackPool::StackPool(size_t count, size_t bytes)
    : guard_(static_cast<size_t>(sysconf(_SC_PAGESIZE))),
      bytes_((bytes + guard_ - 1) / guard_ * guard_),
      total_(count * (bytes_ + guard_)),
      count_(count) {
  void* p = mmap(nullptr, total_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  base_ = static_cast<char*>(p);
}

StackPool::~StackPool() {
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(base_, usable_ * (bytes_ + guard_));
#endif
  munmap(base_, total_);
}

char* StackPool::stack(size_t i) {
  if (i >= count_) throw std::bad_alloc();
  for (; usable_ <= i; ++usable_) {
    char* lowest = base_ + usable_ * (bytes_ + guard_) + guard_;
    if (mprotect(lowest, bytes_, PROT_READ | PROT_WRITE)) throw std::bad_alloc();
  }
  return base_ + i * (bytes_ + guard_) + guard_;
}

}  // namespace pynn::sim
