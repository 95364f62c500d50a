// cells.cu — one step of a recurrent layer: what stands between its matrix products.
//
//   z (N, G H)  what the input gives, W_ih x_t + b;   p (N, G H)  what the state gives, W_hh h_(t-1)
//   RNN   h = f(z + p)                                                     G = 1, f tanh or max(0, .)
//   GRU   r, u = s(z + p);  n = tanh(z_n + r p_n);  h = n + u (h' - n)     G = 3, gates r u n
//   LSTM  i, f, o = s(z + p), g = tanh(z + p);  c = f c' + i g,  h = o tanh c   G = 4, gates i f g o
//   s the logistic function, h' and c' the state before; all arrays f32, row-major
//
//   forward   z becomes the gates, in place;  h (and c) of the next step are written; GRU keeps p_n,
//             LSTM tanh c
//   backward  d = carry + past + dy is the gradient of h;  past = dz W_hh of the step after;  dz and,
//             in place, carry (what goes round W_hh) and dc are written
//   lengths   (N,) i64 or of size 0: a sample with t >= its length keeps its state, and dz is 0
//
//   thread  W neighbouring units of one sample, all gates of them: W = 4, 16-byte accesses, where H
//           and every pointer allow it, 1 otherwise            row of gates  │ i.. │ f.. │ g.. │ o.. │
//                                                                              j     j     j     j
//   bytes   4 N H times: RNN 3, 6;  GRU 9, 14;  LSTM 15, 17 (forward, backward);  states alone where
//           a sample has ended
//   bound   memory in principle; a step is small, so in practice the launch
//
//   Elman 1990;  Cho et al. 2014, arXiv:1406.1078;  Hochreiter and Schmidhuber 1997

#include <cstdint>
#include <initializer_list>

#include "common/activation.cuh"
#include "common/array.h"
#include "common/check.h"
#include "common/export.h"
#include "common/launch.h"
#include "common/vec.cuh"

namespace pynn::recurrent {

using activation::logistic;

inline constexpr int THREADS = 256;
inline constexpr int WIDTH = 4;

// Where the samples end.
struct Ends {
  int64_t const* lengths;  // null: nowhere
  int64_t t;

  __device__ bool over(int64_t n) const { return lengths != nullptr && t >= lengths[n]; }
};

// ---- steps: units j .. j + W - 1 of sample n

struct RnnForward {
  float const* z;
  float const* p;
  float const* h_before;
  float* h_after;
  bool relu;

  template <int W>
  __device__ void at(int64_t H, int64_t n, int64_t j, bool over) const {
    int64_t const at = n * H + j;
    Vec<float, W> h = load_vec<W>(h_before + at);
    if (!over) {
      auto const a = load_vec<W>(z + at);
      auto const b = load_vec<W>(p + at);
#pragma unroll
      for (int i = 0; i < W; ++i) {
        float const sum = a.at[i] + b.at[i];
        h.at[i] = relu ? activation::Relu::fwd(sum) : tanhf(sum);
      }
    }
    store_vec<W>(h_after + at, h);
  }
};

struct RnnBackward {
  float const* h;
  float const* dy;
  float const* past;
  float* dz;
  float* carry;
  bool relu;

  template <int W>
  __device__ void at(int64_t H, int64_t n, int64_t j, bool over) const {
    int64_t const at = n * H + j;
    auto const y = load_vec<W>(h + at);
    auto const d = load_vec<W>(dy + at);
    auto const back = load_vec<W>(past + at);
    auto kept = load_vec<W>(carry + at);
    Vec<float, W> step;
#pragma unroll
    for (int i = 0; i < W; ++i) {
      kept.at[i] += back.at[i];
      float const slope = relu ? (y.at[i] > 0.f ? 1.f : 0.f) : 1.f - y.at[i] * y.at[i];
      step.at[i] = over ? 0.f : slope * (kept.at[i] + d.at[i]);
      if (!over) kept.at[i] = 0.f;
    }
    store_vec<W>(dz + at, step);
    store_vec<W>(carry + at, kept);
  }
};

struct GruForward {
  float* gates;
  float const* p;
  float const* h_before;
  float* p_n;
  float* h_after;

  template <int W>
  __device__ void at(int64_t H, int64_t n, int64_t j, bool over) const {
    int64_t const at = n * H + j;
    int64_t const row = n * 3 * H + j;
    Vec<float, W> h = load_vec<W>(h_before + at);
    Vec<float, W> pn{};
    if (!over) {
      auto r = load_vec<W>(gates + row);
      auto u = load_vec<W>(gates + row + H);
      auto m = load_vec<W>(gates + row + 2 * H);
      auto const pr = load_vec<W>(p + row);
      auto const pu = load_vec<W>(p + row + H);
      pn = load_vec<W>(p + row + 2 * H);
#pragma unroll
      for (int i = 0; i < W; ++i) {
        r.at[i] = logistic(r.at[i] + pr.at[i]);
        u.at[i] = logistic(u.at[i] + pu.at[i]);
        m.at[i] = tanhf(m.at[i] + r.at[i] * pn.at[i]);
        h.at[i] = m.at[i] + u.at[i] * (h.at[i] - m.at[i]);
      }
      store_vec<W>(gates + row, r);
      store_vec<W>(gates + row + H, u);
      store_vec<W>(gates + row + 2 * H, m);
    }
    store_vec<W>(p_n + at, pn);
    store_vec<W>(h_after + at, h);
  }
};

struct GruBackward {
  float const* gates;
  float const* p_n;
  float const* h_before;
  float const* dy;
  float const* past;
  float* dz;
  float* dp;
  float* carry;

  template <int W>
  __device__ void at(int64_t H, int64_t n, int64_t j, bool over) const {
    int64_t const at = n * H + j;
    int64_t const row = n * 3 * H + j;
    auto const back = load_vec<W>(past + at);
    auto kept = load_vec<W>(carry + at);
    Vec<float, W> dr{};
    Vec<float, W> du{};
    Vec<float, W> dn{};
    Vec<float, W> dpn{};
#pragma unroll
    for (int i = 0; i < W; ++i) kept.at[i] += back.at[i];
    if (!over) {
      auto const r = load_vec<W>(gates + row);
      auto const u = load_vec<W>(gates + row + H);
      auto const m = load_vec<W>(gates + row + 2 * H);
      auto const hidden = load_vec<W>(p_n + at);
      auto const h = load_vec<W>(h_before + at);
      auto const d = load_vec<W>(dy + at);
#pragma unroll
      for (int i = 0; i < W; ++i) {
        float const dh = kept.at[i] + d.at[i];
        dn.at[i] = dh * (1.f - u.at[i]) * (1.f - m.at[i] * m.at[i]);
        du.at[i] = dh * (h.at[i] - m.at[i]) * (u.at[i] * (1.f - u.at[i]));
        dr.at[i] = dn.at[i] * hidden.at[i] * (r.at[i] * (1.f - r.at[i]));
        dpn.at[i] = dn.at[i] * r.at[i];
        kept.at[i] = dh * u.at[i];
      }
    }
    store_vec<W>(dz + row, dr);
    store_vec<W>(dz + row + H, du);
    store_vec<W>(dz + row + 2 * H, dn);
    store_vec<W>(dp + row, dr);
    store_vec<W>(dp + row + H, du);
    store_vec<W>(dp + row + 2 * H, dpn);
    store_vec<W>(carry + at, kept);
  }
};

struct LstmForward {
  float* gates;
  float const* p;
  float const* h_before;
  float const* c_before;
  float* tanh_c;
  float* h_after;
  float* c_after;

  template <int W>
  __device__ void at(int64_t H, int64_t n, int64_t j, bool over) const {
    int64_t const at = n * H + j;
    int64_t const row = n * 4 * H + j;
    auto c = load_vec<W>(c_before + at);
    Vec<float, W> h;
    if (over) {
      h = load_vec<W>(h_before + at);
    } else {
      Vec<float, W> gate[4];
      Vec<float, W> tanh;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        gate[k] = load_vec<W>(gates + row + k * H);
        auto const more = load_vec<W>(p + row + k * H);
#pragma unroll
        for (int i = 0; i < W; ++i) {
          float const sum = gate[k].at[i] + more.at[i];
          gate[k].at[i] = k == 2 ? tanhf(sum) : logistic(sum);
        }
        store_vec<W>(gates + row + k * H, gate[k]);
      }
#pragma unroll
      for (int i = 0; i < W; ++i) {
        c.at[i] = gate[1].at[i] * c.at[i] + gate[0].at[i] * gate[2].at[i];
        tanh.at[i] = tanhf(c.at[i]);
        h.at[i] = gate[3].at[i] * tanh.at[i];
      }
      store_vec<W>(tanh_c + at, tanh);
    }
    store_vec<W>(h_after + at, h);
    store_vec<W>(c_after + at, c);
  }
};

struct LstmBackward {
  float const* gates;
  float const* tanh_c;
  float const* c_before;
  float const* dy;
  float const* past;
  float* dz;
  float* carry;
  float* dc;

  template <int W>
  __device__ void at(int64_t H, int64_t n, int64_t j, bool over) const {
    int64_t const at = n * H + j;
    int64_t const row = n * 4 * H + j;
    auto const back = load_vec<W>(past + at);
    auto kept = load_vec<W>(carry + at);
    Vec<float, W> step[4]{};
#pragma unroll
    for (int i = 0; i < W; ++i) kept.at[i] += back.at[i];
    if (!over) {
      Vec<float, W> gate[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) gate[k] = load_vec<W>(gates + row + k * H);
      auto const tanh = load_vec<W>(tanh_c + at);
      auto const c = load_vec<W>(c_before + at);
      auto const d = load_vec<W>(dy + at);
      auto memory = load_vec<W>(dc + at);
#pragma unroll
      for (int i = 0; i < W; ++i) {
        float const in = gate[0].at[i];
        float const forget = gate[1].at[i];
        float const g = gate[2].at[i];
        float const out = gate[3].at[i];
        float const dh = kept.at[i] + d.at[i];
        float const all = memory.at[i] + dh * out * (1.f - tanh.at[i] * tanh.at[i]);  // dL/dc
        step[0].at[i] = all * g * (in * (1.f - in));
        step[1].at[i] = all * c.at[i] * (forget * (1.f - forget));
        step[2].at[i] = all * in * (1.f - g * g);
        step[3].at[i] = dh * tanh.at[i] * (out * (1.f - out));
        memory.at[i] = all * forget;
        kept.at[i] = 0.f;
      }
      store_vec<W>(dc + at, memory);
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) store_vec<W>(dz + row + k * H, step[k]);
    store_vec<W>(carry + at, kept);
  }
};

// ---- kernel and launch

template <int W, class Step>
__global__ void __launch_bounds__(THREADS)
    cell_kernel(Step step, Ends ends, int64_t units, int64_t H) {
  int64_t const i = (int64_t{blockIdx.x} * THREADS + threadIdx.x) * W;
  if (i < units) step.template at<W>(H, i / H, i % H, ends.over(i / H));
}

struct Named {
  char const* name;
  Array const& array;
  int64_t gates;  // H to a row
};

// Checks the arrays, each (N, gates H) f32, and runs the step on all units.
template <class Step>
void run(char const* op, cudaStream_t stream, Array const& state, Array const& lengths, int64_t t,
         std::initializer_list<Named> arrays, Step step) {
  expect_ndim(op, "h_before", state, 2);
  int64_t const N = state.dims[0];
  int64_t const H = state.dims[1];
  bool aligned = H % WIDTH == 0;
  for (Named const& one : arrays) {
    expect_shape(op, one.name, one.array, {N, one.gates * H});
    expect_dtype(op, one.name, one.array, DType::f32);
    aligned = aligned && is_vec_aligned(one.array.ptr);
  }
  Ends ends{nullptr, t};
  if (lengths.size() > 0) {
    expect_shape(op, "lengths", lengths, {N});
    expect_dtype(op, "lengths", lengths, DType::i64);
    ends.lengths = lengths.data<int64_t>();
  }
  int64_t const units = N * H;
  if (units == 0) return;
  int64_t const each = int64_t{THREADS} * (aligned ? WIDTH : 1);
  auto const grid = static_cast<unsigned>((units + each - 1) / each);
  if (aligned) {
    launch(cell_kernel<WIDTH, Step>, grid, THREADS, 0, stream, step, ends, units, H);
  } else {
    launch(cell_kernel<1, Step>, grid, THREADS, 0, stream, step, ends, units, H);
  }
}

void rnn_cell_fwd(cudaStream_t stream, Array z, Array p, Array h_before, Array lengths, Out h_after,
                  int64_t t, bool relu) {
  run("rnn_cell_fwd", stream, h_before, lengths, t,
      {{"h_before", h_before, 1}, {"z", z, 1}, {"p", p, 1}, {"h_after", h_after, 1}},
      RnnForward{z.data<float>(), p.data<float>(), h_before.data<float>(), h_after.data<float>(),
                 relu});
}
PYNN_EXPORT(rnn_cell_fwd, "(z, p, h_before, lengths, h_after, t, relu)  h = f(z + p)");

void rnn_cell_bwd(cudaStream_t stream, Array h, Array dy, Array past, Array lengths, Out dz,
                  Out carry, int64_t t, bool relu) {
  run("rnn_cell_bwd", stream, h, lengths, t,
      {{"h", h, 1}, {"dy", dy, 1}, {"past", past, 1}, {"dz", dz, 1}, {"carry", carry, 1}},
      RnnBackward{h.data<float>(), dy.data<float>(), past.data<float>(), dz.data<float>(),
                  carry.data<float>(), relu});
}
PYNN_EXPORT(rnn_cell_bwd,
            "(h, dy, past, lengths, dz, carry, t, relu)  dz = f' (carry + past + dy)");

void gru_cell_fwd(cudaStream_t stream, Array p, Array h_before, Array lengths, Out gates, Out p_n,
                  Out h_after, int64_t t) {
  run("gru_cell_fwd", stream, h_before, lengths, t,
      {{"h_before", h_before, 1},
       {"p", p, 3},
       {"gates", gates, 3},
       {"p_n", p_n, 1},
       {"h_after", h_after, 1}},
      GruForward{gates.data<float>(), p.data<float>(), h_before.data<float>(), p_n.data<float>(),
                 h_after.data<float>()});
}
PYNN_EXPORT(gru_cell_fwd,
            "(p, h_before, lengths, gates, p_n, h_after, t)  gates: z, then r u n, in place");

void gru_cell_bwd(cudaStream_t stream, Array gates, Array p_n, Array h_before, Array dy, Array past,
                  Array lengths, Out dz, Out dp, Out carry, int64_t t) {
  run("gru_cell_bwd", stream, h_before, lengths, t,
      {{"h_before", h_before, 1},
       {"gates", gates, 3},
       {"p_n", p_n, 1},
       {"dy", dy, 1},
       {"past", past, 1},
       {"dz", dz, 3},
       {"dp", dp, 3},
       {"carry", carry, 1}},
      GruBackward{gates.data<float>(), p_n.data<float>(), h_before.data<float>(), dy.data<float>(),
                  past.data<float>(), dz.data<float>(), dp.data<float>(), carry.data<float>()});
}
PYNN_EXPORT(gru_cell_bwd,
            "(gates, p_n, h_before, dy, past, lengths, dz, dp, carry, t)  dz, dp of z, p");

void lstm_cell_fwd(cudaStream_t stream, Array p, Array h_before, Array c_before, Array lengths,
                   Out gates, Out tanh_c, Out h_after, Out c_after, int64_t t) {
  run("lstm_cell_fwd", stream, h_before, lengths, t,
      {{"h_before", h_before, 1},
       {"c_before", c_before, 1},
       {"p", p, 4},
       {"gates", gates, 4},
       {"tanh_c", tanh_c, 1},
       {"h_after", h_after, 1},
       {"c_after", c_after, 1}},
      LstmForward{gates.data<float>(), p.data<float>(), h_before.data<float>(),
                  c_before.data<float>(), tanh_c.data<float>(), h_after.data<float>(),
                  c_after.data<float>()});
}
PYNN_EXPORT(lstm_cell_fwd,
            "(p, h_before, c_before, lengths, gates, tanh_c, h_after, c_after, t)  "
            "gates: z, then i f g o, in place");

void lstm_cell_bwd(cudaStream_t stream, Array gates, Array tanh_c, Array c_before, Array dy,
                   Array past, Array lengths, Out dz, Out carry, Out dc, int64_t t) {
  run("lstm_cell_bwd", stream, c_before, lengths, t,
      {{"c_before", c_before, 1},
       {"gates", gates, 4},
       {"tanh_c", tanh_c, 1},
       {"dy", dy, 1},
       {"past", past, 1},
       {"dz", dz, 4},
       {"carry", carry, 1},
       {"dc", dc, 1}},
      LstmBackward{gates.data<float>(), tanh_c.data<float>(), c_before.data<float>(),
                   dy.data<float>(), past.data<float>(), dz.data<float>(), carry.data<float>(),
                   dc.data<float>()});
}
PYNN_EXPORT(lstm_cell_bwd,
            "(gates, tanh_c, c_before, dy, past, lengths, dz, carry, dc, t)  dz of z");

}  // namespace pynn::recurrent
