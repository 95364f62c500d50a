// report.cpp — who waits where, when nobody can go on.
#include <map>

#include "sim/machine.h"
#include "sim/mbarrier.h"

namespace pynn::sim {

std::string deadlock_report(const Gang& g, const char* headline) {
  struct Group {
    unsigned count = 0;
    std::string threads;
  };
  std::map<std::string, Group> groups;
  const bool cluster = g.used_blocks > 1;
  for (size_t i = 0; i < g.used_threads; ++i) {
    const Thread& t = *g.threads[i];
    std::string key;
    if (t.returned) {
      key = "have returned";
    } else if (t.wait.what) {
      key = std::string("wait in ") + t.wait.what + " at " + place(t.wait.where);
      if (t.wait.mbarrier_block) key += ", " + describe_wait(t);
    } else {
      key = "poll without end, last seen at " + place(t.wait.where);
    }
    Group& group = groups[key];
    if (++group.count <= 4) {
      group.threads += group.threads.empty() ? "" : ", ";
      if (cluster) group.threads += std::to_string(t.block->rank) + ":";
      group.threads += std::to_string(t.rank);
    } else if (group.count == 5) {
      group.threads += ", ...";
    }
  }
  const uint3 b = g.blocks[0]->index;
  std::string text =
      "[" + g.launch->name + "] " + headline + "; block (" + std::to_string(b.x) + "," +
      std::to_string(b.y) + "," + std::to_string(b.z) + ")" +
      (cluster ? " and the " + std::to_string(g.used_blocks - 1) + " more of its cluster" : "");
  for (const auto& [key, group] : groups)
    text +=
        "\n  " + std::to_string(group.count) + " thread(s) " + key + "  (" + group.threads + ")";
  return text;
}

}  // namespace pynn::sim
