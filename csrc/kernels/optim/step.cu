// step.cu — SGD, Adam, AdamW and Lion; how a step runs: kernels/optim/step.cuh.
//
//     sgd     d = g + decay p;  p -= lr d
//     momentum  d = g + decay p;  b = momentum b + share d (first: b = d);
//             p -= lr b, or lr (d + momentum b) for Nesterov's form
//     adam    p *= shrink;  d = g + decay p;  m = beta1 m + (1 - beta1) d;
//             v = beta2 v + (1 - beta2) d^2;  p -= size m / (sqrt(v) + eps)
//             with size = lr sqrt(1 - beta2^t) / (1 - beta1^t) and eps times sqrt(1 - beta2^t);
//             amsgrad takes the largest v so far
//     lion    u = beta1 m + (1 - beta1) g;  m = beta2 m + (1 - beta2) g;
//             p = shrink p - lr u / max(|u|, 2^-126)
//
//   bytes an element   sgd 12, momentum 20, adam 28, amsgrad 36, lion 20     bound: memory
//
//   Sutskever et al. 2013, ICML;  Kingma, Ba 2014, arXiv:1412.6980;  Loshchilov, Hutter 2017,
//   arXiv:1711.05101;  Reddi et al. 2018, arXiv:1904.09237;  Chen et al. 2023, arXiv:2302.06675;
//   Micikevicius et al. 2018, arXiv:1710.03740 (master copies)

#include <cmath>

#include "kernels/optim/step.cuh"

#include "common/export.h"

namespace pynn::optim {

struct Sgd {
  static constexpr int SLOTS = 0;
  static constexpr int NUMBERS = 2;
  float lr;
  float decay;

  __host__ __device__ explicit Sgd(double const* c)
      : lr(static_cast<float>(c[0])), decay(static_cast<float>(c[1])) {}
  __device__ float operator()(float p, float g, float*) const {
    if (decay != 0.f) g = g + p * decay;
    return p - g * lr;
  }
};

struct Momentum {
  static constexpr int SLOTS = 1;
  static constexpr int NUMBERS = 6;
  float lr;
  float decay;
  float momentum;
  float share;
  bool nesterov;
  bool first;

  __host__ __device__ explicit Momentum(double const* c)
      : lr(static_cast<float>(c[0])),
        decay(static_cast<float>(c[1])),
        momentum(static_cast<float>(c[2])),
        share(static_cast<float>(c[3])),
        nesterov(c[4] != 0.),
        first(c[5] != 0.) {}
  __device__ float operator()(float p, float g, float* slots) const {
    if (decay != 0.f) g = g + p * decay;
    float const b = first ? g : slots[0] * momentum + g * share;
    slots[0] = b;
    return p - (nesterov ? g + b * momentum : b) * lr;
  }
};

template <bool AMSGRAD>
struct Adam {
  static constexpr int SLOTS = AMSGRAD ? 3 : 2;
  static constexpr int NUMBERS = 6;
  float beta1;
  float rest1;  // 1 - beta1, rounded once
  float beta2;
  float rest2;
  float size;
  float eps;
  float decay;
  float shrink;

  __host__ __device__ explicit Adam(double const* c)
      : beta1(static_cast<float>(c[0])),
        rest1(static_cast<float>(1. - c[0])),
        beta2(static_cast<float>(c[1])),
        rest2(static_cast<float>(1. - c[1])),
        size(static_cast<float>(c[2])),
        eps(static_cast<float>(c[3])),
        decay(static_cast<float>(c[4])),
        shrink(static_cast<float>(c[5])) {}
  __device__ float operator()(float p, float g, float* slots) const {
    p = p * shrink;
    if (decay != 0.f) g = g + p * decay;
    float const m = slots[0] * beta1 + g * rest1;
    float v = slots[1] * beta2 + g * g * rest2;
    slots[0] = m;
    slots[1] = v;
    if constexpr (AMSGRAD) {
      v = v > slots[2] || v != v ? v : slots[2];
      slots[2] = v;
    }
    return p - m / (sqrtf(v) + eps) * size;
  }
};

struct Lion {
  static constexpr int SLOTS = 1;
  static constexpr int NUMBERS = 4;
  float beta1;
  float rest1;
  float beta2;
  float rest2;
  float lr;
  float shrink;

  __host__ __device__ explicit Lion(double const* c)
      : beta1(static_cast<float>(c[0])),
        rest1(static_cast<float>(1. - c[0])),
        beta2(static_cast<float>(c[1])),
        rest2(static_cast<float>(1. - c[1])),
        lr(static_cast<float>(c[2])),
        shrink(static_cast<float>(c[3])) {}
  __device__ float operator()(float p, float g, float* slots) const {
    constexpr float TINY = 0x1p-126f;
    float const u = slots[0] * beta1 + g * rest1;
    float const size = fabsf(u);
    slots[0] = slots[0] * beta2 + g * rest2;
    return p * shrink - u / (size > TINY || u != u ? size : TINY) * lr;
  }
};

void sgd_step(cudaStream_t stream, Arrays grads, Outs state, Arrays scale, Arrays numbers,
              double lr, double decay) {
  step<Sgd>("sgd_step", stream, {lr, decay}, grads, state, scale, numbers);
}
PYNN_EXPORT(sgd_step, "(grads, state, scale, numbers, lr, decay)  state: p, and copies of 16 bits");

void momentum_step(cudaStream_t stream, Arrays grads, Outs state, Arrays scale, Arrays numbers,
                   double lr, double decay, double momentum, double share, bool nesterov,
                   bool first) {
  step<Momentum>("momentum_step", stream,
                 {lr, decay, momentum, share, nesterov ? 1. : 0., first ? 1. : 0.}, grads, state,
                 scale, numbers);
}
PYNN_EXPORT(momentum_step,
            "(grads, state, scale, numbers, lr, decay, momentum, share, nesterov, first)  "
            "state: p, b, and copies of 16 bits");

void adam_step(cudaStream_t stream, Arrays grads, Outs state, Arrays scale, Arrays numbers,
               double beta1, double beta2, double size, double eps, double decay, double shrink) {
  step<Adam<false>>("adam_step", stream, {beta1, beta2, size, eps, decay, shrink}, grads, state,
                    scale, numbers);
}
PYNN_EXPORT(adam_step,
            "(grads, state, scale, numbers, beta1, beta2, size, eps, decay, shrink)  "
            "state: p, m, v, and copies of 16 bits");

void amsgrad_step(cudaStream_t stream, Arrays grads, Outs state, Arrays scale, Arrays numbers,
                  double beta1, double beta2, double size, double eps, double decay,
                  double shrink) {
  step<Adam<true>>("amsgrad_step", stream, {beta1, beta2, size, eps, decay, shrink}, grads, state,
                   scale, numbers);
}
PYNN_EXPORT(amsgrad_step,
            "(grads, state, scale, numbers, beta1, beta2, size, eps, decay, shrink)  "
            "state: p, m, v, the largest v, and copies of 16 bits");

void lion_step(cudaStream_t stream, Arrays grads, Outs state, Arrays scale, Arrays numbers,
               double beta1, double beta2, double lr, double shrink) {
  step<Lion>("lion_step", stream, {beta1, beta2, lr, shrink}, grads, state, scale, numbers);
}
PYNN_EXPORT(lion_step,
            "(grads, state, scale, numbers, beta1, beta2, lr, shrink)  "
            "state: p, m, and copies of 16 bits");

}  // namespace pynn::optim
