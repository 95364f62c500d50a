// gru.cu — the gated recurrent unit, for cell.cuh: G = 3, gates r, u, n.
//
//   r, u = s(z + p),  n = tanh(z_n + r p_n),  h = n + u (h' - n);   s the logistic function
//   dn = d (1 - u)(1 - n^2),  du = d (h' - n) u (1 - u),  dr = dn p_n r (1 - r),  carry = d u
//   dz = (dr, du, dn),  dp = (dr, du, dn r)
//
//   z becomes the gates in place; p_n is kept (0 where a sample has ended)
//
//   bytes  4 N H times 12 (forward) and 15 (backward)
//
//   Cho et al. 2014, arXiv:1406.1078

#include <cstdint>

#include "common/activation.cuh"
#include "common/array.h"
#include "common/export.h"

#include "kernels/recurrent/cell.cuh"

namespace pynn::recurrent {
namespace {

using activation::logistic;

struct GruForward {
  float* gates;
  float const* p;
  float const* h_before;
  float* p_n;
  float* h_after;

  template <int W>
  __device__ void at(Place const& place) const {
    auto h = place.vec<W>(h_before);
    Vec<float, W> kept{};
    if (!place.over) {
      auto gate = place.load<W, 3>(gates);
      auto const more = place.load<W, 3>(p);
      kept = more.at[2];
#pragma unroll
      for (int i = 0; i < W; ++i) {
        float const r = logistic(gate.at[0].at[i] + more.at[0].at[i]);
        float const u = logistic(gate.at[1].at[i] + more.at[1].at[i]);
        float const n = tanhf(gate.at[2].at[i] + r * kept.at[i]);
        gate.at[0].at[i] = r;
        gate.at[1].at[i] = u;
        gate.at[2].at[i] = n;
        h.at[i] = n + u * (h.at[i] - n);
      }
      place.store(gates, gate);
    }
    place.store(p_n, kept);
    place.store(h_after, h);
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
  __device__ void at(Place const& place) const {
    auto kept = place.sum<W>(carry, past);
    Gates<W, 3> step{};
    Gates<W, 3> step_p{};
    if (!place.over) {
      auto const gate = place.load<W, 3>(gates);
      auto const hidden = place.vec<W>(p_n);
      auto const h = place.vec<W>(h_before);
      auto const d = place.vec<W>(dy);
#pragma unroll
      for (int i = 0; i < W; ++i) {
        float const r = gate.at[0].at[i];
        float const u = gate.at[1].at[i];
        float const n = gate.at[2].at[i];
        float const dh = kept.at[i] + d.at[i];
        float const dn = dh * (1.f - u) * (1.f - n * n);
        step.at[0].at[i] = dn * hidden.at[i] * (r * (1.f - r));
        step.at[1].at[i] = dh * (h.at[i] - n) * (u * (1.f - u));
        step.at[2].at[i] = dn;
        step_p.at[2].at[i] = dn * r;
        kept.at[i] = dh * u;
      }
      step_p.at[0] = step.at[0];
      step_p.at[1] = step.at[1];
    }
    place.store(dz, step);
    place.store(dp, step_p);
    place.store(carry, kept);
  }
};

}  // namespace

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

}  // namespace pynn::recurrent
