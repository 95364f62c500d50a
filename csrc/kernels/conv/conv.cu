// conv.cu — the launchers of convolution, its choice of a rung, phases and split-K.
//
//   conv_fprop       y = x * w + bias
//   conv_fprop_moments   the same, and parts of the moments of y's channels (moments.cuh), for a
//                    batch norm: from the tiles as they are finished, a 1x1 among them
//   conv_fprop_act   z = x * w + bias + residual, kept where asked for, and y = f(z)
//   conv_dgrad       dx from dy and w; with a bias (C,), a transposed convolution
//   conv_wgrad       dw from x and dy
//
//   x, dx (N, H, W, C), w, dw (K, R, S, C / groups), y, dy (N, P, Q, K) of one dtype
//   f32 | f16 | bf16, sums in f32, one rounding;  bias, residual and z of it too, or empty
//   padding      above and left of the image; below and right of it, as P and Q want
//
//   workspace    f32, any size. GEMM_K is long and D small in wgrad: it is cut into parts, as many as
//                fill the multiprocessors and as the workspace has room for (parts x size of D), and
//                a second launch adds them in order: the same bits in every run. fprop and dgrad of
//                small images do the same, without groups or stride. Depthwise wgrad always has two
//                passes, and without room for a part is left to simt.
//   variant      0 lets choose() decide, and depthwise.cu take groups = C = K; a rung's number, or one
//                of its tiles', is preferred to the choice, and passed over only where the arrays do
//                not fit it (gemm/variants.h)
//   tf32         f32 operands may be rounded to tf32 for the tensor cores
//
//   bytes, FLOPs: conv.cuh

#include <algorithm>
#include <cstdint>
#include <limits>

#include "common/array.h"
#include "common/check.h"
#include "common/chip.h"
#include "common/export.h"
#include "common/vec.cuh"

#include "kernels/conv/conv.cuh"
#include "kernels/conv/variants.h"
#include "kernels/conv/windows_sm90.cuh"

namespace pynn::conv {

// ---- the choice

struct Choice {
  Rung rung;
  Tile tile;
  int splits;
};

bool is_half(DType dtype) {
  return dtype == DType::f16 || dtype == DType::bf16;
}

// Whether stages can be filled by chunks of 16 bytes.
bool has_chunks(Problem const& p, DType dtype) {
  return is_half(dtype) ? is_aligned<__half>(p, 8) : is_aligned<float>(p, 4);
}

bool fits_sm80(Problem const& p, DType dtype, bool tf32) {
  return is_half(dtype) || (dtype == DType::f32 && tf32 && has_chunks(p, dtype));
}

// Whether the rung has a large tile for it.
bool has_large(Problem const& p, Rung rung) {
  if (rung == Rung::simt) return p.moments == nullptr;
  return has_chunks(p, p.gemm.epilogue.dtype);
}

// Where D is dense, the parts of split-K can be summed as rows of it.
bool may_split(Problem const& p) {
  if (p.pass == Pass::wgrad) return true;
  bool const apart = p.pass == Pass::dgrad && (p.shape.stride_h > 1 || p.shape.stride_w > 1);
  return p.shape.groups == 1 && !apart;
}

// Pieces of work that fill a multiprocessor each.
int64_t tiles_of(Problem const& p, Rung rung, Tile tile) {
  if (rung == Rung::sm90) return sm90_tiles(p, tile);
  gemm::Problem const& g = p.gemm;
  return g.batch *
         (tile == Tile::large ? gemm::count_tiles<128, 128>(g) : gemm::count_tiles<64, 64>(g));
}

// The tile: the large one as soon as there is one for every multiprocessor, where it suits.
Choice choose_tile(Problem const& p, Rung rung, int64_t variant, int64_t room) {
  int const sms = chip().sms;
  bool const suits = rung != Rung::sm90 || suits_wide(p);
  bool const wave = tiles_of(p, rung, Tile::large) >= sms && suits;
  bool const large = has_large(p, rung) && (variant % 10 == 0 ? wave : variant % 10 == 1);
  Choice choice{rung, large ? Tile::large : Tile::small, 1};
  if (may_split(p)) {
    choice.splits = gemm::choose_splits(p.gemm, tiles_of(p, rung, choice.tile), room, sms);
  }
  return choice;
}

// Whether sm90 pays: its stages, of 64 channels, hold zeros to a third at most, and with split-K there
// is work for half of the multiprocessors; else the tiles of sm80 keep more of them busy.
bool pays_sm90(Problem const& p, int64_t room) {
  int64_t const depth = p.depth();
  Choice const choice = choose_tile(p, Rung::sm90, 0, room);
  return 2 * sm90_blocks(p) * 64 <= 3 * depth &&
         2 * tiles_of(p, Rung::sm90, choice.tile) * choice.splits >= chip().sms;
}

// The rung: the highest that the chip has, the operands fit and `variant` allows.
Rung choose_rung(Problem const& p, DType dtype, bool tf32, int64_t variant, int64_t room) {
  int const major = chip().major;
  auto const highest = static_cast<Rung>(variant == 0 ? 3 : variant / 10);
  bool const sm80 = highest >= Rung::sm80 && major >= 8 && fits_sm80(p, dtype, tf32);
  bool const sm90 = highest >= Rung::sm90 && major == 9 && is_half(dtype) &&
                    has_chunks(p, dtype) && fits_sm90(p);
  if (sm90 && (variant != 0 || pays_sm90(p, room))) return Rung::sm90;
  return sm80 ? Rung::sm80 : Rung::simt;
}

void run(cudaStream_t stream, DType dtype, Problem const& p, Choice choice) {
  bool const bf16 = dtype == DType::bf16;
  switch (choice.rung) {
    case Rung::simt:
      return conv_simt(stream, dtype, p, choice.tile);
    case Rung::sm80:
      if (!is_half(dtype)) return conv_sm80_tf32(stream, p, choice.tile);
      if (!has_chunks(p, dtype)) return conv_sm80_elements(stream, dtype, p);
      return bf16 ? conv_sm80_bf16(stream, p, choice.tile) : conv_sm80_f16(stream, p, choice.tile);
    case Rung::sm90:
      return bf16 ? conv_sm90_bf16(stream, p, choice.tile) : conv_sm90_f16(stream, p, choice.tile);
  }
}

// ---- launchers

struct Arguments {
  char const* op;
  Array x;
  Array w;
  Array y;
  Out workspace;
  Pair stride;
  Pair padding;
  Pair dilation;
  int64_t variant;
  bool tf32;
};

// One axis: every pixel that a tap of a window reads, in the padding too, has an index of 31 bits.
void check_axis(Arguments const& a, int64_t pixels, int64_t windows, int64_t taps, int64_t stride,
                int64_t pad, int64_t dilation) {
  constexpr int64_t MOST = 1 << 24;
  expect(taps >= 1 && taps <= MOST, a.op, "w", "1 to 2^24 taps", taps);
  expect(stride >= 1 && stride <= MOST, a.op, "stride", "1 to 2^24", stride);
  expect(dilation >= 1 && dilation <= MOST, a.op, "dilation", "1 to 2^24", dilation);
  expect(pad >= 0 && pad <= MOST, a.op, "padding", "0 to 2^24", pad);
  int64_t const reach = std::max(pixels, (windows - 1) * stride + (taps - 1) * dilation) + pad;
  constexpr int64_t LIMIT = int64_t{1} << 30;
  expect(reach <= LIMIT, a.op, "windows", "within 2^30 pixels", reach);
}

Shape read_shape(Arguments const& a) {
  expect_ndim(a.op, "x", a.x, 4);
  expect_ndim(a.op, "w", a.w, 4);
  expect_ndim(a.op, "y", a.y, 4);
  if (!is_half(a.x.dtype) && a.x.dtype != DType::f32) {
    throw TypeError(message(a.op, "x", "float32, float16 or bfloat16", a.x.dtype));
  }
  expect_dtype(a.op, "w", a.w, a.x.dtype);
  expect_dtype(a.op, "y", a.y, a.x.dtype);
  expect_dtype(a.op, "workspace", a.workspace, DType::f32);
  expect(gemm::is_variant(a.variant), a.op, "variant", "one of pynn.kernels.variants(\"conv\")",
         a.variant);

  int64_t const C = a.x.dims[3];
  int64_t const of_group = a.w.dims[3];
  int64_t const K = a.w.dims[0];
  bool const divides = of_group == 0 ? C == 0 : C % of_group == 0 && C > 0;
  expect(divides, a.op, "x", "a multiple of w's " + show(of_group) + " channels", C);
  int64_t const groups = of_group == 0 ? 1 : C / of_group;
  expect(K % groups == 0, a.op, "w", "a multiple of " + show(groups) + " groups", K);
  expect_shape(a.op, "y", a.y, {a.x.dims[0], a.y.dims[1], a.y.dims[2], K});
  check_axis(a, a.x.dims[1], a.y.dims[1], a.w.dims[1], a.stride.h, a.padding.h, a.dilation.h);
  check_axis(a, a.x.dims[2], a.y.dims[2], a.w.dims[2], a.stride.w, a.padding.w, a.dilation.w);
  constexpr int64_t MOST = std::numeric_limits<int32_t>::max();
  expect(std::max({C, K, a.w.dims[1] * a.w.dims[2]}) <= MOST, a.op, "w",
         "fewer than 2^31 channels and taps", a.w.shape());
  expect(a.x.dims[0] <= MOST, a.op, "x", "fewer than 2^31 images", a.x.shape());

  auto const whole = [](int64_t n) { return static_cast<int>(n); };
  Shape s{};
  s.N = a.x.dims[0];
  s.H = whole(a.x.dims[1]);
  s.W = whole(a.x.dims[2]);
  s.C = C;
  s.P = whole(a.y.dims[1]);
  s.Q = whole(a.y.dims[2]);
  s.K = K;
  s.R = whole(a.w.dims[1]);
  s.S = whole(a.w.dims[2]);
  s.groups = whole(groups);
  s.stride_h = whole(a.stride.h);
  s.stride_w = whole(a.stride.w);
  s.pad_h = whole(a.padding.h);
  s.pad_w = whole(a.padding.w);
  s.dilation_h = whole(a.dilation.h);
  s.dilation_w = whole(a.dilation.w);
  return s;
}

// D with rows of `columns` elements, of which a group has N.
gemm::Epilogue epilogue(Array const& d, int64_t columns, int64_t N) {
  gemm::Epilogue e{};
  e.d = d.ptr;
  e.N = N;
  e.ld = columns;
  e.dtype = d.dtype;
  e.aligned = is_vec_aligned(d.ptr) && N % (VEC_BYTES / gemm::bytes_of(d.dtype)) == 0;
  return e;
}

// bias of d's dtype, or of size 0 for none.
void add_bias(Arguments const& a, Array bias, gemm::Epilogue& e) {
  if (bias.size() == 0) return;
  expect_shape(a.op, "bias", bias, {e.ld});
  expect_dtype(a.op, "bias", bias, e.dtype);
  e.bias = bias.ptr;
  e.aligned = e.aligned && is_vec_aligned(bias.ptr);
}

// Of y's shape and dtype, or of size 0 for none.
void const* optional_like(Arguments const& a, char const* what, Array array, gemm::Epilogue& e) {
  if (array.size() == 0) return nullptr;
  expect_like(a.op, what, array, a.y);
  e.aligned = e.aligned && is_vec_aligned(array.ptr);
  return array.ptr;
}

// Whether the images are the operands of a product as they stand.
bool is_product(Shape const& s) {
  return s.taps() == 1 && s.groups == 1 && s.stride_h == 1 && s.stride_w == 1 && s.pad_h == 0 &&
         s.pad_w == 0 && s.P == s.H && s.Q == s.W;
}

void multiply(cudaStream_t stream, Arguments const& a, Problem const& p) {
  gemm::Problem g = p.gemm;
  Shape const& s = p.shape;
  g.A.ld = p.pass == Pass::fprop ? s.C : s.K;
  g.B.ld = s.C;
  gemm::multiply(stream, a.x.dtype, g, a.workspace, a.variant, a.tf32);
}

void run_depthwise(cudaStream_t stream, Arguments const& a, Problem p) {
  if (p.pass != Pass::wgrad) return depthwise(stream, a.x.dtype, p);
  p.gemm.splits = depthwise_wgrad(stream, a.x.dtype, p, a.workspace);
  p.gemm.M *= p.gemm.batch;  // dw as one matrix (K, R S)
  p.gemm.batch = p.gemm.inner = 1;
  gemm::sum_splits(stream, p.gemm, a.workspace.data<float>());
}

void run(cudaStream_t stream, Arguments const& a, Problem p, Rung rung) {
  int64_t const size = p.gemm.batch * p.gemm.M * p.gemm.N;
  if (size == 0) return;
  bool const room = p.pass != Pass::wgrad || a.workspace.size() >= size;
  if (a.variant == 0 && room && fits_depthwise(p)) {
    run_depthwise(stream, a, p);
    if (p.moments != nullptr) row_moments(stream, p);
    return;
  }
  Choice const choice = choose_tile(p, rung, a.variant, a.workspace.size());
  p.gemm.splits = choice.splits;
  if (choice.splits == 1) return run(stream, a.x.dtype, p, choice);
  auto* const parts = a.workspace.data<float>();
  Problem first = p;
  first.gemm = gemm::to_parts(p.gemm, parts);
  first.moments = nullptr;
  run(stream, a.x.dtype, first, choice);
  gemm::sum_splits(stream, p.gemm, parts);
  if (p.moments != nullptr) row_moments(stream, p);
}

// A whole pass; dgrad in phases, where the rung does not take all at once.
void run(cudaStream_t stream, Arguments const& a, Problem const& p) {
  if (is_product(p.shape) && p.moments == nullptr) return multiply(stream, a, p);
  Rung const rung = choose_rung(p, a.x.dtype, a.tf32, a.variant, a.workspace.size());
  if (p.pass != Pass::dgrad || rung == Rung::sm90) return run(stream, a, p, rung);
  for (int i = 0; i < p.shape.stride_h; ++i) {
    for (int j = 0; j < p.shape.stride_w; ++j) run(stream, a, phase(p, i, j), rung);
  }
}

void conv_fprop(cudaStream_t stream, Array x, Array w, Array bias, Out y, Out workspace,
                Pair stride, Pair padding, Pair dilation, int64_t variant, bool tf32) {
  Arguments const a{"conv_fprop", x, w, y, workspace, stride, padding, dilation, variant, tf32};
  Shape const s = read_shape(a);
  gemm::Epilogue e = epilogue(y, s.K, s.group_K());
  add_bias(a, bias, e);
  Problem const p = problem(Pass::fprop, s, x.ptr, w.ptr, e);
  run(stream, a, p);
}
PYNN_EXPORT(
    conv_fprop,
    "(x, w, bias, y, workspace, stride, padding, dilation, variant, tf32)  y = x * w + bias");

void conv_fprop_moments(cudaStream_t stream, Array x, Array w, Array bias, Out y, Out parts,
                        Out workspace, Pair stride, Pair padding, Pair dilation, int64_t variant,
                        bool tf32) {
  Arguments const a{"conv_fprop_moments", x,       w,        y,       workspace,
                    stride,               padding, dilation, variant, tf32};
  Shape const s = read_shape(a);
  gemm::Epilogue e = epilogue(y, s.K, s.group_K());
  add_bias(a, bias, e);
  Problem p = problem(Pass::fprop, s, x.ptr, w.ptr, e);
  expect_dtype(a.op, "parts", parts, DType::f32);
  expect_shape(a.op, "parts", parts, {(p.gemm.M + MOMENTS_ROWS - 1) / MOMENTS_ROWS, s.K, 4});
  p.moments = parts.data<StoredMoments>();
  run(stream, a, p);
}
PYNN_EXPORT(conv_fprop_moments,
            "(x, w, bias, y, parts, workspace, stride, padding, dilation, variant, tf32)  "
            "y = x * w + bias, and the moments of its channels in parts (ceil(N P Q / 64), K, 4)");

void conv_fprop_act(cudaStream_t stream, Array x, Array w, Array bias, Array residual, Out z, Out y,
                    Out workspace, Pair stride, Pair padding, Pair dilation, int64_t activation,
                    int64_t variant, bool tf32) {
  Arguments const a{"conv_fprop_act", x, w, y, workspace, stride, padding, dilation, variant, tf32};
  Shape const s = read_shape(a);
  expect(activation >= 0 && activation <= 4, a.op, "activation",
         "0 (none), 1 (relu), 2 (gelu), 3 (gelu_tanh) or 4 (silu)", activation);
  gemm::Epilogue e = epilogue(y, s.K, s.group_K());
  add_bias(a, bias, e);
  e.residual = optional_like(a, "residual", residual, e);
  e.z = const_cast<void*>(optional_like(a, "z", z, e));
  e.activation = static_cast<gemm::Activation>(activation);
  Problem const p = problem(Pass::fprop, s, x.ptr, w.ptr, e);
  run(stream, a, p);
}
PYNN_EXPORT(
    conv_fprop_act,
    "(x, w, bias, residual, z, y, workspace, stride, padding, dilation, activation, variant, "
    "tf32)  z = x * w + bias + residual, y = f(z)");

void conv_dgrad(cudaStream_t stream, Array dy, Array w, Array bias, Out dx, Out workspace,
                Pair stride, Pair padding, Pair dilation, int64_t variant, bool tf32) {
  Arguments const a{"conv_dgrad", dx, w, dy, workspace, stride, padding, dilation, variant, tf32};
  Shape const s = read_shape(a);
  gemm::Epilogue e = epilogue(dx, s.C, s.group_C());
  add_bias(a, bias, e);
  Problem const p = problem(Pass::dgrad, s, dy.ptr, w.ptr, e);
  run(stream, a, p);
}
PYNN_EXPORT(conv_dgrad,
            "(dy, w, bias, dx, workspace, stride, padding, dilation, variant, tf32)  "
            "dx = the gradient of conv_fprop, + bias");

void conv_wgrad(cudaStream_t stream, Array x, Array dy, Out dw, Out workspace, Pair stride,
                Pair padding, Pair dilation, int64_t variant, bool tf32) {
  Arguments const a{"conv_wgrad", x, dw, dy, workspace, stride, padding, dilation, variant, tf32};
  Shape const s = read_shape(a);
  int64_t const filter = s.taps() * s.group_C();
  Problem const p = problem(Pass::wgrad, s, dy.ptr, x.ptr, epilogue(dw, filter, filter));
  run(stream, a, p);
}
PYNN_EXPORT(conv_wgrad,
            "(x, dy, dw, workspace, stride, padding, dilation, variant, tf32)  "
            "dw = the gradient of conv_fprop");

}  // namespace pynn::conv
