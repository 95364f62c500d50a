// activation.cu — activations made of straight pieces, and the exponential linear units.
//
//   y = f(x),  dx = dy f'(x);  x, y, dy, dx of one shape and dtype, any shape
//   T = f32 | f16 | bf16, math in f32, one rounding
//   y may be x itself, dx may be dy or the saved array itself; no partial overlap
//
//   NaN in x gives NaN in y. The derivatives at NaN and at a kink are PyTorch's:
//     relu                 NaN passes dy on          relu'(0) = 0
//     leaky_relu           NaN counts as x <= 0      leaky_relu'(0) = slope
//     hardtanh             NaN gives 0               hardtanh'(low) = hardtanh'(high) = 0
//   and, unlike PyTorch's,
//     elu, selu, hardswish NaN gives NaN             elu'(0) = alpha, hardswish' is 0 at -3, 1 at 3
//
//   layout, tile picture and bytes: common/map.cuh    bound: memory
//
//   Maas, Hannun, Ng 2013 (leaky ReLU);  Clevert et al. 2015, arXiv:1511.07289 (ELU);
//   Klambauer et al. 2017, arXiv:1706.02515 (SELU);
//   Howard et al. 2019, arXiv:1905.02244 (hard-swish)

#include "kernels/elementwise/activation.cuh"

#include "common/activation.cuh"
#include "common/check.h"
#include "common/export.h"

namespace pynn::activation {

// y = x if x > 0 else slope x;  dy/dx = 1 if x > 0 else slope
struct LeakyRelu {
  float slope;
  __device__ float fwd(float x) const { return x > 0.f ? x : slope * x; }
  __device__ float bwd(float x, float dy) const { return x > 0.f ? dy : slope * dy; }
};

// y = x if x > 0 else alpha (e^x - 1);  dy/dx = 1 if x > 0 else alpha e^x
struct Elu {
  float alpha;
  __device__ float fwd(float x) const { return x > 0.f ? x : alpha * expm1f(x); }
  __device__ float bwd(float x, float dy) const { return x > 0.f ? dy : dy * alpha * expf(x); }
};

// y = scale elu(x, alpha), with the two constants that keep mean 0 and variance 1 a fixed point.
struct Selu {
  static constexpr float ALPHA = 1.6732632423543772f;
  static constexpr float SCALE = 1.0507009873554805f;
  __device__ static float fwd(float x) { return SCALE * Elu{ALPHA}.fwd(x); }
  __device__ static float bwd(float x, float dy) { return SCALE * Elu{ALPHA}.bwd(x, dy); }
};

// y = min(max(x, low), high);  dy/dx = [low < x < high]
struct HardTanh {
  float low;
  float high;
  __device__ float fwd(float x) const { return x < low ? low : x > high ? high : x; }
  __device__ float bwd(float x, float dy) const { return low < x && x < high ? dy : 0.f; }
};

// y = x min(max(x + 3, 0), 6) / 6;  dy/dx = 0 if x <= -3, x/3 + 1/2 if x < 3, 1 otherwise
struct HardSwish {
  __device__ static float fwd(float x) {
    if (x <= -3.f) return 0.f;
    return x < 3.f ? x * (x + 3.f) * (1.f / 6.f) : x;
  }
  __device__ static float bwd(float x, float dy) {
    if (x <= -3.f) return 0.f;
    return x >= 3.f ? dy : dy * (x * (1.f / 3.f) + 0.5f);
  }
};

// y = [x >= 0];  the derivative is 0 wherever there is one
struct Step {
  __device__ static float fwd(float x) { return x >= 0.f ? 1.f : x < 0.f ? 0.f : x; }
};

void relu_fwd(cudaStream_t stream, Array x, Out y) {
  forward("relu_fwd", stream, Relu{}, x, y);
}
PYNN_EXPORT(relu_fwd, "(x, y)  y = max(x, 0)");

void relu_bwd(cudaStream_t stream, Array y, Array dy, Out dx) {
  backward("relu_bwd", "y", stream, Relu{}, y, dy, dx);
}
PYNN_EXPORT(relu_bwd, "(y, dy, dx)  dx = dy [y > 0]");

void leaky_relu_fwd(cudaStream_t stream, Array x, Out y, double slope) {
  forward("leaky_relu_fwd", stream, LeakyRelu{static_cast<float>(slope)}, x, y);
}
PYNN_EXPORT(leaky_relu_fwd, "(x, y, slope)  y = x if x > 0 else slope x");

void leaky_relu_bwd(cudaStream_t stream, Array x, Array dy, Out dx, double slope) {
  backward("leaky_relu_bwd", "x", stream, LeakyRelu{static_cast<float>(slope)}, x, dy, dx);
}
PYNN_EXPORT(leaky_relu_bwd, "(x, dy, dx, slope)  dx = dy if x > 0 else slope dy");

void elu_fwd(cudaStream_t stream, Array x, Out y, double alpha) {
  forward("elu_fwd", stream, Elu{static_cast<float>(alpha)}, x, y);
}
PYNN_EXPORT(elu_fwd, "(x, y, alpha)  y = x if x > 0 else alpha (exp(x) - 1)");

void elu_bwd(cudaStream_t stream, Array x, Array dy, Out dx, double alpha) {
  backward("elu_bwd", "x", stream, Elu{static_cast<float>(alpha)}, x, dy, dx);
}
PYNN_EXPORT(elu_bwd, "(x, dy, dx, alpha)  dx = dy if x > 0 else dy alpha exp(x)");

void selu_fwd(cudaStream_t stream, Array x, Out y) {
  forward("selu_fwd", stream, Selu{}, x, y);
}
PYNN_EXPORT(selu_fwd, "(x, y)  y = 1.0507 elu(x, 1.6733)");

void selu_bwd(cudaStream_t stream, Array x, Array dy, Out dx) {
  backward("selu_bwd", "x", stream, Selu{}, x, dy, dx);
}
PYNN_EXPORT(selu_bwd, "(x, dy, dx)  dx = 1.0507 dy if x > 0 else 1.7581 dy exp(x)");

// The checked bounds of hardtanh.
HardTanh hardtanh(char const* name, double low, double high) {
  expect(low <= high, name, "low", "at most high = " + show(high), low);
  return {static_cast<float>(low), static_cast<float>(high)};
}

void hardtanh_fwd(cudaStream_t stream, Array x, Out y, double low, double high) {
  forward("hardtanh_fwd", stream, hardtanh("hardtanh_fwd", low, high), x, y);
}
PYNN_EXPORT(hardtanh_fwd, "(x, y, low, high)  y = min(max(x, low), high)");

void hardtanh_bwd(cudaStream_t stream, Array x, Array dy, Out dx, double low, double high) {
  backward("hardtanh_bwd", "x", stream, hardtanh("hardtanh_bwd", low, high), x, dy, dx);
}
PYNN_EXPORT(hardtanh_bwd, "(x, dy, dx, low, high)  dx = dy [low < x < high]");

void hardswish_fwd(cudaStream_t stream, Array x, Out y) {
  forward("hardswish_fwd", stream, HardSwish{}, x, y);
}
PYNN_EXPORT(hardswish_fwd, "(x, y)  y = x min(max(x + 3, 0), 6) / 6");

void hardswish_bwd(cudaStream_t stream, Array x, Array dy, Out dx) {
  backward("hardswish_bwd", "x", stream, HardSwish{}, x, dy, dx);
}
PYNN_EXPORT(hardswish_bwd, "(x, dy, dx)  dx = 0 if x <= -3, dy (x/3 + 1/2) if x < 3, dy otherwise");

void step_fwd(cudaStream_t stream, Array x, Out y) {
  forward("step_fwd", stream, Step{}, x, y);
}
PYNN_EXPORT(step_fwd, "(x, y)  y = 1 if x >= 0 else 0");

}  // namespace pynn::activation
