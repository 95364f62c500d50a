// softmax.cuh — what the kernels of softmax.cu and softmax_sm90.cu share.

#pragma once

#include <cmath>

#include "common/row.cuh"

namespace pynn::softmax {

// The quotient is a product with 1/sum and one step of Newton's: the bits of a division, in three
// instructions without its slow path.
struct Softmax {
  float peak;
  float sum;
  float inverse;
  __device__ Softmax(float max, float total)
      : peak(max), sum(total == 0.f ? 1.f : total), inverse(1.f / sum) {}
  __device__ float operator()(float x) const {
    float const e = expf(x - peak);
    float const y = e * inverse;
    return fmaf(fmaf(-y, sum, e), inverse, y);
  }
};

struct LogSoftmax {
  float peak;
  float log_sum;
  __device__ LogSoftmax(float max, float sum) : peak(max), log_sum(sum == 0.f ? 0.f : logf(sum)) {}
  __device__ float operator()(float x) const { return x - peak - log_sum; }
};

// A gradient has a State, summed over the row: Part over a thread's elements, State over threads.
struct SoftmaxGradient {
  using Part = float;
  using State = Sum;
  __device__ static Part term(float y, float dy) { return y * dy; }
  __device__ static float dx(float y, float dy, State const& dot) { return y * (dy - dot.value()); }
};

struct LogSoftmaxGradient {
  struct Part {
    float sum = 0.f;
    float max = -INFINITY;
    __device__ Part operator+(Part b) const { return {sum + b.sum, Max{}(max, b.max)}; }
  };
  struct State {
    Sum sum;
    float max = -INFINITY;
    __device__ State() {}
    __device__ State(Part part) : sum(part.sum), max(part.max) {}
    __device__ State operator+(State b) const {
      b.sum = sum + b.sum;
      b.max = Max{}(max, b.max);
      return b;
    }
  };
  __device__ static Part term(float y, float dy) { return {dy, y}; }
  __device__ static float dx(float y, float dy, State const& row) {
    return row.max == -INFINITY ? 0.f : dy - expf(y) * row.sum.value();
  }
};

// Rows of a cluster of CTAs (softmax_sm90.cu), in 16-byte steps: at most so long, half in bwd.
inline constexpr int64_t CLUSTER_ROW = 262144;

template <typename Op, typename T>
void fwd_cluster(char const* name, cudaStream_t stream, T const* x, int64_t rows, int64_t n, T* y);

template <typename Gradient, typename T>
void bwd_cluster(char const* name, cudaStream_t stream, T const* y, T const* dy, int64_t rows,
                 int64_t n, T* dx);

}  // namespace pynn::softmax
