// conv.cuh — convolution as a matrix product whose one operand is gathered from an image.
//
//   x (N, H, W, C)  w (K, R, S, C / groups)  y (N, P, Q, K), all dense;  c, k of one group below
//   y[n, p, q, k] = sum over r, s, c of  x[n, h, w, c] w[k, r, s, c],
//   h = p stride_h + r dilation_h - pad_h,  w = q stride_w + s dilation_w - pad_w
//
//   pass    D (GEMM_M, GEMM_N)          A                    B                      as a product
//   fprop   y  (N P Q,   K)       =     x windows (.., RSC)  w (K, RSC)             NT
//   dgrad   dx (N H W,   C)       =     dy windows (.., RSK) w (RSK, C), by taps    NN
//   wgrad   dw (K,       R S C)   =     dy (N P Q, K)        x windows (NPQ, RSC)   TN
//
//   The operand of windows is never written to memory: a row of it is one window, and its element
//   (tap, channel) lies in the image, or in the padding and is 0.
//
//     window o, tap i of an axis     pixel = o stride + start + i step       channels ──►
//                                                                          ┌──────┬──────┬──────┐
//     fprop, wgrad   as above: start = -pad, step = dilation     windows   │tap 0 │tap 1 │ ..   │
//     dgrad          pixel h of dx gets dy[p] w[r] where         (m, or k  │ c0.. │ c0.. │      │
//                    p stride + r dilation = h + pad               of wgrad)└──────┴──────┴──────┘
//
//   dgrad with a stride: the pixels h = a, a + s, a + 2s ... of one residue a (a phase) are all
//   reached by the same taps, those with r dilation = a + pad (mod s), and
//     h = a + o s,  r = first + i apart  gives  p = o + start + i step,  step = -apart dilation / s
//   So each of the stride_h x stride_w phases is a convolution without stride with a part of the
//   taps, D's rows being every s-th pixel: no product with a zero is computed. A phase that no tap
//   reaches has GEMM_K = 0, and its pixels are written as 0.
//
//   groups are the batch of the product: work.z is the group (gemm/gemm.cuh)
//
//   the rungs
//     conv_simt.cuh    one FMA at a time: every shape, dtype and alignment
//     conv_sm80.cuh    mma.sync; windows gathered by cp.async, zeros filled in; in 16 bits element
//                      by element where C or K is off 8
//     conv_sm90.cuh    wgmma; windows gathered by TMA's im2col mode
//     depthwise.cu     groups = C: bound by memory, no product of matrices
//     conv.cu          launchers, choose(); 1x1 without stride or padding is a product as it stands
//
//   FLOPs  2 N P Q K R S C / groups in each pass      bytes  sizeof(T) (x + w + y) at best
//
//   Chetlur et al. 2014, "cuDNN: Efficient primitives for deep learning", arXiv:1410.0759

#pragma once

#include <cstdint>
#include <numeric>

#include "common/launch.h"
#include "common/moments.cuh"

#include "kernels/gemm/gemm.cuh"

namespace pynn::conv {

using gemm::Major;
using gemm::Work;

enum class Pass { fprop, dgrad, wgrad };

template <Pass PASS>
inline constexpr Major A_MAJOR = PASS == Pass::wgrad ? Major::MN : Major::K;
template <Pass PASS>
inline constexpr Major B_MAJOR = PASS == Pass::fprop ? Major::K : Major::MN;

// A convolution; C and K of all groups. All below 2^31, and a tap's index in a filter.
struct Shape {
  int64_t N;
  int H, W;
  int64_t C;
  int P, Q;
  int64_t K;
  int R, S;
  int groups;
  int stride_h, stride_w;
  int pad_h, pad_w;  // above and left
  int dilation_h, dilation_w;

  __host__ __device__ int64_t group_C() const { return C / groups; }
  __host__ __device__ int64_t group_K() const { return K / groups; }
  __host__ __device__ int taps() const { return R * S; }
};

// Windows along one axis of the image that is gathered from.
struct Axis {
  int windows;
  int pixels;
  int taps;
  int stride;  // tap i of window o reads pixel  o stride + start + i step
  int start;
  int step;
  int filter_first;  // and is w's tap  filter_first + i filter_step
  int filter_step;
  int out_first;  // window o belongs to D's pixel  out_first + o out_step
  int out_step;
};

inline constexpr int MOMENTS_ROWS = 64;  // of y, that a part of its moments is of

struct Problem {
  Pass pass;
  Shape shape;
  Axis rows;
  Axis columns;
  int64_t channels;    // of the gathered image: C, in dgrad K
  gemm::Problem gemm;  // M, N, K and operands of one group; ld of windows and of taps is unused
  StoredMoments* moments;  // of y's channels (moments.cuh); null: not wanted

  // In one group.
  __host__ __device__ int64_t depth() const { return channels / shape.groups; }
};

// ---- host: one problem, or one for each phase of a strided dgrad

inline Axis window_axis(int windows, int pixels, int taps, int stride, int pad, int dilation) {
  return {windows, pixels, taps, stride, -pad, dilation, 0, 1, 0, 1};
}

// The pixels of dx (`length` along this axis) in phase a, gathering from `outputs` of dy.
inline Axis phase_axis(int length, int outputs, int taps, int stride, int pad, int dilation,
                       int a) {
  int const apart = stride / std::gcd(stride, dilation);
  int first = 0;
  while (first < taps && (a + pad - first * dilation) % stride != 0) ++first;
  int const own = first < taps ? (taps - first + apart - 1) / apart : 0;
  int const windows = a < length ? (length - a + stride - 1) / stride : 0;
  return {windows,
          outputs,
          own,
          1,
          own > 0 ? (a + pad - first * dilation) / stride : 0,
          -(apart * dilation / stride),
          first,
          apart,
          a,
          stride};
}

// What the passes have in common. Pointers: A and B as in the table above, D in the epilogue.
inline Problem problem(Pass pass, Shape const& s, void const* A, void const* B,
                       gemm::Epilogue const& epilogue) {
  Problem p{};
  p.pass = pass;
  p.shape = s;
  p.channels = pass == Pass::dgrad ? s.K : s.C;
  p.rows = window_axis(s.P, s.H, s.R, s.stride_h, s.pad_h, s.dilation_h);
  p.columns = window_axis(s.Q, s.W, s.S, s.stride_w, s.pad_w, s.dilation_w);

  int64_t const filter = s.taps() * s.group_C();  // elements of w for one k
  gemm::Problem& g = p.gemm;
  g.batch = g.inner = s.groups;
  g.splits = 1;
  g.epilogue = epilogue;
  g.A = {A, Major::K, 0, 0, 0};
  g.B = {B, Major::MN, 0, 0, 0};
  switch (pass) {
    case Pass::fprop:
      g.M = s.N * s.P * s.Q;
      g.N = s.group_K();
      g.K = filter;
      g.A.inner_step = s.group_C();
      g.B = {B, Major::K, filter, 0, s.group_K() * filter};
      break;
    case Pass::dgrad:
      g.M = s.N * s.H * s.W;
      g.N = s.group_C();
      g.K = s.taps() * s.group_K();
      g.A.inner_step = s.group_K();
      g.B.inner_step = s.group_K() * filter;
      break;
    case Pass::wgrad:
      g.M = s.group_K();
      g.N = filter;
      g.K = s.N * s.P * s.Q;
      g.A = {A, Major::MN, s.K, 0, s.group_K()};
      g.B.inner_step = s.group_C();
      break;
  }
  return p;
}

// Phase (a, b) of a dgrad.
inline Problem phase(Problem p, int a, int b) {
  Shape const& s = p.shape;
  p.rows = phase_axis(s.H, s.P, s.R, s.stride_h, s.pad_h, s.dilation_h, a);
  p.columns = phase_axis(s.W, s.Q, s.S, s.stride_w, s.pad_w, s.dilation_w, b);
  p.gemm.M = s.N * p.rows.windows * p.columns.windows;
  p.gemm.K = int64_t{p.rows.taps} * p.columns.taps * s.group_K();
  return p;
}

// ---- device: indices of three digits, which advance without a division

// An index as (high, mid, low), of which mid and low have a radix:  (n, p, q)  or  (tap, tap, c).
struct Digits {
  int high;
  int mid;
  int low;
};

struct Radix {
  int mid;
  int low;

  __device__ Digits split(int64_t index) const {
    int64_t const upper = index / low;
    return {static_cast<int>(upper / mid), static_cast<int>(upper % mid),
            static_cast<int>(index % low)};
  }
  __device__ Digits add(Digits a, Digits b) const {
    Digits sum{a.high + b.high, a.mid + b.mid, a.low + b.low};
    if (sum.low >= low) {
      sum.low -= low;
      ++sum.mid;
    }
    if (sum.mid >= mid) {
      sum.mid -= mid;
      ++sum.high;
    }
    return sum;
  }
};

// The row of y, seen as (N P Q, K), or of dx, (N H W, C), that window m makes.
__device__ inline int64_t row_of(Problem const& p, Digits const& m) {
  bool const dgrad = p.pass == Pass::dgrad;
  int64_t const h = p.rows.out_first + int64_t{m.mid} * p.rows.out_step;
  int64_t const w = p.columns.out_first + int64_t{m.low} * p.columns.out_step;
  return (int64_t{m.high} * (dgrad ? p.shape.H : p.shape.P) + h) * (dgrad ? p.shape.W : p.shape.Q) +
         w;
}

}  // namespace pynn::conv
