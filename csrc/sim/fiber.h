// fiber.h — a stack of its own and a way to switch to it: what one CUDA thread runs on.
//
// A switch saves the registers that the calling convention preserves, exchanges the stack pointer and restores: eight
// instructions on x86-64, twenty on aarch64; elsewhere, or with -DPYNN_SIM_UCONTEXT, swapcontext does it, about six
// times slower.  A guard page lies below each stack, so that an overflow stops at once.
#pragma once

#include <cstddef>
#if !defined(__x86_64__) && !defined(__aarch64__) && !defined(PYNN_SIM_UCONTEXT)
#define PYNN_SIM_UCONTEXT
#endif
#ifdef PYNN_SIM_UCONTEXT
#include <ucontext.h>
#endif

namespace pynn::sim {

class Fiber {
 public:
  // Makes the fiber ready to run entry() from its start; entry never returns.
  void start(char* stack, size_t bytes, void (*entry)());

  // Leaves `from`, goes on in `to`; returns when somebody switches back.  `finished`: nobody will.
  static void swap(Fiber& from, Fiber& to, bool finished = false);

  // The first thing entry() calls.
  static void entered(Fiber& from);

 private:
#ifdef PYNN_SIM_UCONTEXT
  ucontext_t context_;
#else
  void* stack_pointer_ = nullptr;
#endif
  const void* bottom_ = nullptr;  // of the stack; for AddressSanitizer
  size_t bytes_ = 0;
  void* fake_stack_ = nullptr;
};

// Address space for many stacks in one piece, so that "is this address on a stack?" is one comparison.
class StackPool {
 public:
  StackPool(size_t count, size_t bytes);
  ~StackPool();
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;

  char* stack(size_t i);  // the i-th, made usable on first use
  bool contains(const void* p) const {
    return static_cast<const char*>(p) >= base_ && static_cast<const char*>(p) < base_ + total_;
  }
  size_t stack_bytes() const { return bytes_; }

 private:
  size_t guard_;
  size_t bytes_;
  size_t total_;
  size_t count_;
  size_t usable_ = 0;
  char* base_;
};

}  // namespace pynn::sim
