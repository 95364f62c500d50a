// group.cuh — what the normalizations of channels share: x as (N, L, C), C in G groups of C/G.
//
//     group     N samples, L their space
//     instance  G = C
//     batch     G = C, N = 1, L = all rows
//
//   mean and rstd are (N, G) f64 (norm.cuh), of n = L C/G elements
//   group_moments.cu takes them, group_apply.cu makes y, group_norm_bwd.cu the gradients
//
//   Ioffe, Szegedy 2015, arXiv:1502.03167;  Wu, He 2018, arXiv:1803.08494;  Ulyanov, Vedaldi,
//   Lempitsky 2016, arXiv:1607.08022

#pragma once

#include "kernels/norm/norm.cuh"

#include "common/array.h"
#include "common/column.cuh"
#include "common/row.cuh"

namespace pynn::norm {

// Mean and rstd of the groups.
struct Groups {
  double const* mean;
  double const* rstd;
  int64_t count;
  int64_t members;

  __device__ int64_t of(int64_t sample, int64_t column) const {
    return sample * count + column / members;
  }
  __device__ Standardize xhat(int64_t group) const { return {mean[group], rstd[group]}; }
};

// Calls f.operator()<WIDTH>() for columns of x and arrays that are or are not in 16-byte steps.
template <typename T, typename F>
void choose_width(int64_t columns, bool aligned, F&& f) {
  if (row_is_vec<T>(columns, aligned)) {
    f.template operator()<VEC_BYTES / static_cast<int>(sizeof(T))>();
  } else {
    f.template operator()<1>();
  }
}

// The groups of x (N, L, C) whose mean and rstd are (N, G).
inline int64_t check(char const* op, Array x, Array mean, Array rstd) {
  expect_ndim(op, "x", x, 3);
  expect_ndim(op, "mean", mean, 2);
  int64_t const groups = mean.dims[1];
  expect_shape(op, "mean", mean, {x.dims[0], groups});
  expect_dtype(op, "mean", mean, DType::f64);
  expect_like(op, "rstd", rstd, mean);
  bool const divides = groups == 0 ? x.dims[2] == 0 : x.dims[2] % groups == 0;
  expect(divides, op, "mean", "a number of groups that divides the channels of x", groups);
  return groups;
}

// Plans for as many CTAs as keep the device busy, where no part needs a workspace.
inline constexpr int64_t ANY_SPLITS = ENOUGH_CTAS;

}  // namespace pynn::norm
