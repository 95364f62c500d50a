// rnn.cu — the simple recurrent cell, for cell.cuh.
//
//   h = f(z + p),  f tanh or max(0, .);   dz = d f',  f' = 1 - h^2 or [h > 0]
//
//   bytes  4 N H times 3 (forward) and 6 (backward)
//
//   Elman 1990, "Finding structure in time"

#include <cstdint>

#include "common/activation.cuh"
#include "common/array.h"
#include "common/export.h"

#include "kernels/recurrent/cell.cuh"

namespace pynn::recurrent {
namespace {

struct RnnForward {
  float const* z;
  float const* p;
  float const* h_before;
  float* h_after;
  bool relu;

  template <int W>
  __device__ void at(Place const& place) const {
    auto h = place.over ? place.vec<W>(h_before) : place.sum<W>(z, p);
    if (!place.over) {
#pragma unroll
      for (int i = 0; i < W; ++i) {
        h.at[i] = relu ? activation::Relu::fwd(h.at[i]) : tanhf(h.at[i]);
      }
    }
    place.store(h_after, h);
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
  __device__ void at(Place const& place) const {
    auto kept = place.sum<W>(carry, past);
    Vec<float, W> step{};
    if (!place.over) {
      auto const y = place.vec<W>(h);
      auto const d = place.vec<W>(dy);
#pragma unroll
      for (int i = 0; i < W; ++i) {
        float const slope = relu ? (y.at[i] > 0.f ? 1.f : 0.f) : 1.f - y.at[i] * y.at[i];
        step.at[i] = slope * (kept.at[i] + d.at[i]);
        kept.at[i] = 0.f;
      }
    }
    place.store(dz, step);
    place.store(carry, kept);
  }
};

}  // namespace

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

}  // namespace pynn::recurrent
