// cross_entropy.cuh — what the kernels of cross_entropy.cu and cross_entropy_sm90.cu share.

#pragma once

#include <cmath>

#include "common/row.cuh"

namespace pynn::cross_entropy {

// What every row shares.
struct Params {
  int64_t const* labels;
  float const* weight;      // or null: 1
  float const* weight_sum;  // or null: C
  float* stats;
  int64_t rows;
  int64_t classes;
  int64_t ignore_index;
  float smoothing;

  __device__ float weight_of(int64_t c) const { return weight == nullptr ? 1.f : weight[c]; }
  __device__ float sum_of_weights() const {
    return weight_sum == nullptr ? static_cast<float>(classes) : *weight_sum;
  }
  __device__ bool inside(int64_t label) const { return label >= 0 && label < classes; }
  // w_c x'_c, 0 where w_c is, even if x_c is -inf
  __device__ float smooth(int64_t c, float shifted) const {
    float const w = weight_of(c);
    return w == 0.f ? 0.f : w * shifted;
  }
};

// The loss and the weight of each row: (2, rows).
struct Losses {
  float* loss;
  float* weight;
};

// Where the gradient goes that the forward writes, for dy = 1 / divisor; null: none is wanted.
template <typename T>
struct Gradient {
  T* dx;
  float const* divisor;  // or null: 1

  __device__ float of_loss() const { return divisor == nullptr ? 1.f : 1.f / *divisor; }
};

// dx of a row's elements, for g = dL/dloss.
struct RowGradient {
  float peak;
  float hit;
  float scale;
  float spread;
  int64_t label;

  __device__ RowGradient(Params const& p, int64_t row, float row_peak, float sum, float g)
      : peak(row_peak), label(p.labels[row]) {
    bool const ignored = label == p.ignore_index;
    if (ignored || sum == 0.f) g = 0.f;
    float const weight = p.inside(label) ? p.weight_of(label) : ignored ? 0.f : NAN;
    float const s = p.smoothing / static_cast<float>(p.classes);
    hit = (1.f - p.smoothing) * (g * weight);
    float const mass = p.smoothing == 0.f ? hit : hit + s * p.sum_of_weights() * g;
    scale = mass / (sum == 0.f ? 1.f : sum);
    spread = s * g;
  }
  __device__ float operator()(Params const& p, int64_t c, float x) const {
    float d = expf(x - peak) * scale;
    if (p.smoothing != 0.f) d -= spread * p.weight_of(c);
    return c == label ? d - hit : d;
  }
};

// The loss of one row by one of its threads; smooth = sum_c w_c x'_c.
template <typename T>
__device__ void finish(Params const& p, Losses out, int64_t row, T const* x, float peak, float sum,
                       float smooth) {
  p.stats[row] = peak;
  p.stats[p.rows + row] = sum;
  int64_t const label = p.labels[row];
  float loss = 0.f;
  float weight = 0.f;
  if (label != p.ignore_index) {
    weight = p.inside(label) ? p.weight_of(label) : NAN;
    float const log_sum = logf(sum);
    float const picked = p.inside(label) ? static_cast<float>(x[label]) - peak : 0.f;
    loss = weight == 0.f ? 0.f : weight * (log_sum - picked);
    if (p.smoothing != 0.f) {
      float const s = p.smoothing / static_cast<float>(p.classes);
      loss = (1.f - p.smoothing) * loss + s * (p.sum_of_weights() * log_sum - smooth);
    }
    if (sum == 0.f && weight == weight) loss = INFINITY;
  }
  out.loss[row] = loss;
  out.weight[row] = weight;
}

// Rows of a cluster of CTAs (cross_entropy_sm90.cu): in 16-byte steps, at most CLUSTER_CLASSES long.
inline constexpr int64_t CLUSTER_CLASSES = 262144;

template <typename T>
void launch_cluster(char const* op, cudaStream_t stream, T const* x, Params p, Losses out,
                    Gradient<T> gradient);

}  // namespace pynn::cross_entropy
