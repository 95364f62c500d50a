// gemm.cu — the launchers of the GEMM ladder.
//
//   gemm        D = A B + bias + residual
//   gemm_sums   D = A^T B,  sums = the column sums of A: a weight's gradient and a bias's
//   gemm_act    D = f(A B + bias),  Z = A B + bias where asked for
//   gemm_dact   D = (A B) f'(Z)
//   gemm_fp8    D = s_a s_b A B^T + bias,  amax = max(amax, |D|)
//
//   a, b of one dtype f32 | f16 | bf16 (gemm: f64 too);  d, z, bias of one dtype, a's or f32
//   fp8: a, b u8 in format e4m3 or e5m2 each;  d, bias f32 | f16 | bf16;  s_a, s_b, amax one f32
//   layout 0 NT, 1 NN, 2 TN (gemm.cuh); a and b are matrices, or batches of them with one or two
//   leading axes: of d's length, or 1 where the operand is broadcast
//
//   workspace   f32, any size. Few tiles of D leave multiprocessors idle; a long K is then cut into
//               parts, as many as fill them and as the workspace has room for (parts x size of d),
//               and a second launch adds them in order: the same bits in every run. Stream-K
//               (gemm.cuh) does so with the tiles that leave the last turn half empty.
//   variant     0 lets choose() decide (plan.h); a rung's number, or one of its tiles', is preferred
//               to the choice, and passed over only where the arrays do not fit it.
//   tf32        f32 operands may be rounded to tf32 (10 bits of mantissa) for the tensor cores; else
//               they are three bf16 there, with errors as those of multiply-adds
//
//   bytes  sizeof(T) (MK + NK) + sizeof(D) MN,  with splits 8 MN splits more    FLOPs 2 MNK

#include <algorithm>
#include <cstdint>
#include <limits>

#include "common/array.h"
#include "common/check.h"
#include "common/chip.h"
#include "common/dispatch.h"
#include "common/export.h"
#include "common/launch.h"
#include "common/vec.cuh"

#include "kernels/gemm/gemm.cuh"
#include "kernels/gemm/plan.h"
#include "kernels/gemm/variants.h"

namespace pynn::gemm {

enum class Layout : int64_t { NT, NN, TN };

// ---- the rung

void run(cudaStream_t stream, DType dtype, Problem const& p, Choice choice, bool tf32) {
  bool const bf16 = dtype == DType::bf16;
  switch (choice.rung) {
    case Rung::simt:
      return dtype == DType::u8 ? gemm_simt_fp8(stream, p)
                                : gemm_simt(stream, dtype, p, choice.tile);
    case Rung::sm80:
      if (!is_half(dtype)) {
        return tf32 ? gemm_sm80_tf32(stream, p, choice.tile)
                    : gemm_sm80_f32(stream, p, choice.tile);
      }
      if (!are_aligned(p, dtype)) return gemm_sm80_elements(stream, dtype, p);
      return bf16 ? gemm_sm80_bf16(stream, p, choice.tile) : gemm_sm80_f16(stream, p, choice.tile);
    case Rung::sm90:
      if (dtype == DType::u8) return gemm_sm90_fp8(stream, p, choice.tile);
      if (dtype == DType::f32) return gemm_sm90_tf32(stream, p, choice.tile);
      return bf16 ? gemm_sm90_bf16(stream, p, choice.tile) : gemm_sm90_f16(stream, p, choice.tile);
  }
}

void multiply(cudaStream_t stream, DType dtype, Problem p, Out workspace, int64_t variant,
              bool tf32) {
  if (p.batch * p.M * p.N == 0) return;
  Choice const choice = choose(p, {dtype, tf32, variant, workspace.size()});
  p.splits = choice.splits;
  if (p.epilogue.sums != nullptr && choice.rung == Rung::simt) {
    add_lines(stream, dtype, p);
    p.epilogue.sums = nullptr;
  }
  if (choice.streams) {
    Variant const& v = variant_of(choice.rung, choice.tile);
    p.workers = chip().sms / v.cluster;
    p.parts = workspace.data<float>();
    run(stream, dtype, p, choice, tf32);
    return sum_pieces(stream, p, v.BM * v.cluster, v.BN, LINE_BYTES / bytes_of(dtype));
  }
  if (p.splits == 1) return run(stream, dtype, p, choice, tf32);
  auto* const parts = workspace.data<float>();
  run(stream, dtype, to_parts(p, parts), choice, tf32);
  sum_splits(stream, p, parts);
}

// ---- launchers

struct Arguments {
  char const* op;
  Array a;
  Array b;
  Out d;
  Out workspace;
  int64_t layout;
  int64_t variant;
  bool tf32;
};

// An operand of `outer` x `inner` matrices, each with a step of 0 where it is repeated.
Operand operand(char const* op, char const* what, Array const& array, Array const& d, Major major) {
  int64_t const lines = array.dims[array.ndim - 2];
  int64_t const ld = array.dims[array.ndim - 1];
  Operand result{array.ptr, major, ld, 0, 0};
  int64_t step = lines * ld;
  for (int back = 3; back <= array.ndim; ++back) {
    int64_t const length = array.dims[array.ndim - back];
    int64_t const wanted = d.dims[d.ndim - back];
    expect(length == wanted || length == 1, op, what,
           "leading axes of 1 or as d's, " + show(d.shape()), array.shape());
    if (length > 1) (back == 3 ? result.inner_step : result.outer_step) = step;
    step *= length;
  }
  return result;
}

Problem problem(Arguments const& x) {
  expect(x.layout >= 0 && x.layout <= 2, x.op, "layout", "0 (NT), 1 (NN) or 2 (TN)", x.layout);
  expect(is_variant(x.variant), x.op, "variant", "one of pynn.kernels.variants(\"gemm\")",
         x.variant);
  expect(x.d.ndim >= 2 && x.d.ndim <= 4, x.op, "d", "2 to 4 dimensions", x.d.shape());
  expect_ndim(x.op, "a", x.a, x.d.ndim);
  expect_ndim(x.op, "b", x.b, x.d.ndim);
  expect_dtype(x.op, "b", x.b, x.a.dtype);
  bool const fp8 = x.a.dtype == DType::u8;
  if (fp8 && x.d.dtype != DType::f32 && !is_half(x.d.dtype)) {
    throw TypeError(message(x.op, "d", "float32, float16 or bfloat16", x.d.dtype));
  }
  if (!fp8 && x.d.dtype != DType::f32) expect_dtype(x.op, "d", x.d, x.a.dtype);
  expect_dtype(x.op, "workspace", x.workspace, DType::f32);

  auto const layout = static_cast<Layout>(x.layout);
  int const rows = x.d.ndim - 2;
  int const columns = x.d.ndim - 1;
  bool const a_turned = layout == Layout::TN;
  bool const b_turned = layout == Layout::NT;
  Problem p{};
  p.M = x.a.dims[a_turned ? columns : rows];
  p.K = x.a.dims[a_turned ? rows : columns];
  p.N = x.b.dims[b_turned ? rows : columns];
  expect(x.b.dims[b_turned ? columns : rows] == p.K, x.op, "b", "an inner length of " + show(p.K),
         x.b.shape());
  expect(x.d.dims[rows] == p.M && x.d.dims[columns] == p.N, x.op, "d",
         "rows and columns " + show(p.M) + " and " + show(p.N), x.d.shape());
  p.A = operand(x.op, "a", x.a, x.d, a_turned ? Major::MN : Major::K);
  p.B = operand(x.op, "b", x.b, x.d, b_turned ? Major::K : Major::MN);
  p.inner = x.d.ndim >= 3 ? x.d.dims[x.d.ndim - 3] : 1;
  p.batch = p.inner * (x.d.ndim == 4 ? x.d.dims[0] : 1);
  p.splits = 1;
  p.epilogue.d = x.d.ptr;
  p.epilogue.N = p.epilogue.ld = p.N;
  p.epilogue.dtype = x.d.dtype;
  p.epilogue.aligned = is_vec_aligned(x.d.ptr) && p.N % (VEC_BYTES / bytes_of(x.d.dtype)) == 0;
  return p;
}

// bias, z and residual: of d's dtype, or of size 0 for none.
void add_bias(Arguments const& x, Array bias, Problem& p) {
  if (bias.size() == 0) return;
  expect_shape(x.op, "bias", bias, {p.N});
  expect_dtype(x.op, "bias", bias, x.d.dtype);
  p.epilogue.bias = bias.ptr;
  p.epilogue.aligned = p.epilogue.aligned && is_vec_aligned(bias.ptr);
}

void add_z(Arguments const& x, Array z, Problem& p) {
  if (z.size() == 0) return;
  expect_like(x.op, "z", z, x.d);
  p.epilogue.z = z.ptr;
  p.epilogue.aligned = p.epilogue.aligned && is_vec_aligned(z.ptr);
}

void add_residual(Arguments const& x, Array residual, Problem& p) {
  if (residual.size() == 0) return;
  expect_like(x.op, "residual", residual, x.d);
  p.epilogue.residual = residual.ptr;
  p.epilogue.aligned = p.epilogue.aligned && is_vec_aligned(residual.ptr);
}

void add_activation(Arguments const& x, int64_t activation, Problem& p) {
  expect(activation >= 0 && activation <= 4, x.op, "activation",
         "0 (none), 1 (relu), 2 (gelu), 3 (gelu_tanh) or 4 (silu)", activation);
  if (x.a.dtype == DType::f64) {
    throw TypeError(message(x.op, "a", "float32, float16 or bfloat16", x.a.dtype));
  }
  p.epilogue.activation = static_cast<Activation>(activation);
}

void run(cudaStream_t stream, Arguments const& x, Problem const& p) {
  multiply(stream, x.a.dtype, p, x.workspace, x.variant, x.tf32);
}

void gemm(cudaStream_t stream, Array a, Array b, Array bias, Array residual, Out d, Out workspace,
          int64_t layout, int64_t variant, bool tf32) {
  Arguments const x{"gemm", a, b, d, workspace, layout, variant, tf32};
  Problem p = problem(x);
  add_bias(x, bias, p);
  add_residual(x, residual, p);
  run(stream, x, p);
}
PYNN_EXPORT(gemm,
            "(a, b, bias, residual, d, workspace, layout, variant, tf32)  "
            "d = a b + bias + residual");

void gemm_sums(cudaStream_t stream, Array a, Array b, Out d, Out sums, Out workspace,
               int64_t variant, bool tf32) {
  Arguments const x{"gemm_sums", a, b, d, workspace, int64_t{2}, variant, tf32};
  if (a.dtype == DType::f64) {
    throw TypeError(message(x.op, "a", "float32, float16 or bfloat16", a.dtype));
  }
  Problem p = problem(x);
  int64_t const rows = p.batch * p.M;
  expect(sums.size() == rows, x.op, "sums", "a size of " + show(rows), sums.shape());
  expect_dtype(x.op, "sums", sums, d.dtype);
  p.epilogue.sums = sums.ptr;
  if (d.size() == 0 && rows > 0) return add_lines(stream, a.dtype, p);
  run(stream, x, p);
}
PYNN_EXPORT(gemm_sums,
            "(a, b, d, sums, workspace, variant, tf32)  d = a^T b, sums = the column sums of a");

void gemm_act(cudaStream_t stream, Array a, Array b, Array bias, Out z, Out d, Out workspace,
              int64_t layout, int64_t activation, int64_t variant, bool tf32) {
  Arguments const x{"gemm_act", a, b, d, workspace, layout, variant, tf32};
  Problem p = problem(x);
  add_bias(x, bias, p);
  add_z(x, z, p);
  add_activation(x, activation, p);
  run(stream, x, p);
}
PYNN_EXPORT(gemm_act,
            "(a, b, bias, z, d, workspace, layout, activation, variant, tf32)  "
            "z = a b + bias, d = f(z)");

void gemm_dact(cudaStream_t stream, Array a, Array b, Array z, Out d, Out workspace, int64_t layout,
               int64_t activation, int64_t variant, bool tf32) {
  Arguments const x{"gemm_dact", a, b, d, workspace, layout, variant, tf32};
  Problem p = problem(x);
  expect_like(x.op, "z", z, d);
  add_z(x, z, p);
  add_activation(x, activation, p);
  p.epilogue.derivative = true;
  run(stream, x, p);
}
PYNN_EXPORT(gemm_dact,
            "(a, b, z, d, workspace, layout, activation, variant, tf32)  d = (a b) f'(z)");

// amax: f32 of size 1, or of size 0 for none; what it holds is raised.
void gemm_fp8(cudaStream_t stream, Array a, Array b, Array bias, Array scale_a, Array scale_b,
              Out d, Out amax, Out workspace, Pair formats, int64_t variant) {
  Arguments const x{"gemm_fp8", a, b, d, workspace, int64_t{0}, variant, false};
  expect_dtype(x.op, "a", a, DType::u8);
  auto const known = [](int64_t format) { return format == 0 || format == 1; };
  expect(known(formats.h) && known(formats.w), x.op, "formats",
         "0 (e4m3) or 1 (e5m2) of a and of b", show(formats.h) + " and " + show(formats.w));
  Problem p = problem(x);
  add_bias(x, bias, p);
  for (auto const& [name, scale] : {std::pair{"scale_a", scale_a}, {"scale_b", scale_b}}) {
    expect(scale.size() == 1, x.op, name, "a size of 1", scale.shape());
    expect_dtype(x.op, name, scale, DType::f32);
  }
  expect(amax.size() <= 1, x.op, "amax", "a size of 1, or 0 for none", amax.shape());
  expect_dtype(x.op, "amax", amax, DType::f32);
  p.formats = {static_cast<Fp8>(formats.h), static_cast<Fp8>(formats.w)};
  p.epilogue.scale_a = scale_a.data<float>();
  p.epilogue.scale_b = scale_b.data<float>();
  if (amax.size() == 1) p.epilogue.amax = static_cast<unsigned*>(amax.ptr);
  run(stream, x, p);
}
PYNN_EXPORT(gemm_fp8,
            "(a, b, bias, scale_a, scale_b, d, amax, workspace, formats, variant)  "
            "d = scale_a scale_b a b^T + bias, amax = max(amax, |d|)");

#ifdef PYNN_SIM

// The model's opinion (plan.h), where the host writes what it is given: in the simulator. A row for
// each variant that fits, in the order of VARIANTS, the others 0; stream-K is 0 splits.
void gemm_model(cudaStream_t, Array a, Array b, Out d, Out table, int64_t layout, int64_t room,
                bool tf32) {
  Arguments const x{"gemm_model", a, b, d, Out{}, layout, 0, tf32};
  constexpr int64_t COLUMNS = 11;
  expect_shape(x.op, "table", table, {VARIANT_COUNT, COLUMNS});
  expect_dtype(x.op, "table", table, DType::f64);
  Problem const p = problem(x);
  Wish const wish{a.dtype, tf32, 0, room};
  Choice const choice = find_choice(p, wish, chip());
  auto* row = table.data<double>();
  for (Variant const& v : VARIANTS) {
    if (fits(v, p, a.dtype, tf32, chip())) {
      auto const [splits, streams, c] = price(v, p, wish, chip());
      bool const chosen = v.rung == choice.rung && v.tile == choice.tile;
      double const columns[COLUMNS] = {static_cast<double>(number_of(v.rung, v.tile)),
                                       static_cast<double>(chosen),
                                       static_cast<double>(streams ? 0 : splits),
                                       c.clocks,
                                       c.memory,
                                       static_cast<double>(c.work),
                                       static_cast<double>(c.turns),
                                       static_cast<double>(c.steps),
                                       c.arithmetic,
                                       c.shared,
                                       c.l2};
      std::copy(columns, columns + COLUMNS, row);
    }
    row += COLUMNS;
  }
}
PYNN_EXPORT(gemm_model,
            "(a, b, d, table, layout, room, tf32)  number, chosen, splits, clocks, memory, work, "
            "turns, steps, arithmetic, shared, l2 of each variant");

#endif

}  // namespace pynn::gemm
