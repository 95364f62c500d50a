// activation.cuh — the two launchers that every activation shares.
//
//   An activation is a struct with  fwd(x) -> y  and  bwd(saved, dy) -> dx  in f32, where saved is
//   x or y, whichever the derivative is cheaper from; its hyper-parameters are members.
//
//   bytes, forward 2 n sizeof(T), backward 3 n sizeof(T)

#pragma once

#include "common/array.h"
#include "common/dispatch.h"
#include "common/launch.h"
#include "common/map.cuh"

namespace pynn::activation {

template <typename Op>
struct Forward {
  Op op;
  __device__ float operator()(float x) const { return op.fwd(x); }
};

template <typename Op>
struct Backward {
  Op op;
  __device__ float operator()(float saved, float dy) const { return op.bwd(saved, dy); }
};

template <typename Op>
void forward(char const* name, cudaStream_t stream, Op op, Array x, Out y) {
  expect_like(name, "y", y, x);
  dispatch_float(name, "x", x.dtype, [&]<typename T>() {
    map(stream, Forward<Op>{op}, x.size(), y.data<T>(), x.data<T>());
  });
}

// saved_name is what saved is called in the launcher's signature: "x" or "y".
template <typename Op>
void backward(char const* name, char const* saved_name, cudaStream_t stream, Op op, Array saved,
              Array dy, Out dx) {
  expect_like(name, "dy", dy, saved);
  expect_like(name, "dx", dx, saved);
  dispatch_float(name, saved_name, saved.dtype, [&]<typename T>() {
    map(stream, Backward<Op>{op}, saved.size(), dx.data<T>(), saved.data<T>(), dy.data<T>());
  });
}

}  // namespace pynn::activation
