// number.h — the bits of a tensor core's operand as a float.
//
// Products of these are exact in double, and so are sums of a few hundred of them unless they span more than 53
// bits: the twin of a tensor core adds in double and rounds once.  The hardware keeps fewer bits and truncates:
// compare with a bound, or bit for bit only where every sum is exact (small integers).
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <bit>
#include <cstdint>

namespace pynn::sim {

enum class Number { F16, BF16, TF32, E4M3, E5M2 };

constexpr unsigned bytes_of(Number n) {
  return n == Number::TF32 ? 4 : n == Number::F16 || n == Number::BF16 ? 2 : 1;
}

inline float to_float(Number n, uint32_t bits) {
  switch (n) {
    case Number::F16:
      return __half2float(std::bit_cast<__half>(uint16_t(bits)));
    case Number::BF16:
      return std::bit_cast<float>(bits << 16);
    case Number::TF32:
      return std::bit_cast<float>(bits & ~0x1FFFu);  // 13 low bits are ignored
    case Number::E4M3:
      return __half2float(__nv_cvt_fp8_to_halfraw(uint8_t(bits), __NV_E4M3));
    case Number::E5M2:
      return __half2float(__nv_cvt_fp8_to_halfraw(uint8_t(bits), __NV_E5M2));
  }
  return 0;
}

}  // namespace pynn::sim
