// race_clocks.cpp — vector clocks: the larger of two, element by element.
#ifdef PYNN_SIM_RACE

#include "sim/race_clocks.h"

#include <algorithm>

namespace pynn::sim::race {

uint32_t at(const Clocks& clocks, int agent) {
  return size_t(agent) < clocks.size() ? clocks[size_t(agent)] : 0;
}

void raise(Clocks& into, int agent, uint32_t clock) {
  if (into.size() <= size_t(agent)) into.resize(size_t(agent) + 1);
  into[size_t(agent)] = std::max(into[size_t(agent)], clock);
}

void raise(Clocks& into, const Clocks& from) {
  if (into.size() < from.size()) into.resize(from.size());
  for (size_t i = 0; i < from.size(); ++i) into[i] = std::max(into[i], from[i]);
}

void join(Knowledge& into, const Knowledge& from) {
  if (from.gang == into.gang) {
    raise(into.order, from.order);
    raise(into.proxy, from.proxy);
  } else {
    raise(into.foreign[from.gang], from.order);
  }
  for (const auto& [gang, clocks] : from.foreign) {
    if (gang == into.gang)
      raise(into.order, clocks);
    else
      raise(into.foreign[gang], clocks);
  }
}

std::shared_ptr<Knowledge> copy(const Known& known, uint32_t gang) {
  if (known) return std::make_shared<Knowledge>(*known);
  auto fresh = std::make_shared<Knowledge>();
  fresh->gang = gang;
  return fresh;
}

Known joined_with(const Known& a, const Known& b, uint32_t gang) {
  if (!b || a == b) return a;
  auto k = copy(a, gang);
  join(*k, *b);
  return k;
}

}  // namespace pynn::sim::race

#endif  // PYNN_SIM_RACE
