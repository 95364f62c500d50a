// entry.h — calls a launcher from Python through ctypes: nullptr, or the text of the exception.
#pragma once

#include <exception>
#include <string>

#include "common/launch.h"

template <class F>
const char* guarded(F f) {
  static thread_local std::string text;
  try {
    f();
#ifndef PYNN_SIM
    pynn::check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
#endif
    return nullptr;
  } catch (const std::exception& e) {
    text = e.what();
    return text.c_str();
  }
}

#ifdef PYNN_SIM

#include "sim/options.h"

extern "C" void sim_schedule(const char* order, const char* async_mode, uint32_t seed) {
  pynn::sim::set_schedule(order, async_mode, seed);
}

#endif
