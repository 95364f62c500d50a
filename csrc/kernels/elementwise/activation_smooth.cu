// activation_smooth.cu — activations made of exp, tanh, erf and arctan.
//
//   y = f(x),  dx = dy f'(x);  x, y, dy, dx of one shape and dtype, any shape
//   T = f32 | f16 | bf16, math in f32, one rounding
//   y may be x itself, dx may be dy or the saved array itself; no partial overlap
//
//   NaN in x gives NaN in y and dx. At -inf and +inf, y and f' are their limits.
//
//   how overflow and cancellation are kept out: common/activation.cuh
//   layout, tile picture and bytes: common/map.cuh    bound: memory
//
//   Hendrycks, Gimpel 2016, arXiv:1606.08415 (GELU);  Elfwing, Uchibe, Doya 2017, arXiv:1702.03118
//   (SiLU);  Misra 2019, arXiv:1908.08681 (mish);  Dugas et al. 2000 (softplus)

#include <cmath>

#include "kernels/elementwise/activation.cuh"

#include "common/activation.cuh"
#include "common/check.h"
#include "common/export.h"

namespace pynn::activation {

// y = s(x);  dy/dx = y (1 - y)
struct Sigmoid {
  __device__ static float fwd(float x) { return logistic(x); }
  __device__ static float bwd(float y, float dy) { return dy * y * (1.f - y); }
};

// y = tanh(x);  dy/dx = 1 - y^2 = (1 - y)(1 + y), the form that does not cancel near |y| = 1
struct Tanh {
  __device__ static float fwd(float x) { return tanhf(x); }
  __device__ static float bwd(float y, float dy) { return dy * (1.f - y) * (1.f + y); }
};

// y = arctan(x);  dy/dx = 1 / (1 + x^2)
struct Arctan {
  __device__ static float fwd(float x) { return atanf(x); }
  __device__ static float bwd(float x, float dy) { return dy / (1.f + x * x); }
};

// y = x p/q,  p = n (n + 2),  q = p + 2,  n = e^x;  dy/dx = p/q + 4 x r/q^2,  r = n (1 + n)
// since tanh(log(1 + n)) = p/q. For x >= 0, p and q are taken times e^-2x and r times e^-4x, so
// nothing overflows.
struct Mish {
  struct Terms {
    float p;
    float q;
    float r;
  };
  __device__ static Terms terms(float x) {
    float const e = expf(-fabsf(x));
    float const p = x < 0.f ? e * (e + 2.f) : 1.f + 2.f * e;
    float const q = p + 2.f * (x < 0.f ? 1.f : e * e);
    float const r = (x < 0.f ? e : e * e) * (1.f + e);
    return {p, q, r};
  }
  __device__ static float fwd(float x) {
    if (x < -EXP_TAIL) return -0.f;
    Terms const t = terms(x);
    return x * __fdividef(t.p, t.q);
  }
  __device__ static float bwd(float x, float dy) {
    if (fabsf(x) > EXP_TAIL) return x > 0.f ? dy : 0.f;
    Terms const t = terms(x);
    return dy * __fdividef(t.p + __fdividef(4.f * x * t.r, t.q), t.q);
  }
};

// y = log(1 + e^z) / beta,  z = beta x;  y = x where z > threshold;  dy/dx = s(z), or 1
struct Softplus {
  float beta;
  float threshold;
  float inv_beta;
  __device__ float fwd(float x) const {
    float const z = beta * x;
    if (z > threshold) return x;
    return (z > 0.f ? x : 0.f) + log1pf(expf(-fabsf(z))) * inv_beta;
  }
  __device__ float bwd(float x, float dy) const {
    float const z = beta * x;
    return z > threshold ? dy : dy * logistic(z);
  }
};

void sigmoid_fwd(cudaStream_t stream, Array x, Out y) {
  forward("sigmoid_fwd", stream, Sigmoid{}, x, y);
}
PYNN_EXPORT(sigmoid_fwd, "(x, y)  y = 1 / (1 + exp(-x))");

void sigmoid_bwd(cudaStream_t stream, Array y, Array dy, Out dx) {
  backward("sigmoid_bwd", "y", stream, Sigmoid{}, y, dy, dx);
}
PYNN_EXPORT(sigmoid_bwd, "(y, dy, dx)  dx = dy y (1 - y)");

void tanh_fwd(cudaStream_t stream, Array x, Out y) {
  forward("tanh_fwd", stream, Tanh{}, x, y);
}
PYNN_EXPORT(tanh_fwd, "(x, y)  y = tanh(x)");

void tanh_bwd(cudaStream_t stream, Array y, Array dy, Out dx) {
  backward("tanh_bwd", "y", stream, Tanh{}, y, dy, dx);
}
PYNN_EXPORT(tanh_bwd, "(y, dy, dx)  dx = dy (1 - y^2)");

void arctan_fwd(cudaStream_t stream, Array x, Out y) {
  forward("arctan_fwd", stream, Arctan{}, x, y);
}
PYNN_EXPORT(arctan_fwd, "(x, y)  y = arctan(x)");

void arctan_bwd(cudaStream_t stream, Array x, Array dy, Out dx) {
  backward("arctan_bwd", "x", stream, Arctan{}, x, dy, dx);
}
PYNN_EXPORT(arctan_bwd, "(x, dy, dx)  dx = dy / (1 + x^2)");

void silu_fwd(cudaStream_t stream, Array x, Out y) {
  forward("silu_fwd", stream, Silu{}, x, y);
}
PYNN_EXPORT(silu_fwd, "(x, y)  y = x s(x),  s(x) = 1 / (1 + exp(-x))");

void silu_bwd(cudaStream_t stream, Array x, Array dy, Out dx) {
  backward("silu_bwd", "x", stream, Silu{}, x, dy, dx);
}
PYNN_EXPORT(silu_bwd, "(x, dy, dx)  dx = dy s(x) (1 + x s(-x)),  s(x) = 1 / (1 + exp(-x))");

void mish_fwd(cudaStream_t stream, Array x, Out y) {
  forward("mish_fwd", stream, Mish{}, x, y);
}
PYNN_EXPORT(mish_fwd, "(x, y)  y = x tanh(log(1 + exp(x)))");

void mish_bwd(cudaStream_t stream, Array x, Array dy, Out dx) {
  backward("mish_bwd", "x", stream, Mish{}, x, dy, dx);
}
PYNN_EXPORT(mish_bwd,
            "(x, dy, dx)  dx = dy (t + x (1 - t^2) / (1 + exp(-x))),  t = tanh(log(1 + exp(x)))");

// The checked parameters of softplus.
Softplus softplus(char const* name, double beta, double threshold) {
  expect(std::isfinite(beta) && beta != 0., name, "beta", "a finite number other than 0", beta);
  return {static_cast<float>(beta), static_cast<float>(threshold), static_cast<float>(1. / beta)};
}

void softplus_fwd(cudaStream_t stream, Array x, Out y, double beta, double threshold) {
  forward("softplus_fwd", stream, softplus("softplus_fwd", beta, threshold), x, y);
}
PYNN_EXPORT(
    softplus_fwd,
    "(x, y, beta, threshold)  y = log(1 + exp(beta x)) / beta;  x where beta x > threshold");

void softplus_bwd(cudaStream_t stream, Array x, Array dy, Out dx, double beta, double threshold) {
  backward("softplus_bwd", "x", stream, softplus("softplus_bwd", beta, threshold), x, dy, dx);
}
PYNN_EXPORT(
    softplus_bwd,
    "(x, dy, dx, beta, threshold)  dx = dy / (1 + exp(-beta x));  dy where beta x > threshold");

void gelu_fwd(cudaStream_t stream, Array x, Out y) {
  forward("gelu_fwd", stream, Gelu{}, x, y);
}
PYNN_EXPORT(gelu_fwd, "(x, y)  y = x/2 (1 + erf(x / sqrt(2)))");

void gelu_bwd(cudaStream_t stream, Array x, Array dy, Out dx) {
  backward("gelu_bwd", "x", stream, Gelu{}, x, dy, dx);
}
PYNN_EXPORT(gelu_bwd, "(x, dy, dx)  dx = dy (Phi(x) + x phi(x)) of the normal distribution");

void gelu_tanh_fwd(cudaStream_t stream, Array x, Out y) {
  forward("gelu_tanh_fwd", stream, GeluTanh{}, x, y);
}
PYNN_EXPORT(gelu_tanh_fwd, "(x, y)  y = x/2 (1 + tanh u),  u = sqrt(2/pi) (x + 0.044715 x^3)");

void gelu_tanh_bwd(cudaStream_t stream, Array x, Array dy, Out dx) {
  backward("gelu_tanh_bwd", "x", stream, GeluTanh{}, x, dy, dx);
}
PYNN_EXPORT(
    gelu_tanh_bwd,
    "(x, dy, dx)  dx = dy (1 + tanh u + x (1 - tanh^2 u) du/dx) / 2,  u as in gelu_tanh_fwd");

}  // namespace pynn::activation
