// scaled.cu — RMSprop and Adagrad: gradients over the root of their mean or summed squares; how a
// step runs: kernels/optim/step.cuh.
//
//     rmsprop   d = g + decay p;  v = alpha v + (1 - alpha) d^2;
//               s = v, or centred: m += (1 - alpha) (d - m), s = max(v - m^2, 0);
//               u = d / (sqrt(s) + eps), or with momentum: b = momentum b + u, u = b;  p -= lr u
//     adagrad   d = g + decay p;  s += d^2;  p -= lr d / (sqrt(s) + eps)
//
//   slots   rmsprop: v, then b where there is momentum, then m where it is centred;  adagrad: s
//   bytes an element   rmsprop 20, 28 with one of b and m, 36 with both; adagrad 20
//   bound: memory
//
//   Tieleman, Hinton 2012, lecture 6.5;  Graves 2013, arXiv:1308.0850 (centred);  Duchi, Hazan,
//   Singer 2011, JMLR 12

#include <cmath>

#include "kernels/optim/step.cuh"

#include "common/export.h"

namespace pynn::optim {

// COUNT of the slots; with two, `centred` says which the second is.
template <int COUNT>
struct RmsProp {
  static constexpr int SLOTS = COUNT;
  static constexpr int NUMBERS = 6;
  float lr;
  float alpha;
  float rest;  // 1 - alpha, rounded once
  float eps;
  float decay;
  float momentum;
  bool centred;

  __host__ __device__ explicit RmsProp(double const* c)
      : lr(static_cast<float>(c[0])),
        alpha(static_cast<float>(c[1])),
        rest(static_cast<float>(1. - c[1])),
        eps(static_cast<float>(c[2])),
        decay(static_cast<float>(c[3])),
        momentum(static_cast<float>(c[4])),
        centred(c[5] != 0.) {}
  __device__ float operator()(float p, float g, float* slots) const {
    if (decay != 0.f) g = g + p * decay;
    float const v = slots[0] * alpha + g * g * rest;
    slots[0] = v;
    float spread = v;
    if (COUNT == 3 || (COUNT == 2 && centred)) {
      float const m = slots[COUNT - 1] + (g - slots[COUNT - 1]) * rest;
      slots[COUNT - 1] = m;
      spread = v - m * m;
      if (spread < 0.f) spread = 0.f;  // rounding may leave it a little below
    }
    float u = g / (sqrtf(spread) + eps);
    if (COUNT == 3 || (COUNT == 2 && !centred)) {
      u = slots[1] * momentum + u;
      slots[1] = u;
    }
    return p - u * lr;
  }
};

struct Adagrad {
  static constexpr int SLOTS = 1;
  static constexpr int NUMBERS = 3;
  float lr;
  float decay;
  float eps;

  __host__ __device__ explicit Adagrad(double const* c)
      : lr(static_cast<float>(c[0])),
        decay(static_cast<float>(c[1])),
        eps(static_cast<float>(c[2])) {}
  __device__ float operator()(float p, float g, float* slots) const {
    if (decay != 0.f) g = g + p * decay;
    float const s = slots[0] + g * g;
    slots[0] = s;
    return p - g / (sqrtf(s) + eps) * lr;
  }
};

void rmsprop_step(cudaStream_t stream, Arrays grads, Outs state, Arrays scale, Arrays numbers,
                  double lr, double alpha, double eps, double decay, double momentum,
                  bool centred) {
  double const own[] = {lr, alpha, eps, decay, momentum, centred ? 1. : 0.};
  auto const run = [&]<int SLOTS>() {
    step<RmsProp<SLOTS>>("rmsprop_step", stream, own, grads, state, scale, numbers);
  };
  switch (1 + (momentum != 0.) + centred) {
    case 1:
      return run.template operator()<1>();
    case 2:
      return run.template operator()<2>();
    default:
      return run.template operator()<3>();
  }
}
PYNN_EXPORT(rmsprop_step,
            "(grads, state, scale, numbers, lr, alpha, eps, decay, momentum, centred)  "
            "state: p, v, b with momentum, m where centred, and copies of 16 bits");

void adagrad_step(cudaStream_t stream, Arrays grads, Outs state, Arrays scale, Arrays numbers,
                  double lr, double decay, double eps) {
  step<Adagrad>("adagrad_step", stream, {lr, decay, eps}, grads, state, scale, numbers);
}
PYNN_EXPORT(adagrad_step,
            "(grads, state, scale, numbers, lr, decay, eps)  state: p, s, and copies of 16 bits");

}  // namespace pynn::optim
