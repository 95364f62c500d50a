// chip.h — what choose() asks of the device it launches on.
//
// The simulator claims to be an H200, so that every variant can be chosen and run.

#pragma once

#include "common/launch.h"

namespace pynn {

struct Chip {
  int major = 9;  // of the compute capability
  int sms = 132;
};

#ifdef PYNN_SIM

inline Chip chip() {
  return {};
}

#else

// The current device's, asked for once.
inline Chip chip() {
  constexpr int MAX_DEVICES = 64;
  static thread_local Chip known[MAX_DEVICES];
  static thread_local bool asked[MAX_DEVICES] = {};
  int device = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  Chip& found = known[device % MAX_DEVICES];
  if (!asked[device % MAX_DEVICES]) {
    check_cuda(cudaDeviceGetAttribute(&found.major, cudaDevAttrComputeCapabilityMajor, device),
               "cudaDeviceGetAttribute");
    check_cuda(cudaDeviceGetAttribute(&found.sms, cudaDevAttrMultiProcessorCount, device),
               "cudaDeviceGetAttribute");
    asked[device % MAX_DEVICES] = true;
  }
  return found;
}

#endif

}  // namespace pynn
