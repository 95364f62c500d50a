// grid.h — runs a kernel over a grid: the checks of the CUDA runtime, then gang after gang.
#pragma once

#include "sim/machine.h"

namespace pynn::sim {

// Throws Error as cudaLaunchKernelEx would fail: block over 1024 threads, grid or cluster out of range,
// shared memory above 227 KiB.  Throws Error too for anything the kernel does wrong.
void run_grid(Launch& launch);

// The kernel's name, from the symbol table of the file it lies in; "kernel" if it is not there.
std::string kernel_name(const void* function);

}  // namespace pynn::sim
