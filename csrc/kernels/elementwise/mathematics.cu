// mathematics.cu — exp, log, log1p, sqrt, rsqrt, square, sin, cos, abs, neg, clip.
//
//   y = f(x),  dx = dy f'(x);  x, y, dy, dx of one shape and dtype, any shape
//   T = f32 | f16 | bf16, math in f32, one rounding
//   y may be x itself, dx may be dy or the saved array itself; no partial overlap
//
//   NaN in x gives NaN in y. The backward reads y where f' is cheaper from it: exp, sqrt, rsqrt.
//
//   layout, tile picture and bytes: common/map.cuh    bound: memory; issue for sin, cos in 16 bits

#include <cmath>

#include "kernels/elementwise/activation.cuh"
#include "kernels/elementwise/sine.cuh"

#include "common/check.h"
#include "common/export.h"

namespace pynn::mathematics {

using activation::backward;
using activation::forward;

struct Exp {
  __device__ static float fwd(float x) { return expf(x); }
  __device__ static float bwd(float y, float dy) { return dy * y; }
};
struct Log {
  __device__ static float fwd(float x) { return logf(x); }
  __device__ static float bwd(float x, float dy) { return dy / x; }
};
struct Log1p {
  __device__ static float fwd(float x) { return log1pf(x); }
  __device__ static float bwd(float x, float dy) { return dy / (1.f + x); }
};
struct Sqrt {
  __device__ static float fwd(float x) { return sqrtf(x); }
  __device__ static float bwd(float y, float dy) { return dy * (0.5f / y); }
};
struct Rsqrt {
  __device__ static float fwd(float x) { return 1.f / sqrtf(x); }
  __device__ static float bwd(float y, float dy) { return dy * (-0.5f * y * y * y); }
};
struct Square {
  __device__ static float fwd(float x) { return x * x; }
  __device__ static float bwd(float x, float dy) { return dy * (2.f * x); }
};
struct Sin {
  __device__ static float fwd(float x) { return sine::sin(x); }
  __device__ static float bwd(float x, float dy) { return dy * sine::cos(x); }
};
struct Cos {
  __device__ static float fwd(float x) { return sine::cos(x); }
  __device__ static float bwd(float x, float dy) { return -(dy * sine::sin(x)); }
};
struct Abs {
  __device__ static float fwd(float x) { return fabsf(x); }
  __device__ static float bwd(float x, float dy) {
    return x > 0.f ? dy : x < 0.f ? -dy : x == 0.f ? dy * 0.f : x;
  }
};
struct Neg {
  __device__ static float fwd(float x) { return -x; }
};

// y = min(max(x, low), high);  dx = dy [low <= x <= high], 0 where x is NaN
struct Clip {
  float low;
  float high;
  __device__ float fwd(float x) const { return x < low ? low : x > high ? high : x; }
  __device__ float bwd(float x, float dy) const { return x >= low && x <= high ? dy : dy * 0.f; }
};

void exp_fwd(cudaStream_t stream, Array x, Out y) {
  forward("exp_fwd", stream, Exp{}, x, y);
}
PYNN_EXPORT(exp_fwd, "(x, y)  y = e^x");

void exp_bwd(cudaStream_t stream, Array y, Array dy, Out dx) {
  backward("exp_bwd", "y", stream, Exp{}, y, dy, dx);
}
PYNN_EXPORT(exp_bwd, "(y, dy, dx)  dx = dy y");

void log_fwd(cudaStream_t stream, Array x, Out y) {
  forward("log_fwd", stream, Log{}, x, y);
}
PYNN_EXPORT(log_fwd, "(x, y)  y = log(x)");

void log_bwd(cudaStream_t stream, Array x, Array dy, Out dx) {
  backward("log_bwd", "x", stream, Log{}, x, dy, dx);
}
PYNN_EXPORT(log_bwd, "(x, dy, dx)  dx = dy / x");

void log1p_fwd(cudaStream_t stream, Array x, Out y) {
  forward("log1p_fwd", stream, Log1p{}, x, y);
}
PYNN_EXPORT(log1p_fwd, "(x, y)  y = log(1 + x)");

void log1p_bwd(cudaStream_t stream, Array x, Array dy, Out dx) {
  backward("log1p_bwd", "x", stream, Log1p{}, x, dy, dx);
}
PYNN_EXPORT(log1p_bwd, "(x, dy, dx)  dx = dy / (1 + x)");

void sqrt_fwd(cudaStream_t stream, Array x, Out y) {
  forward("sqrt_fwd", stream, Sqrt{}, x, y);
}
PYNN_EXPORT(sqrt_fwd, "(x, y)  y = sqrt(x)");

void sqrt_bwd(cudaStream_t stream, Array y, Array dy, Out dx) {
  backward("sqrt_bwd", "y", stream, Sqrt{}, y, dy, dx);
}
PYNN_EXPORT(sqrt_bwd, "(y, dy, dx)  dx = dy / (2 y)");

void rsqrt_fwd(cudaStream_t stream, Array x, Out y) {
  forward("rsqrt_fwd", stream, Rsqrt{}, x, y);
}
PYNN_EXPORT(rsqrt_fwd, "(x, y)  y = 1 / sqrt(x)");

void rsqrt_bwd(cudaStream_t stream, Array y, Array dy, Out dx) {
  backward("rsqrt_bwd", "y", stream, Rsqrt{}, y, dy, dx);
}
PYNN_EXPORT(rsqrt_bwd, "(y, dy, dx)  dx = -dy y^3 / 2");

void square_fwd(cudaStream_t stream, Array x, Out y) {
  forward("square_fwd", stream, Square{}, x, y);
}
PYNN_EXPORT(square_fwd, "(x, y)  y = x^2");

void square_bwd(cudaStream_t stream, Array x, Array dy, Out dx) {
  backward("square_bwd", "x", stream, Square{}, x, dy, dx);
}
PYNN_EXPORT(square_bwd, "(x, dy, dx)  dx = 2 dy x");

void sin_fwd(cudaStream_t stream, Array x, Out y) {
  forward("sin_fwd", stream, Sin{}, x, y);
}
PYNN_EXPORT(sin_fwd, "(x, y)  y = sin(x)");

void sin_bwd(cudaStream_t stream, Array x, Array dy, Out dx) {
  backward("sin_bwd", "x", stream, Sin{}, x, dy, dx);
}
PYNN_EXPORT(sin_bwd, "(x, dy, dx)  dx = dy cos(x)");

void cos_fwd(cudaStream_t stream, Array x, Out y) {
  forward("cos_fwd", stream, Cos{}, x, y);
}
PYNN_EXPORT(cos_fwd, "(x, y)  y = cos(x)");

void cos_bwd(cudaStream_t stream, Array x, Array dy, Out dx) {
  backward("cos_bwd", "x", stream, Cos{}, x, dy, dx);
}
PYNN_EXPORT(cos_bwd, "(x, dy, dx)  dx = -dy sin(x)");

void abs_fwd(cudaStream_t stream, Array x, Out y) {
  forward("abs_fwd", stream, Abs{}, x, y);
}
PYNN_EXPORT(abs_fwd, "(x, y)  y = |x|");

void abs_bwd(cudaStream_t stream, Array x, Array dy, Out dx) {
  backward("abs_bwd", "x", stream, Abs{}, x, dy, dx);
}
PYNN_EXPORT(abs_bwd, "(x, dy, dx)  dx = dy sign(x), 0 at 0");

void neg_fwd(cudaStream_t stream, Array x, Out y) {
  forward("neg_fwd", stream, Neg{}, x, y);
}
PYNN_EXPORT(neg_fwd, "(x, y)  y = -x, its own backward");

void clip_fwd(cudaStream_t stream, Array x, Out y, double low, double high) {
  expect(low <= high, "clip_fwd", "low", "at most high = " + show(high), low);
  forward("clip_fwd", stream, Clip{static_cast<float>(low), static_cast<float>(high)}, x, y);
}
PYNN_EXPORT(clip_fwd, "(x, y, low, high)  y = min(max(x, low), high)");

void clip_bwd(cudaStream_t stream, Array x, Array dy, Out dx, double low, double high) {
  expect(low <= high, "clip_bwd", "low", "at most high = " + show(high), low);
  Clip const clip{static_cast<float>(low), static_cast<float>(high)};
  backward("clip_bwd", "x", stream, clip, x, dy, dx);
}
PYNN_EXPORT(clip_bwd, "(x, dy, dx, low, high)  dx = dy [low <= x <= high]");

}  // namespace pynn::mathematics
