// walk.h — which way a copy goes through two arrays of one shape and any strides.
//
//   Axes of length 1 are dropped, and the order of the others is free, since each element is copied
//   by itself: y's strides fall from the first axis to the last, none is negative, and neighbours
//   that are one in both arrays are one. Most copies end with one axis to three:
//
//     a (R, C) as it is                  (R C)          strides of x (1)         of y (1)
//     columns 2 .. 5 of it               (R, 4)                      (C, 1)           (4, 1)
//     its transpose                      (C, R)                      (1, C)           (R, 1)
//     (N, H, W, C) to (N, C, H, W)       (N, C, H W)                 (H W C, 1, C)    (C H W, H W, 1)

#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "common/array.h"
#include "common/broadcast.cuh"

namespace pynn::copy {

struct Axis {
  int64_t length;
  int64_t x;  // strides
  int64_t y;
};

struct Walk {
  uint8_t const* x = nullptr;
  uint8_t* y = nullptr;
  int ndim = 0;
  Axis axes[MAX_NDIM] = {};

  Axis const& last() const { return axes[ndim - 1]; }
  Axis const* begin() const { return axes; }
  Axis const* end() const { return axes + ndim; }

  int64_t size() const {
    int64_t n = 1;
    for (Axis const& axis : *this) n *= axis.length;
    return n;
  }

  void drop(int d) {
    std::copy(axes + d + 1, axes + ndim, axes + d);
    --ndim;
  }
};

// Strides in bytes.
inline Walk plan_walk(Strided const& x, StridedOut const& y, int64_t item) {
  Walk walk;
  walk.x = x.data<uint8_t>();
  walk.y = y.data<uint8_t>();
  for (int d = 0; d < x.ndim; ++d) {
    Axis axis{x.dims[d], x.strides[d], y.strides[d]};
    if (axis.length == 1) continue;
    if (axis.y < 0) {
      walk.x += (axis.length - 1) * axis.x;
      walk.y += (axis.length - 1) * axis.y;
      axis.x = -axis.x;
      axis.y = -axis.y;
    }
    walk.axes[walk.ndim++] = axis;
  }
  std::stable_sort(walk.axes, walk.axes + walk.ndim,
                   [](Axis const& a, Axis const& b) { return a.y > b.y; });
  for (int d = walk.ndim - 1; d > 0; --d) {
    Axis const inner = walk.axes[d];
    Axis& outer = walk.axes[d - 1];
    if (outer.x != inner.length * inner.x || outer.y != inner.length * inner.y) continue;
    outer = {outer.length * inner.length, inner.x, inner.y};
    walk.drop(d);
  }
  if (walk.ndim == 0) walk.axes[walk.ndim++] = {1, item, item};
  return walk;
}

// What a kernel needs of a walk's axes; strides in units of its own.
struct Path {
  int ndim;
  Divisor lengths[MAX_NDIM];
  int64_t x[MAX_NDIM];
  int64_t y[MAX_NDIM];
};

inline Path plan_path(Walk const& walk, int64_t unit) {
  Path path{};
  path.ndim = walk.ndim;
  for (int d = 0; d < walk.ndim; ++d) {
    path.lengths[d] = Divisor(static_cast<uint32_t>(walk.axes[d].length));
    path.x[d] = walk.axes[d].x / unit;
    path.y[d] = walk.axes[d].y / unit;
  }
  return path;
}

struct Step {
  int64_t x = 0;
  int64_t y = 0;
};

// Where element i of the path lies, counted along the last axis first.
__device__ inline Step find_step(Path const& path, uint32_t i) {
  Step step;
  for (int d = path.ndim - 1; d > 0; --d) {
    uint32_t const outer = path.lengths[d].divide(i);
    int64_t const along = i - outer * path.lengths[d].value;
    step.x += along * path.x[d];
    step.y += along * path.y[d];
    i = outer;
  }
  step.x += i * path.x[0];
  step.y += i * path.y[0];
  return step;
}

// Calls run(walk) for the walk, or, where count(walk) is past what 31 bits number, for parts of it,
// cut along its longest axis.
template <typename Count, typename Run>
void in_parts(Walk const& walk, Count const& count, Run const& run) {
  constexpr int64_t MOST = (int64_t{1} << 31) - 1;
  if (count(walk) <= MOST) return run(walk);
  constexpr int64_t ALIGN = 256;  // keeps the second part's vectors aligned
  Axis const* const longest = std::ranges::max_element(walk, {}, &Axis::length);
  int64_t const half = longest->length / 2;
  int64_t const first = half > ALIGN ? half / ALIGN * ALIGN : half;
  Walk part = walk;
  Axis& cut = part.axes[longest - walk.begin()];
  cut.length = first;
  in_parts(part, count, run);
  part.x += first * cut.x;
  part.y += first * cut.y;
  cut.length = longest->length - first;
  in_parts(part, count, run);
}

}  // namespace pynn::copy
