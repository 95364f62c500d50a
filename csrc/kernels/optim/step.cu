// step.cu — SGD, Adam, AdamW and Lion over all parameters of a group in one launch.
//
//   grads  g_i of T = f32 | f16 | bf16
//   state  of each kind one array a parameter, all of a kind together:
//            p_i        f32: the parameter, or the master copy of a 16-bit one
//            slots      f32: momentum b; or m, v and, for amsgrad, the largest v
//            copy_i     T: the 16-bit parameter, p_i rounded;  only where T is 16-bit
//   scale  no array, or one f32 that multiplies each gradient: the clip of the global norm, read on
//          the device, so that nobody waits for it
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
//   grid    one CTA for CHUNK = 2048 elements of a tensor: kernels/optim/tensors.cuh
//   thread  2 x 4 elements: 16-byte loads of each f32 array, all in flight before the first is used
//
//   bytes an element   sgd 12, momentum 20, adam 28, amsgrad 36, lion 20 in f32;
//                      2 fewer for the gradient and 2 more for the copy in 16 bits: the same
//   bound: memory
//
//   Each element is one thread's, so the same bits come out each time. Without contraction, as in
//   the simulator, they are the reference's.
//
//   Sutskever et al. 2013, ICML;  Kingma, Ba 2014, arXiv:1412.6980;  Loshchilov, Hutter 2017,
//   arXiv:1711.05101;  Reddi et al. 2018, arXiv:1904.09237;  Chen et al. 2023, arXiv:2302.06675;
//   Micikevicius et al. 2018, arXiv:1710.03740 (master copies)

#include <cmath>
#include <string>
#include <type_traits>

#include "kernels/optim/tensors.cuh"

#include "common/check.h"
#include "common/dispatch.h"
#include "common/export.h"

namespace pynn::optim {

inline constexpr int UNITS = 2;
inline constexpr int CHUNK = THREADS * WIDTH * UNITS;

// A rule says how one element moves: it changes the slots and returns the new p.

struct Sgd {
  static constexpr int SLOTS = 0;
  float lr;
  float decay;

  __device__ float operator()(float p, float g, float*) const {
    if (decay != 0.f) g = g + p * decay;
    return p - g * lr;
  }
};

struct Momentum {
  static constexpr int SLOTS = 1;
  float lr;
  float momentum;
  float share;
  float decay;
  bool nesterov;
  bool first;

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
  float beta1;
  float rest1;  // 1 - beta1, rounded once
  float beta2;
  float rest2;
  float size;
  float eps;
  float decay;
  float shrink;

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
  float beta1;
  float rest1;
  float beta2;
  float rest2;
  float lr;
  float shrink;

  __device__ float operator()(float p, float g, float* slots) const {
    constexpr float TINY = 0x1p-126f;
    float const u = slots[0] * beta1 + g * rest1;
    float const size = fabsf(u);
    slots[0] = slots[0] * beta2 + g * rest2;
    return p * shrink - u / (size > TINY || u != u ? size : TINY) * lr;
  }
};

// Arrays of a tensor: g, p, slots, and the copy where T is 16-bit.
template <typename Rule, typename T>
inline constexpr int ARRAYS = Rule::SLOTS + (std::is_same_v<T, float> ? 2 : 3);

template <typename Rule, typename T, int COUNT>
__global__ void __launch_bounds__(THREADS)
    step_kernel(Rule rule, __grid_constant__ Tensors<ARRAYS<Rule, T>, COUNT> const tensors,
                float const* scale) {
  constexpr int KINDS = Rule::SLOTS + 1;  // in f32: p and the slots
  Chunk const chunk = find_chunk<CHUNK>(tensors);
  bool const wide = tensors.wide[chunk.tensor];
  void* const* const arrays = tensors.at[chunk.tensor];

  // load all
  float g[UNITS][WIDTH];
  float state[UNITS][KINDS][WIDTH];
#pragma unroll
  for (int u = 0; u < UNITS; ++u) {
    int64_t const i = chunk.start + (u * THREADS + static_cast<int>(threadIdx.x)) * WIDTH;
    load(g[u], static_cast<T const*>(arrays[0]) + i, chunk.end - i, wide);
#pragma unroll
    for (int k = 0; k < KINDS; ++k) {
      load(state[u][k], static_cast<float const*>(arrays[1 + k]) + i, chunk.end - i, wide);
    }
  }
  float const factor = scale == nullptr ? 1.f : *scale;

  // update
#pragma unroll
  for (int u = 0; u < UNITS; ++u) {
#pragma unroll
    for (int w = 0; w < WIDTH; ++w) {
      float slots[KINDS];
#pragma unroll
      for (int k = 1; k < KINDS; ++k) slots[k - 1] = state[u][k][w];
      state[u][0][w] = rule(state[u][0][w], g[u][w] * factor, slots);
#pragma unroll
      for (int k = 1; k < KINDS; ++k) state[u][k][w] = slots[k - 1];
    }
  }

  // store all
#pragma unroll
  for (int u = 0; u < UNITS; ++u) {
    int64_t const i = chunk.start + (u * THREADS + static_cast<int>(threadIdx.x)) * WIDTH;
#pragma unroll
    for (int k = 0; k < KINDS; ++k) {
      store(static_cast<float*>(arrays[1 + k]) + i, state[u][k], chunk.end - i, wide);
    }
    if constexpr (!std::is_same_v<T, float>) {
      store(static_cast<T*>(arrays[1 + KINDS]) + i, state[u][0], chunk.end - i, wide);
    }
  }
}

template <typename Rule>
void step(char const* name, cudaStream_t stream, Rule rule, Arrays grads, Outs state,
          Arrays scale) {
  expect(scale.size() <= 1, name, "scale", "at most 1 array", scale.size());
  if (scale.size() == 1) {
    expect_dtype(name, "scale", scale[0], DType::f32);
    expect(scale[0].size() == 1, name, "scale", "one element", scale[0].size());
  }
  float const* const factor = scale.size() == 1 ? scale[0].data<float>() : nullptr;
  int64_t const count = grads.size();
  if (count == 0) return;
  DType const dtype = grads[0].dtype;
  dispatch_float(name, "grads", dtype, [&]<typename T>() {
    constexpr int KINDS = ARRAYS<Rule, T> - 1;
    expect(state.size() == KINDS * count, name, "state",
           std::to_string(KINDS) + " arrays for each of " + std::to_string(count) + " gradients",
           state.size());
    for (int64_t i = 0; i < count; ++i) {
      expect_dtype(name, "grads", grads[i], dtype);
      for (int k = 0; k < KINDS; ++k) {
        bool const copy = k == Rule::SLOTS + 1;
        expect_dtype(name, "state", state[k * count + i], copy ? dtype : DType::f32);
        expect(state[k * count + i].size() == grads[i].size(), name, "state",
               show(grads[i].size()) + " elements", state[k * count + i].size());
      }
    }
    auto const array = [&](int64_t i, int a) -> Array const& {
      return a == 0 ? grads[i] : state.list[static_cast<size_t>((a - 1) * count + i)];
    };
    dispatch_count(count, [&]<int COUNT>() {
      for_each_table<CHUNK, ARRAYS<Rule, T>, COUNT>(
          count, array, [&](auto const& tensors, unsigned ctas, int64_t) {
            launch(step_kernel<Rule, T, COUNT>, ctas, THREADS, 0, stream, rule, tensors, factor);
          });
    });
  });
}

void sgd_step(cudaStream_t stream, Arrays grads, Outs state, Arrays scale, double lr,
              double decay) {
  step("sgd_step", stream, Sgd{static_cast<float>(lr), static_cast<float>(decay)}, grads, state,
       scale);
}
PYNN_EXPORT(sgd_step, "(grads, state, scale, lr, decay)  state: p, and copies of 16 bits");

void momentum_step(cudaStream_t stream, Arrays grads, Outs state, Arrays scale, double lr,
                   double momentum, double share, double decay, bool nesterov, bool first) {
  Momentum const rule{static_cast<float>(lr),
                      static_cast<float>(momentum),
                      static_cast<float>(share),
                      static_cast<float>(decay),
                      nesterov,
                      first};
  step("momentum_step", stream, rule, grads, state, scale);
}
PYNN_EXPORT(momentum_step,
            "(grads, state, scale, lr, momentum, share, decay, nesterov, first)  state: p, b, and "
            "copies of 16 bits");

template <bool AMSGRAD>
Adam<AMSGRAD> adam(double beta1, double beta2, double size, double eps, double decay,
                   double shrink) {
  return {static_cast<float>(beta1),     static_cast<float>(1 - beta1), static_cast<float>(beta2),
          static_cast<float>(1 - beta2), static_cast<float>(size),      static_cast<float>(eps),
          static_cast<float>(decay),     static_cast<float>(shrink)};
}

void adam_step(cudaStream_t stream, Arrays grads, Outs state, Arrays scale, double beta1,
               double beta2, double size, double eps, double decay, double shrink) {
  step("adam_step", stream, adam<false>(beta1, beta2, size, eps, decay, shrink), grads, state,
       scale);
}
PYNN_EXPORT(adam_step,
            "(grads, state, scale, beta1, beta2, size, eps, decay, shrink)  state: p, m, v, and "
            "copies of 16 bits");

void amsgrad_step(cudaStream_t stream, Arrays grads, Outs state, Arrays scale, double beta1,
                  double beta2, double size, double eps, double decay, double shrink) {
  step("amsgrad_step", stream, adam<true>(beta1, beta2, size, eps, decay, shrink), grads, state,
       scale);
}
PYNN_EXPORT(amsgrad_step,
            "(grads, state, scale, beta1, beta2, size, eps, decay, shrink)  state: p, m, v, the "
            "largest v, and copies of 16 bits");

void lion_step(cudaStream_t stream, Arrays grads, Outs state, Arrays scale, double beta1,
               double beta2, double lr, double shrink) {
  Lion const rule{static_cast<float>(beta1), static_cast<float>(1 - beta1),
                  static_cast<float>(beta2), static_cast<float>(1 - beta2),
                  static_cast<float>(lr),    static_cast<float>(shrink)};
  step("lion_step", stream, rule, grads, state, scale);
}
PYNN_EXPORT(lion_step,
            "(grads, state, scale, beta1, beta2, lr, shrink)  state: p, m, and copies of 16 bits");

}  // namespace pynn::optim
