// windows_sm90.cuh — the windows of a convolution as TMA's im2col mode takes them, and whether it can.
//
//   first pixels of windows: from `lower` on, every      ┌─────────────┐
//   `stride` pixels, up to the last pixel + `upper`;     │ · o · o · o │    a load: 64 channels of
//   columns, then rows, then images                      │             │    windows one after another,
//   tap: an offset >= 0, added to all of them;           │ · o · o · o │    at one tap
//   what is outside of the image is 0                    └─────────────┘
//
//   limits in two dimensions: lower and upper -128 to 127, offsets 0 to 255, stride 1 to 8
//
//   dgrad with a stride: its phases take the same windows of dy at other offsets. They share `lower`,
//   that of the leftmost tap of all, and the number of windows, that of the longest phase.
//
//   PTX ISA, "im2col mode";  CUDA Driver API, cuTensorMapEncodeIm2col

#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/conv/conv.cuh"
#include "kernels/conv/variants.h"

namespace pynn::conv {

inline constexpr int SM90_STRIDE = 8;

// Windows along one axis, in each phase: those with most taps first.
struct Sm90Axis {
  Axis phases[SM90_STRIDE];
  int count;  // of phases: 1, but for dgrad with a stride
  int windows;
  int lower;
  int upper;

  __host__ __device__ int offset(int phase, int tap) const {
    return phases[phase].start + tap * phases[phase].step - lower;
  }
};

// Of `count` phases, of which axis.windows and lower ... are still to be found.
inline Sm90Axis share_windows(Sm90Axis axis) {
  axis.lower = std::numeric_limits<int>::max();
  for (int i = 0; i < axis.count; ++i) {
    Axis const& own = axis.phases[i];
    axis.windows = std::max(axis.windows, own.windows);
    if (own.taps > 0) {
      axis.lower = std::min({axis.lower, own.start, own.start + (own.taps - 1) * own.step});
    }
  }
  Axis const& first = axis.phases[0];
  axis.upper = axis.lower + (axis.windows - 1) * first.stride - (first.pixels - 1);
  return axis;
}

inline Sm90Axis sm90_axis(Axis const& only) {
  return share_windows({{only}, 1, 0, 0, 0});
}

inline Sm90Axis sm90_axis(int length, int outputs, int taps, int stride, int pad, int dilation) {
  Sm90Axis axis{};
  axis.count = stride;
  for (int a = 0; a < stride; ++a) {
    axis.phases[a] = phase_axis(length, outputs, taps, stride, pad, dilation, a);
  }
  std::stable_sort(axis.phases, axis.phases + stride,
                   [](Axis const& a, Axis const& b) { return a.taps > b.taps; });
  return share_windows(axis);
}

inline Sm90Axis sm90_rows(Problem const& p) {
  Shape const& s = p.shape;
  if (p.pass != Pass::dgrad) return sm90_axis(p.rows);
  return sm90_axis(s.H, s.P, s.R, s.stride_h, s.pad_h, s.dilation_h);
}

inline Sm90Axis sm90_columns(Problem const& p) {
  Shape const& s = p.shape;
  if (p.pass != Pass::dgrad) return sm90_axis(p.columns);
  return sm90_axis(s.W, s.Q, s.S, s.stride_w, s.pad_w, s.dilation_w);
}

// Whether TMA can walk along it.
inline bool fits_im2col(Sm90Axis const& axis) {
  if (axis.phases[0].pixels == 0) return false;
  int furthest = 0;
  for (int i = 0; i < axis.count; ++i) {
    int const taps = axis.phases[i].taps;
    if (taps > 0) furthest = std::max({furthest, axis.offset(i, 0), axis.offset(i, taps - 1)});
  }
  return axis.lower >= -128 && axis.lower <= 127 && axis.upper >= -128 && axis.upper <= 127 &&
         furthest <= 255 && axis.phases[0].stride <= SM90_STRIDE;
}

// Whether the kernels of conv_sm90.cuh take a pass (with all phases) whose operands are aligned.
inline bool fits_sm90(Problem const& p) {
  Shape const& s = p.shape;
  bool const sums_channels = p.pass != Pass::wgrad;
  if (s.groups > 1 && sums_channels && p.depth() % 64 != 0) return false;
  if (s.C % 8 != 0 || (s.K % 8 != 0 && (p.pass != Pass::fprop || s.groups > 1))) return false;
  if (p.pass == Pass::dgrad && std::max(s.stride_h, s.stride_w) > SM90_STRIDE) return false;
  constexpr int64_t MOST = std::numeric_limits<int32_t>::max() - 64;
  if (s.N * s.P * s.Q > MOST || s.N * s.P * s.Q == 0) return false;
  return fits_im2col(sm90_rows(p)) && fits_im2col(sm90_columns(p));
}

// Blocks of 64 channels of one tap.
inline int sm90_blocks(Problem const& p) {
  return static_cast<int>((p.depth() + 63) / 64);
}

// The product as it is computed: taps of whole blocks, all phases as long as the longest and with as
// many taps as the one with most; a matrix for each phase and group.
inline gemm::Problem sm90_product(Problem const& p, Sm90Axis const& rows, Sm90Axis const& columns) {
  gemm::Problem g = p.gemm;
  g.batch = int64_t{rows.count} * columns.count * p.shape.groups;
  int64_t const taps = int64_t{rows.phases[0].taps} * columns.phases[0].taps;
  int64_t const filter = taps * sm90_blocks(p) * 64;
  if (p.pass == Pass::wgrad) {
    g.N = filter;
  } else {
    g.M = p.shape.N * rows.windows * columns.windows;
    g.K = filter;
  }
  return g;
}

inline gemm::Problem sm90_product(Problem const& p) {
  return sm90_product(p, sm90_rows(p), sm90_columns(p));
}

// Whether D is no wider than a narrow tile.
inline bool is_narrow(Problem const& p) {
  return sm90_product(p).N <= 64;
}

inline int64_t sm90_tiles(Problem const& p, Tile tile) {
  gemm::Problem const g = sm90_product(p);
  if (tile == Tile::large) return g.batch * gemm::count_tiles<256, 256>(g) * 2;  // clusters of 2
  return g.batch * (is_narrow(p) ? gemm::count_tiles<128, 64>(g) : gemm::count_tiles<128, 128>(g));
}

// Whether wide tiles reach little further past the edges of D than the others.
inline bool suits_wide(Problem const& p) {
  return 20 * sm90_tiles(p, Tile::large) <= 11 * sm90_tiles(p, Tile::small);
}

}  // namespace pynn::conv
