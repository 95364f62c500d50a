// moments.cuh — mean and variance out of parts: sums about a value, joined about the joint mean.
//
//   n values x, their mean, and their sum of (x - mean)^2, M
//   a few values    d = x - k, k one of them:  mean = k + sum d / n,  M = sum d^2 - (sum d)^2 / n
//                   since k is among them, cancellation costs at most a factor n + 1, whatever the
//                   mean is: 1e4 beside a spread of 1e-3 keeps its digits, which E[x^2] - E[x]^2
//                   would lose
//   two parts       of n and m, delta their means' difference:  mean = mean_n + delta m / (n + m),
//                   M = M_n + M_m + delta^2 n m / (n + m), in f64
//
//   Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance"

#pragma once

#include <cstdint>

#include "common/launch.h"

namespace pynn {

// In f64, where a mean keeps its digits beside a small spread; few are made.
struct Moments {
  double mean = 0.;
  double squares = 0.;
  float count = 0.f;
  float nothing = 0.f;  // a shuffle moves whole words

  __device__ Moments operator+(Moments const& b) const {
    if (b.count == 0.f) return *this;
    if (count == 0.f) return b;
    Moments all;
    all.count = count + b.count;
    double const share = double{b.count} / all.count;
    double const delta = b.mean - mean;
    all.mean = mean + delta * share;
    all.squares = (squares + b.squares) + delta * delta * share * count;
    return all;
  }
};

// As they lie in memory: one access.
struct alignas(16) StoredMoments {
  double mean;
  float squares;
  float count;

  StoredMoments() = default;
  __device__ StoredMoments(Moments const& m)
      : mean(m.mean), squares(static_cast<float>(m.squares)), count(m.count) {}
  __device__ operator Moments() const { return {mean, squares, count}; }
};

// Sums of d = x - k over a few values.
struct Shifted {
  float k = 0.f;
  float sum = 0.f;
  float squares = 0.f;

  __device__ void add(float x) {
    float const d = x - k;
    sum += d;
    squares = fmaf(d, d, squares);
  }
  __device__ Moments moments(float count) const {
    Moments m;
    if (count == 0.f) return m;
    double const shift = double{sum} / count;
    double const rest = squares - shift * sum;
    m.mean = k + shift;
    m.squares = rest < 0. ? 0. : rest;
    m.count = count;
    return m;
  }
};

// Many parts, one after another, about the mean of the first: no division for each of them.
struct JoinedMoments {
  double k = 0.;
  double sum = 0.;
  double squares = 0.;
  double count = 0.;

  __device__ void add(StoredMoments const& part) {
    if (part.count == 0.f) return;
    if (count == 0.) k = part.mean;
    double const d = part.mean - k;
    sum += d * part.count;
    squares += part.squares + d * d * part.count;
    count += part.count;
  }
  __device__ Moments moments() const {
    Moments m;
    if (count == 0.) return m;
    double const shift = sum / count;
    double const rest = squares - shift * sum;
    m.mean = k + shift;
    m.squares = rest < 0. ? 0. : rest;
    m.count = static_cast<float>(count);
    return m;
  }
};

}  // namespace pynn
