// race_hooks.h — where an access happened: a return address from the compiler's instrumentation, or the file and line
// that an instruction's twin was given.
#pragma once

#ifdef PYNN_SIM_RACE

#include "sim/race.h"

namespace pynn::sim::race {

using Site = uintptr_t;  // bit 63 set: a source location; else a return address

Site site_of(Where where);
Site site_of(const void* return_address);
std::string site_text(Site site);  // "gemm.cu:30"

void access(const void* p, size_t bytes, Access kind, Site site);  // by the current thread

}  // namespace pynn::sim::race

#endif
