// race_clocks.h — what happened before what, as far as one agent of the race detector knows.
//
//   clock       each agent counts the times it handed something over (release)
//   knowledge   for each agent, the latest clock of it that is known to have happened
#pragma once

#ifdef PYNN_SIM_RACE

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "sim/race.h"

namespace pynn::sim::race {

using Clocks = std::vector<uint32_t>;

struct Knowledge {
  uint32_t gang = 0;
  Clocks order;                        // agent -> clock that happened before
  Clocks proxy;                        // agent -> clock up to which its generic writes were fenced
  std::map<uint32_t, Clocks> foreign;  // the same as `order`, of agents in other gangs
};

uint32_t at(const Clocks& clocks, int agent);  // 0: nothing of it is known
void raise(Clocks& into, int agent, uint32_t clock);
void raise(Clocks& into, const Clocks& from);
void join(Knowledge& into, const Knowledge& from);

// A copy to add to; of nothing known, an agent's of that gang.
std::shared_ptr<Knowledge> copy(const Known& known, uint32_t gang);
Known joined_with(const Known& a, const Known& b, uint32_t gang);

}  // namespace pynn::sim::race

#endif  // PYNN_SIM_RACE
