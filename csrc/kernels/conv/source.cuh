// source.cuh — what a thread asks for of the operand that is gathered: where each of its pieces lies
// in the image, or that it is padding. The mainloops of gemm/ take these as they take a dense operand.
//
//   source        operand                    line of a tile      along it         digits, advanced by BK
//   WindowSource  A of fprop and dgrad       window m            tap, channel     (tap, tap, channel): 1
//   FilterSource  B of dgrad                 tap, k of dy        channel of dx    (tap, tap, k): each line
//   PixelSource   B of wgrad                 window (k of it)    tap, channel     (n, p, q): each line
//
//   LOADING says which pieces of a tile are this thread's: LOADS of them, at along() of the lines
//   line(), line() + STEP ...; and BK.
//   A piece lies within one tap, so channels are a multiple of its length; then k needs no padding
//   between taps. Indices are split by division once for each tile; a step adds digits with carries.

#pragma once

#include <climits>
#include <cstdint>

#include "kernels/conv/conv.cuh"
#include "kernels/conv/moments.cuh"

namespace pynn::conv {

using gemm::Piece;

// The digits (row tap, column tap, channel) of an index into k or n.
__device__ inline Radix tap_radix(int column_taps, int64_t channels) {
  return {max(column_taps, 1), max(static_cast<int>(channels), 1)};
}

// The digits (n, o, o) of a window.
__device__ inline Radix window_radix(Problem const& p) {
  return {p.rows.windows, p.columns.windows};
}

template <typename T, class LOADING>
struct WindowSource {
  using Loading = LOADING;
  static constexpr Major major = Major::K;
  Problem const& p;
  T const* begin[LOADING::LOADS];  // of each window, which may lie before the image
  int top[LOADING::LOADS];
  int left[LOADING::LOADS];
  Radix radix;
  Digits at_tap;
  Digits step;

  __device__ WindowSource(Problem const& problem, Work const& work)
      : p(problem),
        radix(tap_radix(p.columns.taps, p.depth())),
        at_tap(radix.split(work.k0 + LOADING::along())),
        step(radix.split(LOADING::BK)) {
    constexpr int NOWHERE = INT_MIN / 2;  // no tap leads from there into an image
    T const* const image = static_cast<T const*>(p.gemm.A.ptr) + work.z * p.gemm.A.inner_step;
    Radix const windows = window_radix(p);
    Digits const apart = windows.split(LOADING::STEP);
    int64_t const first = work.m0 + LOADING::line();
    Digits m = windows.split(first);
#pragma unroll
    for (int l = 0; l < LOADING::LOADS; ++l) {
      top[l] = m.mid * p.rows.stride + p.rows.start;
      left[l] = m.low * p.columns.stride + p.columns.start;
      begin[l] = image + ((int64_t{m.high} * p.rows.pixels + top[l]) * p.columns.pixels + left[l]) *
                             p.channels;
      if (first + l * LOADING::STEP >= p.gemm.M) top[l] = NOWHERE;
      m = windows.add(m, apart);
    }
  }

  __device__ Piece<T> at(int l, int ks) const {
    int const down = at_tap.high * p.rows.step;
    int const right = at_tap.mid * p.columns.step;
    bool const inside =
        static_cast<unsigned>(top[l] + down) < static_cast<unsigned>(p.rows.pixels) &&
        static_cast<unsigned>(left[l] + right) < static_cast<unsigned>(p.columns.pixels);
    int64_t const tap = (int64_t{down} * p.columns.pixels + right) * p.channels + at_tap.low;
    return {begin[l] + tap, inside && LOADING::along() < ks};
  }

  __device__ void advance() { at_tap = radix.add(at_tap, step); }
};

template <typename T, class LOADING>
struct FilterSource {
  using Loading = LOADING;
  static constexpr Major major = Major::MN;
  Problem const& p;
  T const* column;  // channel of dx of this thread, in the group's filters
  Radix radix;
  Digits at_k[LOADING::LOADS];
  Digits step;
  bool exists;

  __device__ FilterSource(Problem const& problem, Work const& work)
      : p(problem),
        column(static_cast<T const*>(p.gemm.B.ptr) + work.z * p.gemm.B.inner_step + work.n0 +
               LOADING::along()),
        radix(tap_radix(p.columns.taps, p.depth())),
        step(radix.split(LOADING::BK)),
        exists(work.n0 + LOADING::along() < p.gemm.N) {
#pragma unroll
    for (int l = 0; l < LOADING::LOADS; ++l) {
      at_k[l] = radix.split(work.k0 + LOADING::line() + l * LOADING::STEP);
    }
  }

  __device__ Piece<T> at(int l, int ks) const {
    int const r = p.rows.filter_first + at_k[l].high * p.rows.filter_step;
    int const s = p.columns.filter_first + at_k[l].mid * p.columns.filter_step;
    int64_t const tap = (int64_t{at_k[l].low} * p.shape.R + r) * p.shape.S + s;
    return {column + tap * p.gemm.N, exists && LOADING::line() + l * LOADING::STEP < ks};
  }

  __device__ void advance() {
#pragma unroll
    for (int l = 0; l < LOADING::LOADS; ++l) at_k[l] = radix.add(at_k[l], step);
  }
};

template <typename T, class LOADING>
struct PixelSource {
  using Loading = LOADING;
  static constexpr Major major = Major::MN;
  Problem const& p;
  T const* image;  // of the group, at this thread's channel
  Radix radix;
  Digits at_window[LOADING::LOADS];
  Digits step;
  int top;  // of window 0, at this thread's tap
  int left;
  bool exists;

  __device__ PixelSource(Problem const& problem, Work const& work)
      : p(problem),
        radix(window_radix(p)),
        step(radix.split(LOADING::BK)),
        exists(work.n0 + LOADING::along() < p.gemm.N) {
    Digits const tap = tap_radix(p.columns.taps, p.depth()).split(work.n0 + LOADING::along());
    image = static_cast<T const*>(p.gemm.B.ptr) + work.z * p.gemm.B.inner_step + tap.low;
    top = p.rows.start + tap.high * p.rows.step;
    left = p.columns.start + tap.mid * p.columns.step;
#pragma unroll
    for (int l = 0; l < LOADING::LOADS; ++l) {
      at_window[l] = radix.split(work.k0 + LOADING::line() + l * LOADING::STEP);
    }
  }

  __device__ Piece<T> at(int l, int ks) const {
    int const h = at_window[l].mid * p.rows.stride + top;
    int const w = at_window[l].low * p.columns.stride + left;
    bool const inside = static_cast<unsigned>(h) < static_cast<unsigned>(p.rows.pixels) &&
                        static_cast<unsigned>(w) < static_cast<unsigned>(p.columns.pixels);
    int64_t const pixel = (int64_t{at_window[l].high} * p.rows.pixels + h) * p.columns.pixels + w;
    return {image + pixel * p.channels,
            inside && exists && LOADING::line() + l * LOADING::STEP < ks};
  }

  __device__ void advance() {
#pragma unroll
    for (int l = 0; l < LOADING::LOADS; ++l) at_window[l] = radix.add(at_window[l], step);
  }
};

// Where the sums of a tile go: the epilogue of the group's columns, and for each row of the tile one
// of D, which in dgrad with a stride is a pixel that the phase reaches. `sums` are of what it stores.
template <Pass PASS>
struct Finish {
  Problem const& p;
  gemm::Epilogue epilogue;
  int64_t row;
  int64_t n0;
  int rows;  // of the tile, inside
  bool apart;
  Digits first;
  ColumnSums<4> sums;

  __device__ Finish(Problem const& problem, Work const& work)
      : p(problem),
        epilogue(PASS == Pass::wgrad ? p.gemm.epilogue
                                     : gemm::from_column(p.gemm.epilogue, work.z * p.gemm.N)),
        row(PASS == Pass::wgrad ? work.row : work.row - work.z * p.gemm.M),
        n0(work.n0),
        rows(static_cast<int>(min(p.gemm.M - work.m0, int64_t{INT_MAX}))),
        apart(PASS == Pass::dgrad && (p.rows.out_step > 1 || p.columns.out_step > 1)),
        first(apart ? window_radix(p).split(work.m0) : Digits{}) {}

  // Neighbours of row m of the tile, from its column n on.
  template <int W>
  __device__ void operator()(int m, int n, Vec<float, W> const& v) {
    if (m >= rows) return;
    Vec<float, W> const done =
        gemm::finish(epilogue, apart ? row_of_phase(m) : row + m, n0 + n, v);
    if constexpr (PASS == Pass::fprop) {
      if (p.moments != nullptr) sums.add(done);
    }
  }

  __device__ int64_t row_of_phase(int m) const {
    int const low = first.low + m;
    int const mid = first.mid + low / p.columns.windows;
    int const n = first.high + mid / p.rows.windows;
    return row_of(p, {n, mid % p.rows.windows, low % p.columns.windows});
  }
};

}  // namespace pynn::conv
