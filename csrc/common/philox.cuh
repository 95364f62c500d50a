// philox.cuh — Philox 4x32-10: four random words from a counter and a key, with no state.
//
//   Block n of stream `seed`: counter (n low, n high, 0, 0), key (seed low, seed high). Number i of
//   the stream is word i % 4 of block i / 4, as in pynn/random.py, to the bit: a backward draws its
//   forward's numbers again, and a CPU those of a GPU.
//
//   round   (c0, c1, c2, c3) -> (hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0)),
//           then the key grows by the Weyl constants
//   cost    20 wide multiplications and 60 other integer instructions for 4 words
//
//   Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", SC11.

#pragma once

#include <cstdint>

#include "common/launch.h"

namespace pynn {

struct PhiloxWords {
  uint32_t at[4];
};

__device__ inline PhiloxWords philox(uint64_t seed, uint64_t block) {
  constexpr uint64_t M0 = 0xD2511F53;
  constexpr uint64_t M1 = 0xCD9E8D57;
  constexpr uint32_t W0 = 0x9E3779B9;
  constexpr uint32_t W1 = 0xBB67AE85;
  uint32_t c0 = static_cast<uint32_t>(block);
  uint32_t c1 = static_cast<uint32_t>(block >> 32);
  uint32_t c2 = 0;
  uint32_t c3 = 0;
  uint32_t k0 = static_cast<uint32_t>(seed);
  uint32_t k1 = static_cast<uint32_t>(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    uint64_t const p0 = M0 * c0;
    uint64_t const p1 = M1 * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += W0;
    k1 += W1;
  }
  return {{c0, c1, c2, c3}};
}

// The upper 24 bits of a word as a float in [0, 1).
__device__ inline float philox_uniform(uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}

}  // namespace pynn
