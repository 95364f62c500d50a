// wgmma.cpp — the tensor cores of a warpgroup.
#include "arch/wgmma.cuh"

#include <algorithm>
#include <bit>
#include <cstring>

#include "sim/address.h"

namespace pynn::sim {

constexpr unsigned WARPGROUP = 128;
constexpr uint32_t IN_FLIGHT =
    0x7F80F1E6;  // a signalling NaN: arithmetic would make it a quiet one

// The accumulators of one warpgroup that some wgmma in flight adds to.
struct Accumulators {
  float* d[WARPGROUP] = {};
  int size = 0;
  std::vector<float> values;  // [thread][size]
  int pending = 0;
};

namespace {

struct WgmmaOperand {
  WgmmaCall call;
  float* d;
  const uint32_t* a;
};

// The 64 bits of a matrix descriptor.
struct Descriptor {
  uint32_t start, leading, stride, base_offset;
  uint64_t swizzle, reserved;
  unsigned span;  // bytes of a swizzled row, 0 without swizzle

  explicit Descriptor(uint64_t d)
      : start(uint32_t(d & 0x3FFF) << 4),
        leading(uint32_t(d >> 16 & 0x3FFF) << 4),
        stride(uint32_t(d >> 32 & 0x3FFF) << 4),
        base_offset(uint32_t(d >> 49 & 7)),
        swizzle(d >> 62),
        reserved(d & 0x3FF1C000C000C000),
        span(swizzle == 1   ? 128
             : swizzle == 2 ? 64
             : swizzle == 3 ? 32
                            : 0) {}

  // Offset of element (row, k): row counts M or N.
  uint32_t offset(bool mn_major, unsigned bytes, unsigned row, unsigned k) const {
    uint32_t o = start;
    if (!mn_major) {
      if (span)
        o += row / 8 * stride + row % 8 * span + k * bytes;
      else
        o += row / 8 * stride + row % 8 * 16 + k * bytes / 16 * leading + k * bytes % 16;
    } else {
      const unsigned wide = (span ? span : 16) / bytes;  // elements of M or N in a row
      if (span)
        o += row / wide * leading + k / 8 * stride + k % 8 * span + row % wide * bytes;
      else
        o += row / wide * stride + k / 8 * leading + k % 8 * 16 + row % wide * bytes;
    }
    return span ? o ^ ((o >> 7 & (span / 16 - 1)) << 4) : o;
  }
};

Warpgroup& mine(const char* what, Where where) {
  Thread& t = *current;
  const unsigned first = t.rank / WARPGROUP * WARPGROUP;
  if (gang->block_threads - first < WARPGROUP)
    fail(std::string(what) + ": expected a whole warpgroup of 128 threads, got " +
             std::to_string(gang->block_threads - first),
         where);
  return *t.block->warpgroups[t.rank / WARPGROUP];
}

void check_descriptor(const char* what, const char* operand, const Descriptor& d, uint64_t bits,
                      Where where) {
  const std::string name = std::string(what) + ": descriptor of " + operand;
  if (d.reserved) fail(name + ": expected zero in the unused bits, got " + hex(bits), where);
  if (d.base_offset)
    fail(name + ": base offset: expected 0, got " + std::to_string(d.base_offset) +
             "; the simulator wants swizzle atoms at multiples of 8 rows",
         where);
  if (d.span && d.start % (8 * d.span) >= d.span)
    fail(name + ": expected a swizzle atom that begins at a multiple of " +
             std::to_string(8 * d.span) + " bytes, got address " + hex(d.start),
         where);
}

// Reads a 64 x K or N x K operand into out[row][32 / bytes].
void gather(Block& block, const WgmmaCall& call, const char* operand, const Descriptor& d,
            bool mn_major, unsigned rows, float* out, const race::Ticket& ticket, Where where) {
  const unsigned bytes = bytes_of(call.type), depth = 32 / bytes;
  for (unsigned r = 0; r < rows; ++r)
    for (unsigned k = 0; k < depth; ++k) {
      const uint32_t o = d.offset(mn_major, bytes, r, k);
      if (o % 16 == 0) {
        shared_range(block, o, 16, 16, call.what, where, false);
        race::access(ticket, block.shared.at(o), 16, race::Access::READ, race::Proxy::ASYNC, where);
      }
      uint32_t bits = 0;
      std::memcpy(&bits, block.shared.at(o & 0x3FFFF), bytes);
      out[r * depth + k] = to_float(call.type, bits);
    }
  (void)operand;
}

// Row and column of accumulator i of thread t.
unsigned row_of(unsigned t, unsigned i) {
  return t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8;
}
unsigned column_of(unsigned t, unsigned i) {
  return i / 4 * 8 + t % 4 * 2 + i % 2;
}

void deliver(Accumulators& acc, const char* what, Where where) {
  for (unsigned t = 0; t < WARPGROUP; ++t)
    for (int i = 0; i < acc.size; ++i) {
      if (options().async != Async::NOW && std::bit_cast<uint32_t>(acc.d[t][i]) != IN_FLIGHT)
        fail(std::string(what) + ": accumulator " + std::to_string(i) + " of thread " +
                 std::to_string(t) +
                 " of the warpgroup was written while wgmma was in flight; expected "
                 "wgmma.wait_group before",
             where);
      acc.d[t][i] = acc.values[size_t(t * unsigned(acc.size)) + unsigned(i)];
    }
}

void multiply(Block& block, const WgmmaCall& call, Accumulators& acc,
              const std::vector<uint32_t>& a_registers, const race::Ticket& ticket, Where where) {
  const unsigned bytes = bytes_of(call.type), depth = 32 / bytes, n = unsigned(call.size) * 2;
  std::vector<float> a(64 * depth), b(n * depth);
  if (call.a_shared) {
    gather(block, call, "A", Descriptor(call.a), call.a_mn, 64, a.data(), ticket, where);
  } else {
    const unsigned packed = 4 / bytes;
    for (unsigned t = 0; t < WARPGROUP; ++t)
      for (unsigned r = 0; r < 4; ++r)
        for (unsigned e = 0; e < packed; ++e) {
          const unsigned row = t / 32 * 16 + t % 32 / 4 + r % 2 * 8,
                         k = t % 4 * packed + e + r / 2 * 4 * packed;
          a[row * depth + k] = to_float(call.type, a_registers[t * 4 + r] >> 32 / packed * e);
        }
  }
  gather(block, call, "B", Descriptor(call.b), call.b_mn, n, b.data(), ticket, where);

  std::vector<double> columns(depth * n), sum(64 * n);
  for (unsigned c = 0; c < n; ++c)
    for (unsigned k = 0; k < depth; ++k) columns[k * n + c] = b[c * depth + k];
  for (unsigned r = 0; r < 64; ++r)
    for (unsigned k = 0; k < depth; ++k) {
      const double x = a[r * depth + k];
      const double* y = &columns[k * n];
      double* s = &sum[r * n];
      for (unsigned c = 0; c < n; ++c) s[c] += x * y[c];
    }
  for (unsigned t = 0; t < WARPGROUP; ++t)
    for (unsigned i = 0; i < unsigned(call.size); ++i) {
      float& v = acc.values[t * unsigned(call.size) + i];
      v = float((call.accumulate ? double(v) : 0.0) + sum[row_of(t, i) * n + column_of(t, i)]);
    }
}

// The accumulators at d hold what the last wgmma left there: going on with them needs no fence.
bool untouched(const Warpgroup& w, float* const* d, int size) {
  for (const auto& acc : w.settled) {
    if (acc->size != size || !std::equal(d, d + WARPGROUP, acc->d)) continue;
    const size_t bytes = size_t(size) * 4;
    for (unsigned t = 0; t < WARPGROUP; ++t)
      if (std::memcmp(d[t], &acc->values[t * size_t(size)], bytes)) return false;
    return true;
  }
  return false;
}

// The accumulators in flight at these addresses; new ones are taken from the registers.
std::shared_ptr<Accumulators> accumulators(Warpgroup& w, const Meeting& m,
                                           const WgmmaOperand& first, Where where) {
  float* d[WARPGROUP] = {};
  for (size_t i = 0; i < m.operands.size(); ++i)
    d[m.threads[i]->rank % WARPGROUP] = static_cast<WgmmaOperand*>(m.operands[i])->d;
  for (auto& acc : w.in_flight)
    if (acc->d[0] == d[0] && acc->size == first.call.size) return acc;
  if (!w.fenced && !untouched(w, d, first.call.size))
    fail(std::string(first.call.what) +
             ": expected wgmma.fence since the accumulators were last touched",
         where);
  auto acc = std::make_shared<Accumulators>();
  acc->size = first.call.size;
  std::copy_n(d, WARPGROUP, acc->d);
  acc->values.resize(WARPGROUP * size_t(acc->size));
  for (unsigned t = 0; t < WARPGROUP; ++t)
    for (int i = 0; i < acc->size; ++i) {
      acc->values[t * size_t(acc->size) + size_t(i)] = d[t][i];
      if (options().async != Async::NOW) d[t][i] = std::bit_cast<float>(IN_FLIGHT);
    }
  w.in_flight.push_back(acc);
  return acc;
}

bool same(const WgmmaCall& x, const WgmmaCall& y) {
  return x.a == y.a && x.b == y.b && x.size == y.size && x.type == y.type &&
         x.accumulate == y.accumulate && x.a_shared == y.a_shared && x.a_mn == y.a_mn &&
         x.b_mn == y.b_mn;
}

void issue(Meeting& m, void* context) {
  const Where where = *static_cast<Where*>(context);
  Block& block = *current->block;
  Warpgroup& w = *block.warpgroups[current->rank / WARPGROUP];
  const WgmmaOperand& first = *static_cast<WgmmaOperand*>(m.operands[0]);
  const WgmmaCall call = first.call;
  for (void* p : m.operands)
    if (!same(static_cast<WgmmaOperand*>(p)->call, call))
      fail(std::string(call.what) +
               ": expected the same descriptors and shape in all threads of the warpgroup",
           where);
  if (call.a_shared) check_descriptor(call.what, "A", Descriptor(call.a), call.a, where);
  check_descriptor(call.what, "B", Descriptor(call.b), call.b, where);

  auto acc = accumulators(w, m, first, where);
  ++acc->pending;
  std::vector<uint32_t> a(call.a_shared ? 0 : WARPGROUP * 4);
  for (size_t i = 0; i < m.operands.size() && !a.empty(); ++i)
    std::copy_n(static_cast<WgmmaOperand*>(m.operands[i])->a, 4,
                &a[m.threads[i]->rank % WARPGROUP * 4]);
  for (Thread* t : m.threads) race::joined(w.queue.stream, *t);

  AsyncQueue::Operation o;
  o.where = where;
  o.write_ticket = race::issue(w.queue.stream);
  o.write = [&block, &w, call, acc, a = std::move(a), ticket = o.write_ticket, where] {
    multiply(block, call, *acc, a, ticket, where);
    if (--acc->pending) return;
    deliver(*acc, call.what, where);
    std::erase(w.in_flight, acc);
    std::erase_if(w.settled, [&](const auto& old) { return old->d[0] == acc->d[0]; });
    w.settled.push_back(acc);
  };
  submit(w.queue, std::move(o));
}

}  // namespace

void wgmma_issue(const WgmmaCall& call, float* d, const uint32_t* a, Where where) {
  Warpgroup& w = mine(call.what, where);
  WgmmaOperand o{call, d, a};
  meet(w.meeting, WARPGROUP, {call.what, where}, &o, issue, &where);
}

void wgmma_wait(size_t left, Where where) {
  Warpgroup& w = mine("wgmma.wait_group", where);
  meet(
      w.meeting, WARPGROUP, {"wgmma.wait_group", where}, nullptr,
      [](Meeting&, void* context) {
        Warpgroup& w = *current->block->warpgroups[current->rank / WARPGROUP];
        wait_groups(w.queue, *static_cast<size_t*>(context), false);
        w.fenced = false;
      },
      &left);
  race::acquire(w.queue.done);
}

}  // namespace pynn::sim

namespace pynn::ptx {

using namespace sim;

void wgmma_fence(Where where) {
  Warpgroup& w = mine("wgmma.fence", where);
  meet(w.meeting, WARPGROUP, {"wgmma.fence", where}, nullptr, [](Meeting&, void*) {
    current->block->warpgroups[current->rank / WARPGROUP]->fenced = true;
  });
}

void wgmma_commit_group(Where where) {
  Warpgroup& w = mine("wgmma.commit_group", where);
  meet(w.meeting, WARPGROUP, {"wgmma.commit_group", where}, nullptr, [](Meeting&, void*) {
    commit(current->block->warpgroups[current->rank / WARPGROUP]->queue);
  });
}

}  // namespace pynn::ptx
