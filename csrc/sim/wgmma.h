// wgmma.h — twin of arch/wgmma.cuh: operands are read through the bits of the descriptor, as the tensor core does.
//
// In the late and random modes the accumulators hold a NaN between wgmma_mma_async and the wait that covers it: a
// read too early gives NaN, a write in between is an error.
#pragma once

#include <cuda_fp8.h>

#include "sim/machine.h"
#include "sim/number.h"

namespace pynn::sim {

struct WgmmaCall {
  const char* what;
  Number type;
  int size;  // accumulators of a thread; N = 2 size
  bool a_shared;
  bool a_mn, b_mn;  // MN-major
  bool accumulate;
  uint64_t a, b;  // descriptors
};

void wgmma_issue(const WgmmaCall& call, float* d, const uint32_t* a, Where where);
void wgmma_wait(size_t left, Where where);

template <class T>
struct WgmmaType;
template <>
struct WgmmaType<__nv_bfloat16> {
  static constexpr Number NUMBER = Number::BF16;
  static constexpr const char* WHAT = "wgmma.mma_async.bf16";
};
template <>
struct WgmmaType<__half> {
  static constexpr Number NUMBER = Number::F16;
  static constexpr const char* WHAT = "wgmma.mma_async.f16";
};
template <>
struct WgmmaType<ptx::tf32> {
  static constexpr Number NUMBER = Number::TF32;
  static constexpr const char* WHAT = "wgmma.mma_async.tf32";
};
template <>
struct WgmmaType<__nv_fp8_e4m3> {
  static constexpr Number NUMBER = Number::E4M3;
  static constexpr const char* WHAT = "wgmma.mma_async.e4m3";
};
template <>
struct WgmmaType<__nv_fp8_e5m2> {
  static constexpr Number NUMBER = Number::E5M2;
  static constexpr const char* WHAT = "wgmma.mma_async.e5m2";
};

}  // namespace pynn::sim

namespace pynn::ptx {

using sim::Where;

void wgmma_fence(Where where = Where::current());
void wgmma_commit_group(Where where = Where::current());
template <int M>
void wgmma_wait_group(Where where = Where::current()) {
  static_assert(M >= 0 && M <= 7, "wgmma.wait_group takes 0 to 7");
  sim::wgmma_wait(M, where);
}
template <int SIZE>
void wgmma_keep(float (&)[SIZE]) {}

template <class T, Major A_MAJOR = Major::K, Major B_MAJOR = Major::K, int SIZE>
void wgmma_mma_async(float (&d)[SIZE], uint64_t a, uint64_t b, bool accumulate,
                     Where where = Where::current()) {
  using Type = sim::WgmmaType<T>;
  static_assert(SIZE % 4 == 0 && SIZE <= 128,
                "N is a multiple of 8 up to 256, d has N / 2 elements");
  static_assert(sim::bytes_of(Type::NUMBER) == 2 || (A_MAJOR == Major::K && B_MAJOR == Major::K),
                "wgmma of tf32 and fp8 takes K-major operands only");
  sim::wgmma_issue({Type::WHAT, Type::NUMBER, SIZE, true, A_MAJOR == Major::MN,
                    B_MAJOR == Major::MN, accumulate, a, b},
                   d, nullptr, where);
}

template <class T, Major B_MAJOR = Major::K, int SIZE>
void wgmma_mma_async(float (&d)[SIZE], const uint32_t (&a)[4], uint64_t b, bool accumulate,
                     Where where = Where::current()) {
  using Type = sim::WgmmaType<T>;
  static_assert(SIZE % 4 == 0 && SIZE <= 128,
                "N is a multiple of 8 up to 256, d has N / 2 elements");
  static_assert(sim::bytes_of(Type::NUMBER) == 2 || B_MAJOR == Major::K,
                "wgmma of tf32 and fp8 takes K-major operands only");
  sim::wgmma_issue(
      {Type::WHAT, Type::NUMBER, SIZE, false, false, B_MAJOR == Major::MN, accumulate, 0, b}, d, a,
      where);
}

}  // namespace pynn::ptx
