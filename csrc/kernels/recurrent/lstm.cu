// lstm.cu — the cell of long short-term memory, for cell.cuh: G = 4, gates i, f, g, o.
//
//   i, f, o = s(z + p),  g = tanh(z + p);   c = f c' + i g,  h = o tanh c;   s the logistic function
//   dc += d o (1 - tanh^2 c);  di = dc g,  df = dc c',  dg = dc i,  do = d tanh c, each times the
//   slope of its gate;  dc f is left for the step before
//
//   z becomes the gates in place; tanh c is kept; dc is changed in place
//
//   bytes  4 N H times 16 (forward) and 16 (backward)
//
//   Hochreiter and Schmidhuber 1997, "Long short-term memory"

#include <cstdint>

#include "common/activation.cuh"
#include "common/array.h"
#include "common/export.h"

#include "kernels/recurrent/cell.cuh"

namespace pynn::recurrent {
namespace {

using activation::logistic;

struct LstmForward {
  float* gates;
  float const* p;
  float const* h_before;
  float const* c_before;
  float* tanh_c;
  float* h_after;
  float* c_after;

  template <int W>
  __device__ void at(Place const& place) const {
    auto c = place.vec<W>(c_before);
    if (place.over) {
      place.store(h_after, place.vec<W>(h_before));
      place.store(c_after, c);
      return;
    }
    auto gate = place.load<W, 4>(gates);
    auto const more = place.load<W, 4>(p);
    Vec<float, W> tanh;
    Vec<float, W> h;
#pragma unroll
    for (int i = 0; i < W; ++i) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        float const sum = gate.at[k].at[i] + more.at[k].at[i];
        gate.at[k].at[i] = k == 2 ? tanhf(sum) : logistic(sum);
      }
      c.at[i] = gate.at[1].at[i] * c.at[i] + gate.at[0].at[i] * gate.at[2].at[i];
      tanh.at[i] = tanhf(c.at[i]);
      h.at[i] = gate.at[3].at[i] * tanh.at[i];
    }
    place.store(gates, gate);
    place.store(tanh_c, tanh);
    place.store(h_after, h);
    place.store(c_after, c);
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
  __device__ void at(Place const& place) const {
    auto kept = place.sum<W>(carry, past);
    Gates<W, 4> step{};
    if (!place.over) {
      auto const gate = place.load<W, 4>(gates);
      auto const tanh = place.vec<W>(tanh_c);
      auto const c = place.vec<W>(c_before);
      auto const d = place.vec<W>(dy);
      auto memory = place.vec<W>(dc);
#pragma unroll
      for (int i = 0; i < W; ++i) {
        float const in = gate.at[0].at[i];
        float const forget = gate.at[1].at[i];
        float const g = gate.at[2].at[i];
        float const out = gate.at[3].at[i];
        float const dh = kept.at[i] + d.at[i];
        float const all = memory.at[i] + dh * out * (1.f - tanh.at[i] * tanh.at[i]);  // dL/dc
        step.at[0].at[i] = all * g * (in * (1.f - in));
        step.at[1].at[i] = all * c.at[i] * (forget * (1.f - forget));
        step.at[2].at[i] = all * in * (1.f - g * g);
        step.at[3].at[i] = dh * tanh.at[i] * (out * (1.f - out));
        memory.at[i] = all * forget;
        kept.at[i] = 0.f;
      }
      place.store(dc, memory);
    }
    place.store(dz, step);
    place.store(carry, kept);
  }
};

}  // namespace

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
