// warp.cpp — the collectives of warp.h as meetings.
#include "sim/warp.h"

namespace pynn::sim {

namespace {

struct LaneOperand {
  uint64_t value = 0;
  unsigned lane = 0;
  unsigned source = 0;  // of a shuffle: the lane to read
  uint64_t result = 0;
};

LaneOperand& operand(void* p) {
  return *static_cast<LaneOperand*>(p);
}

LaneOperand* of_lane(Meeting& m, unsigned lane) {
  for (void* p : m.operands)
    if (operand(p).lane == lane) return &operand(p);
  return nullptr;
}

LaneOperand mine(uint64_t value) {
  LaneOperand o;
  o.value = value;
  o.lane = lane_of(*current);
  return o;
}

}  // namespace

void sync_threads(const char* what, Where where) {
  meet(current->block->barriers[0], gang->block_threads, {what, where, true, true});
}

unsigned sync_threads_vote(const char* what, int predicate, Where where) {
  LaneOperand o = mine(predicate != 0);
  meet(current->block->barriers[0], gang->block_threads, {what, where, true, true}, &o,
       [](Meeting& m, void*) {
         uint64_t sum = 0;
         for (void* p : m.operands) sum += operand(p).value;
         for (void* p : m.operands) operand(p).result = sum;
       });
  return unsigned(o.result);
}

void sync_warp(uint32_t mask, Where where) {
  meet_warp(mask, {"__syncwarp", where, false, true});
}

uint64_t shuffle(const char* what, uint32_t mask, uint64_t value, Shuffle kind, int n, int width,
                 Where where) {
  if (width < 1 || width > 32 || (width & (width - 1)))
    fail(std::string(what) + ": width: expected 1, 2, 4, 8, 16 or 32, got " + std::to_string(width),
         where);
  LaneOperand o = mine(value);
  const int lane = int(o.lane), first = lane & ~(width - 1), last = first + width - 1;
  int source = lane;
  switch (kind) {
    case Shuffle::INDEX:
      source = first + (n & (width - 1));
      break;
    case Shuffle::UP:
      source = lane - n >= first ? lane - n : lane;
      break;
    case Shuffle::DOWN:
      source = lane + n <= last ? lane + n : lane;
      break;
    case Shuffle::XOR:
      source = (lane ^ n) <= last ? lane ^ n : lane;
      break;
  }
  o.source = unsigned(source);
  struct Context {
    const char* what;
    Where where;
  } context{what, where};
  meet_warp(
      mask, {what, where}, &o,
      [](Meeting& m, void* c) {
        const Context& at = *static_cast<Context*>(c);
        for (void* p : m.operands) {
          const LaneOperand* from = of_lane(m, operand(p).source);
          if (!from)
            fail(std::string(at.what) + ": lane " + std::to_string(operand(p).lane) +
                     " reads lane " + std::to_string(operand(p).source) +
                     ", which does not take part",
                 at.where);
          operand(p).result = from->value;
        }
      },
      &context);
  return o.result;
}

unsigned ballot(const char* what, uint32_t mask, bool predicate, Where where) {
  LaneOperand o = mine(predicate);
  meet_warp(mask, {what, where}, &o, [](Meeting& m, void*) {
    uint64_t votes = 0;
    for (void* p : m.operands) votes |= operand(p).value << operand(p).lane;
    for (void* p : m.operands) operand(p).result = votes;
  });
  return unsigned(o.result);
}

unsigned match_any(uint32_t mask, uint64_t value, Where where) {
  LaneOperand o = mine(value);
  meet_warp(mask, {"__match_any_sync", where}, &o, [](Meeting& m, void*) {
    for (void* p : m.operands)
      for (void* q : m.operands)
        if (operand(q).value == operand(p).value)
          operand(p).result |= uint64_t(1) << operand(q).lane;
  });
  return unsigned(o.result);
}

unsigned match_all(uint32_t mask, uint64_t value, int* all, Where where) {
  LaneOperand o = mine(value);
  meet_warp(mask, {"__match_all_sync", where}, &o, [](Meeting& m, void*) {
    uint64_t lanes = 0;
    bool same = true;
    for (void* p : m.operands) {
      lanes |= uint64_t(1) << operand(p).lane;
      same = same && operand(p).value == operand(m.operands[0]).value;
    }
    for (void* p : m.operands) operand(p).result = same ? lanes : 0;
  });
  *all = o.result != 0;
  return unsigned(o.result);
}

unsigned reduce(const char* what, uint32_t mask, unsigned value, Reduce kind, Where where) {
  LaneOperand o = mine(value);
  meet_warp(
      mask, {what, where}, &o,
      [](Meeting& m, void* c) {
        const Reduce kind = *static_cast<Reduce*>(c);
        unsigned r = unsigned(operand(m.operands[0]).value);
        for (size_t i = 1; i < m.operands.size(); ++i) {
          const unsigned v = unsigned(operand(m.operands[i]).value);
          switch (kind) {
            case Reduce::ADD:
              r += v;
              break;
            case Reduce::MIN:
              r = v < r ? v : r;
              break;
            case Reduce::MAX:
              r = v > r ? v : r;
              break;
            case Reduce::MIN_SIGNED:
              r = int(v) < int(r) ? v : r;
              break;
            case Reduce::MAX_SIGNED:
              r = int(v) > int(r) ? v : r;
              break;
            case Reduce::AND:
              r &= v;
              break;
            case Reduce::OR:
              r |= v;
              break;
            case Reduce::XOR:
              r ^= v;
              break;
          }
        }
        for (void* p : m.operands) operand(p).result = r;
      },
      &kind);
  return unsigned(o.result);
}

}  // namespace pynn::sim
