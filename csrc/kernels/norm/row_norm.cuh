// row_norm.cuh — what the two directions of the normalization of rows share.

#pragma once

#include "kernels/norm/norm.cuh"

#include "common/array.h"
#include "common/row.cuh"

namespace pynn::norm {

inline constexpr int LONG_THREADS = 1024;
inline constexpr int LONG_VECS = 2;  // in f32 they fill the 64 registers of 1024 threads

struct Layer {
  static constexpr bool CENTRED = true;
};
struct Rms {
  static constexpr bool CENTRED = false;
};

}  // namespace pynn::norm
