// step.cuh — one step of a rule over all parameters of a group, in one launch.
//
//   grads    g_i of T = f32 | f16 | bf16
//   state    of each kind one array a parameter, all of a kind together:
//              p_i      f32: the parameter, or the master copy of a 16-bit one
//              slots    f32: what the rule keeps for each element
//              copy_i   T: the 16-bit parameter, p_i rounded;  only where T is 16-bit
//   scale    no array, or one f32 that multiplies each gradient: the clip of the global norm
//   numbers  no array, or the f64 numbers that stand for the launcher's own: what changes from
//            step to step (rates, corrections of the bias). Both are read on the device, so that
//            nobody waits for them, and a captured graph of the launch takes what is there then
//
//   grid    one CTA for CHUNK = 2048 elements of a tensor: kernels/optim/tensors.cuh
//   thread  2 x 4 elements: 16-byte loads of each f32 array, all in flight before the first is used
//
//   bytes an element   8 (1 + slots) + 4, in f32 as in 16 bits: there 2 fewer for the gradient and
//                      2 more for the copy         bound: memory
//
//   Each element is one thread's, so the same bits come out each time. Without contraction, as in
//   the simulator, they are the reference's.

#pragma once

#include <string>
#include <type_traits>

#include "kernels/optim/tensors.cuh"

#include "common/check.h"
#include "common/dispatch.h"

namespace pynn::optim {

inline constexpr int UNITS = 2;
inline constexpr int CHUNK = THREADS * WIDTH * UNITS;

// A rule says how one element moves: rule(p, g, slots) changes the slots and returns the new p. It
// is made of NUMBERS numbers, on the host or on the device.

// Arrays of a tensor: g, p, slots, and the copy where T is 16-bit.
template <typename Rule, typename T>
inline constexpr int ARRAYS = Rule::SLOTS + (std::is_same_v<T, float> ? 2 : 3);

template <typename Rule, typename T, int COUNT>
__global__ void __launch_bounds__(THREADS)
    step_kernel(Rule rule, __grid_constant__ Tensors<ARRAYS<Rule, T>, COUNT> const tensors,
                float const* scale, double const* numbers) {
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
  if (numbers != nullptr) rule = Rule(numbers);

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

// The elements of the array in a list of at most one; null for none.
template <typename T>
T const* one(char const* name, char const* what, Arrays list, int64_t size) {
  expect(list.size() <= 1, name, what, "at most 1 array", list.size());
  if (list.size() == 0) return nullptr;
  expect(list[0].dtype == (sizeof(T) == 4 ? DType::f32 : DType::f64), name, what,
         sizeof(T) == 4 ? "float32" : "float64", list[0].dtype);
  expect(list[0].size() == size, name, what, show(size) + " elements", list[0].size());
  return list[0].data<T>();
}

template <typename Rule>
void step(char const* name, cudaStream_t stream, double const (&own)[Rule::NUMBERS], Arrays grads,
          Outs state, Arrays scale, Arrays numbers) {
  Rule const rule(own);
  float const* const factor = one<float>(name, "scale", scale, 1);
  double const* const given = one<double>(name, "numbers", numbers, Rule::NUMBERS);
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
            launch(step_kernel<Rule, T, COUNT>, ctas, THREADS, 0, stream, rule, tensors, factor,
                   given);
          });
    });
  });
}

}  // namespace pynn::optim
