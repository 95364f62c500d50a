// tma.cpp — the Tensor Memory Accelerator: which elements a box holds, and where each goes.
#include "sim/tma.h"

#include <array>
#include <cstring>
#include <mutex>

#include "sim/address.h"
#include "sim/mbarrier.h"
#include "sim/number.h"

namespace pynn::sim {

namespace {

// 16-byte chunks trade places inside the span: address bits 4.. ^= bits 7..
uint32_t swizzled(CUtensorMapSwizzle mode, uint32_t a) {
  const unsigned span = swizzle_span(mode);
  return span ? a ^ ((a >> 7 & (span / 16 - 1)) << 4) : a;
}

struct Element {
  uint32_t shared;  // offset in the block's shared memory
  char* global;     // nullptr: outside of the tensor
};

using Index = std::array<int64_t, 5>;

char* element_at(const TiledTensor& t, const Index& i) {
  char* p = static_cast<char*>(t.address);
  for (uint32_t d = 0; d < t.rank; ++d) {
    if (i[d] < 0 || uint64_t(i[d]) >= t.dims[d]) return nullptr;
    p += i[d] * int64_t(d ? t.strides[d - 1] : element_bytes(t.dtype));
  }
  return p;
}

// Calls f(Element) for every element of the box whose first element is at `from`, in the order of shared memory.
template <class F>
void for_box(const TensorMap& m, uint32_t base, const Index& from, F&& f) {
  const TiledTensor& t = m.tensor;
  const unsigned bytes = element_bytes(t.dtype);
  Index count{1, 1, 1, 1, 1}, k{};
  for (uint32_t d = 0; d < t.rank; ++d) {
    const uint32_t step = d ? t.element_strides[d] : 1;
    count[d] = (t.box[d] + step - 1) / step;
  }
  uint32_t offset = base;
  for (k[4] = 0; k[4] < count[4]; ++k[4])
    for (k[3] = 0; k[3] < count[3]; ++k[3])
      for (k[2] = 0; k[2] < count[2]; ++k[2])
        for (k[1] = 0; k[1] < count[1]; ++k[1])
          for (k[0] = 0; k[0] < count[0]; ++k[0], offset += bytes) {
            Index i = from;
            for (uint32_t d = 0; d < t.rank; ++d) i[d] += k[d] * (d ? t.element_strides[d] : 1);
            f(Element{swizzled(t.swizzle, offset), element_at(t, i)});
          }
}

uint32_t box_bytes(const TensorMap& m) {
  const TiledTensor& t = m.tensor;
  uint32_t n = element_bytes(t.dtype);
  if (m.im2col) return n * m.channels * m.pixels;
  for (uint32_t d = 0; d < t.rank; ++d) {
    const uint32_t step = d ? t.element_strides[d] : 1;
    n *= (t.box[d] + step - 1) / step;
  }
  return n;
}

// The pixels of an im2col column: they walk through the box of first pixels, W fastest, then H, D and N; each is
// then moved by the filter tap, and may fall into the padding.
template <class F>
void for_column(const TensorMap& m, uint32_t base, Index pixel, const Index& tap, F&& f) {
  const TiledTensor& t = m.tensor;
  const unsigned bytes = element_bytes(t.dtype);
  const uint32_t spatial = t.rank - 2;
  uint32_t offset = base;
  for (uint32_t p = 0; p < m.pixels; ++p) {
    for (uint32_t c = 0; c < m.channels; ++c, offset += bytes) {
      Index i = pixel;
      i[0] += c;
      for (uint32_t d = 1; d <= spatial; ++d) i[d] += tap[d - 1];
      f(Element{swizzled(t.swizzle, offset), element_at(t, i)});
    }
    for (uint32_t d = 1; d <= spatial; ++d) {
      pixel[d] += t.element_strides[d];
      if (pixel[d] <= int64_t(t.dims[d]) - 1 + m.upper[d - 1]) break;
      pixel[d] = m.lower[d - 1];
      if (d == spatial) ++pixel[spatial + 1];
    }
  }
}

Index index_of(Coordinates at) {
  Index i{};
  std::copy(at.begin(), at.end(), i.begin());
  return i;
}

void check_map(const char* what, const TensorMap& m, bool im2col, Coordinates at, Where where) {
  if (m.magic != TensorMap::MAGIC)
    fail(std::string(what) + ": expected a tensor map, got other bytes", where);
  if (m.im2col != im2col)
    fail(
        std::string(what) + ": expected a map made by " +
            (im2col ? "tensor_map_im2col, got a tiled one" : "tensor_map_tiled, got an im2col one"),
        where);
  if (at.size() != m.tensor.rank)
    fail(std::string(what) + ": expected " + std::to_string(m.tensor.rank) +
             " coordinates, the rank of the map, got " + std::to_string(at.size()),
         where);
  const unsigned span = swizzle_span(m.tensor.swizzle);
  const uint32_t inner = (im2col ? m.channels : m.tensor.box[0]) * element_bytes(m.tensor.dtype);
  if (span && inner != span)
    fail(std::string(what) + ": expected an inner box of " + std::to_string(span) +
             " bytes, the swizzle's span, got " + std::to_string(inner) +
             "; the simulator does not model a smaller one",
         where);
}

// To the nearest tf32, ties to even: what a TFLOAT32 map does on the way.
uint32_t to_tf32(uint32_t bits) {
  if ((bits & 0x7F800000) == 0x7F800000) return bits;
  return (bits + 0xFFF + (bits >> 13 & 1)) & ~0x1FFFu;
}

void load_element(const TiledTensor& t, char* to, const Element& e) {
  const unsigned bytes = element_bytes(t.dtype);
  if (!e.global) {
    const bool nan = t.fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA;
    std::memset(to, nan ? 0xFF : 0, bytes);
    return;
  }
  std::memcpy(to, e.global, bytes);
  if (t.dtype == CU_TENSOR_MAP_DATA_TYPE_TFLOAT32) {
    uint32_t bits;
    std::memcpy(&bits, to, 4);
    bits = to_tf32(bits);
    std::memcpy(to, &bits, 4);
  }
}

struct Target {
  Block* block;
  uint32_t offset;  // of the box
  uint32_t bar;     // offset of the mbarrier
};

// Where a load goes: the block that dst names, or the same offsets in each block of the mask.
std::vector<Target> targets(const char* what, uint32_t dst, uint32_t bar, uint32_t ctas,
                            uint32_t bytes, Where where) {
  const SharedRange to = shared_range(dst, bytes, 128, what, where, true);
  mbarrier_check_async(bar, what, where, true);
  const SharedRange at = shared_range(bar, 8, 8, what, where, true);
  if (ctas == OWN_BLOCK) {
    if (to.block != at.block)
      fail(std::string(what) + ": expected box and mbarrier in the same block, got blocks " +
               std::to_string(to.block->rank) + " and " + std::to_string(at.block->rank),
           where);
    return {{to.block, to.offset, at.offset}};
  }
  std::vector<Target> all;
  if (ctas == 0)
    fail(std::string(what) + ": expected a multicast mask that names a block, got 0", where);
  for (uint32_t r = 0; r < 16; ++r) {
    if (!(ctas >> r & 1)) continue;
    if (r >= gang->used_blocks)
      fail(std::string(what) + ": multicast mask " + hex(ctas) + " names block " +
               std::to_string(r) + ", expected one of the cluster's " +
               std::to_string(gang->used_blocks),
           where);
    all.push_back({gang->blocks[r].get(), to.offset, at.offset});
  }
  return all;
}

// One load, later: `each` calls its argument with every element of the box at a base.
template <class Each>
void load(const char* what, const TensorMap& map, std::vector<Target> to, uint32_t bytes, Each each,
          Where where) {
  Thread& t = *current;
  const race::Ticket ticket = race::issue_alone(t);
  counters().async_bytes += bytes;
  submit_load([=] {
    for (const Target& target : to) {
      if (target.block->live == 0)
        fail(std::string(what) + ": block " + std::to_string(target.block->rank) +
                 " of the cluster has exited " +
                 "before its box arrived; expected it to wait, or a cluster barrier at its end",
             where);
      const unsigned size = element_bytes(map.tensor.dtype);
      each(target.offset, [&](const Element& e) {
        char* p = target.block->shared.at(e.shared);
        if (e.global && &target == &to.front())  // a multicast reads once
          race::access(ticket, e.global, size, race::Access::READ, race::Proxy::ASYNC, where);
        race::access(ticket, p, size, race::Access::WRITE, race::Proxy::ASYNC, where);
        load_element(map.tensor, p, e);
      });
      mbarrier_complete_tx(*target.block, target.bar, bytes, ticket, where);
    }
  });
}

template <class T, class F>
void add_as(char* to, const char* from, F f) {
  T a, b;
  std::memcpy(&a, to, sizeof a);
  std::memcpy(&b, from, sizeof b);
  a = f(a, b);
  std::memcpy(to, &a, sizeof a);
}

void add_element(CUtensorMapDataType dtype, char* to, const char* from) {
  static std::mutex mutex;  // atomic, as each element of a reduction is
  const std::lock_guard lock(mutex);
  const auto plus = [](auto a, auto b) { return a + b; };
  switch (dtype) {
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
    case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32:
      return add_as<float>(to, from, plus);
    case CU_TENSOR_MAP_DATA_TYPE_INT32:
    case CU_TENSOR_MAP_DATA_TYPE_UINT32:
      return add_as<uint32_t>(to, from, plus);
    case CU_TENSOR_MAP_DATA_TYPE_UINT64:
      return add_as<uint64_t>(to, from, plus);
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
      return add_as<__half>(to, from, [](__half a, __half b) {
        return __float2half_rn(__half2float(a) + __half2float(b));
      });
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16:
      return add_as<__nv_bfloat16>(to, from, [](__nv_bfloat16 a, __nv_bfloat16 b) {
        return __float2bfloat16_rn(__bfloat162float(a) + __bfloat162float(b));
      });
    default:
      throw Error(
          "cp.reduce.async.bulk.tensor.add: expected f32, f16, bf16, s32, u32 or u64, got dtype " +
          std::to_string(int(dtype)));
  }
}

// A copy out of shared memory: reads the source at one moment, writes at another.
void store(uint32_t bytes, std::function<void(const race::Ticket&, std::vector<char>&)> read,
           std::function<void(const race::Ticket&, const std::vector<char>&)> write, Where where) {
  Thread& t = *current;
  race::joined(t.bulk.stream, t);
  AsyncQueue::Operation o;
  o.where = where;
  o.read_ticket = race::issue(t.bulk.stream);
  o.write_ticket = race::issue(t.bulk.stream);
  counters().async_bytes += bytes;
  auto data = std::make_shared<std::vector<char>>(bytes);
  o.read = [=, ticket = o.read_ticket] { read(ticket, *data); };
  o.write = [=, ticket = o.write_ticket] { write(ticket, *data); };
  submit(t.bulk, std::move(o));
}

// What a bulk copy does first: takes its source out of shared memory.
auto read_of(SharedRange from, uint32_t bytes, Where where) {
  return [=](const race::Ticket& ticket, std::vector<char>& data) {
    race::access(ticket, from.p, bytes, race::Access::READ, race::Proxy::ASYNC, where);
    std::memcpy(data.data(), from.p, bytes);
  };
}

void check_bulk(const char* what, const void* global, uint32_t bytes, Where where) {
  if (bytes == 0 || bytes % 16)
    fail(std::string(what) + ": expected a size that is a multiple of 16 bytes, got " +
             std::to_string(bytes),
         where);
  if (reinterpret_cast<uintptr_t>(global) % 16)
    fail(std::string(what) + ": expected a global address aligned to 16 bytes, got one " +
             std::to_string(reinterpret_cast<uintptr_t>(global) % 16) + " beyond",
         where);
}

}  // namespace

void bulk_tensor_load(uint32_t dst, const TensorMap& map, uint32_t bar, uint32_t ctas,
                      Coordinates at, Where where) {
  const char* what = "cp.async.bulk.tensor (load)";
  check_map(what, map, false, at, where);
  const uint32_t bytes = box_bytes(map);
  const Index from = index_of(at);
  load(
      what, map, targets(what, dst, bar, ctas, bytes, where), bytes,
      [map, from](uint32_t base, auto&& f) { for_box(map, base, from, f); }, where);
}

void bulk_tensor_load_im2col(uint32_t dst, const TensorMap& map, uint32_t bar, uint32_t ctas,
                             Coordinates at, Coordinates taps, Where where) {
  const char* what = "cp.async.bulk.tensor (im2col load)";
  check_map(what, map, true, at, where);
  const int limit = 1 << 16 / taps.size();  // 16 bits in all
  for (const int tap : taps)
    if (tap >= limit)
      fail(std::string(what) + ": expected offsets below " + std::to_string(limit) + " in " +
               std::to_string(taps.size()) + " dimensions, got " + std::to_string(tap),
           where);
  const uint32_t bytes = box_bytes(map);
  const Index from = index_of(at), tap = index_of(taps);
  load(
      what, map, targets(what, dst, bar, ctas, bytes, where), bytes,
      [map, from, tap](uint32_t base, auto&& f) { for_column(map, base, from, tap, f); }, where);
}

void bulk_tensor_store(const TensorMap& map, uint32_t src, bool add, Coordinates at, Where where) {
  const char* what = add ? "cp.reduce.async.bulk.tensor" : "cp.async.bulk.tensor (store)";
  check_map(what, map, false, at, where);
  const uint32_t bytes = box_bytes(map);
  const SharedRange source = shared_range(src, bytes, 128, what, where);
  const Index from = index_of(at);
  const unsigned size = element_bytes(map.tensor.dtype);
  store(
      bytes,
      [=](const race::Ticket& ticket, std::vector<char>& data) {
        char* to = data.data();
        for_box(map, source.offset, from, [&](const Element& e) {
          const char* p = source.block->shared.at(e.shared);
          race::access(ticket, p, size, race::Access::READ, race::Proxy::ASYNC, where);
          std::memcpy(to, p, size);
          to += size;
        });
      },
      [=](const race::Ticket& ticket, const std::vector<char>& data) {
        const char* value = data.data();
        for_box(map, source.offset, from, [&](const Element& e) {
          if (e.global) {
            race::access(ticket, e.global, size, add ? race::Access::ATOMIC : race::Access::WRITE,
                         race::Proxy::ASYNC, where);
            if (add)
              add_element(map.tensor.dtype, e.global, value);
            else
              std::memcpy(e.global, value, size);
          }
          value += size;
        });
      },
      where);
}

void bulk_wait(size_t left, bool read_only) {
  wait_groups(current->bulk, left, read_only);
}

}  // namespace pynn::sim

namespace pynn::ptx {

using namespace sim;

void cp_async_bulk_commit_group() {
  commit(current->bulk);
}

void cp_async_bulk_load(uint32_t dst, const void* src, uint32_t bytes, uint32_t bar, Where where) {
  const char* what = "cp.async.bulk (load)";
  check_bulk(what, src, bytes, where);
  shared_range(dst, bytes, 16, what, where, true);
  mbarrier_check_async(bar, what, where, true);
  const SharedRange to = shared_range(dst, bytes, 16, what, where, true);
  Thread& t = *current;
  counters().async_bytes += bytes;
  submit_load([=, ticket = race::issue_alone(t), own = t.block] {
    race::access(ticket, src, bytes, race::Access::READ, race::Proxy::ASYNC, where);
    race::access(ticket, to.p, bytes, race::Access::WRITE, race::Proxy::ASYNC, where);
    std::memcpy(to.p, src, bytes);
    mbarrier_complete_tx(*own, bar, bytes, ticket, where);
  });
}

void cp_async_bulk_store(void* dst, uint32_t src, uint32_t bytes, Where where) {
  const char* what = "cp.async.bulk (store)";
  check_bulk(what, dst, bytes, where);
  const SharedRange from = shared_range(src, bytes, 16, what, where);
  store(
      bytes, read_of(from, bytes, where),
      [=](const race::Ticket& ticket, const std::vector<char>& data) {
        race::access(ticket, dst, bytes, race::Access::WRITE, race::Proxy::ASYNC, where);
        std::memcpy(dst, data.data(), bytes);
      },
      where);
}

void cp_reduce_async_bulk_add_f32(float* dst, uint32_t src, uint32_t bytes, Where where) {
  const char* what = "cp.reduce.async.bulk.add.f32";
  check_bulk(what, dst, bytes, where);
  const SharedRange from = shared_range(src, bytes, 16, what, where);
  store(
      bytes, read_of(from, bytes, where),
      [=](const race::Ticket& ticket, const std::vector<char>& data) {
        race::access(ticket, dst, bytes, race::Access::ATOMIC, race::Proxy::ASYNC, where);
        for (uint32_t i = 0; i < bytes / 4; ++i)
          add_element(CU_TENSOR_MAP_DATA_TYPE_FLOAT32, reinterpret_cast<char*>(dst + i),
                      data.data() + 4 * i);
      },
      where);
}

}  // namespace pynn::ptx
