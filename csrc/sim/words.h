// words.h — CUDA's words for a host compiler: __global__, threadIdx, float4, __half, intrinsics.
//
// Types come from NVIDIA's own headers, whose host paths round fp16, bf16 and fp8 as the device does.  The
// attributes become nothing; the built-in variables become members of the thread that runs.  Approximate
// intrinsics (__expf) are computed in full precision: compare results with a tolerance, never bit for bit.
#pragma once

#include <cuda_runtime_api.h>
#include <vector_functions.h>
#include <vector_types.h>

#include <cassert>
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "sim/machine.h"

// ---- attributes
#undef __global__
#undef __device__
#undef __host__
#undef __constant__
#undef __forceinline__
#undef __noinline__
#undef __launch_bounds__
#undef __grid_constant__
#undef __align__
#undef __cluster_dims__
#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __noinline__ [[gnu::noinline]]
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
#define __cluster_dims__(...)

// ---- built-in variables; not instrumented, so that the race detector does not take them for memory
namespace pynn::sim {
[[gnu::no_sanitize("thread")]] inline uint3 thread_index() {
  return current->index;
}
[[gnu::no_sanitize("thread")]] inline uint3 block_index() {
  return current->block->index;
}
[[gnu::no_sanitize("thread")]] inline dim3 block_size() {
  return gang->launch->block;
}
[[gnu::no_sanitize("thread")]] inline dim3 grid_size() {
  return gang->launch->grid;
}
[[gnu::no_sanitize("thread")]] inline unsigned lane() {
  return lane_of(*current);
}
[[gnu::no_sanitize("thread")]] inline long long ticks() {
  return (long long)gang->switches;
}
}  // namespace pynn::sim
#define threadIdx (::pynn::sim::thread_index())
#define blockIdx (::pynn::sim::block_index())
#define blockDim (::pynn::sim::block_size())
#define gridDim (::pynn::sim::grid_size())
inline constexpr int warpSize = 32;

// A failed assert ends the launch with an error, as on the device, instead of the process.
#undef assert
#ifdef NDEBUG
#define assert(condition) ((void)0)
#else
#define assert(condition) \
  ((condition)            \
       ? (void)0          \
       : ::pynn::sim::fail("assert(" #condition ") failed", ::pynn::sim::Where::current()))
#endif

[[noreturn]] inline void __trap(pynn::sim::Where where = pynn::sim::Where::current()) {
  pynn::sim::fail("__trap()", where);
}

// ---- time
inline void __nanosleep(unsigned, pynn::sim::Where where = pynn::sim::Where::current()) {
  pynn::sim::yield(where);
}
inline long long clock64() {
  return pynn::sim::ticks();
}
inline clock_t clock() {
  return clock_t(clock64());
}

// ---- loads and stores with a cache hint: the hint changes nothing here
template <class T>
inline T __ldg(const T* p) {
  return *p;
}
template <class T>
inline T __ldca(const T* p) {
  return *p;
}
template <class T>
inline T __ldcg(const T* p) {
  return *p;
}
template <class T>
inline T __ldcs(const T* p) {
  return *p;
}
template <class T>
inline T __ldlu(const T* p) {
  return *p;
}
template <class T>
inline T __ldcv(const T* p) {
  return *p;
}
template <class T>
inline void __stwb(T* p, T v) {
  *p = v;
}
template <class T>
inline void __stcg(T* p, T v) {
  *p = v;
}
template <class T>
inline void __stcs(T* p, T v) {
  *p = v;
}
template <class T>
inline void __stwt(T* p, T v) {
  *p = v;
}

// ---- integers
inline int min(int a, int b) {
  return a < b ? a : b;
}
inline unsigned min(unsigned a, unsigned b) {
  return a < b ? a : b;
}
inline long min(long a, long b) {
  return a < b ? a : b;
}
inline long long min(long long a, long long b) {
  return a < b ? a : b;
}
inline unsigned long min(unsigned long a, unsigned long b) {
  return a < b ? a : b;
}
inline float min(float a, float b) {
  return fminf(a, b);
}
inline double min(double a, double b) {
  return fmin(a, b);
}
inline int max(int a, int b) {
  return a > b ? a : b;
}
inline unsigned max(unsigned a, unsigned b) {
  return a > b ? a : b;
}
inline long max(long a, long b) {
  return a > b ? a : b;
}
inline long long max(long long a, long long b) {
  return a > b ? a : b;
}
inline unsigned long max(unsigned long a, unsigned long b) {
  return a > b ? a : b;
}
inline float max(float a, float b) {
  return fmaxf(a, b);
}
inline double max(double a, double b) {
  return fmax(a, b);
}
inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
inline int __popcll(unsigned long long x) {
  return __builtin_popcountll(x);
}
inline int __clz(int x) {
  return x ? __builtin_clz(unsigned(x)) : 32;
}
inline int __clzll(long long x) {
  return x ? __builtin_clzll((unsigned long long)x) : 64;
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline int __ffsll(long long x) {
  return __builtin_ffsll(x);
}
inline unsigned __brev(unsigned x) {
  unsigned r = 0;
  for (int i = 0; i < 32; ++i) r |= (x >> i & 1) << (31 - i);
  return r;
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const uint64_t bytes = uint64_t(y) << 32 | x;
  unsigned r = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned s = selector >> 4 * i & 0xF;
    unsigned byte = unsigned(bytes >> 8 * (s & 7)) & 0xFF;
    if (s & 8) byte = byte & 0x80 ? 0xFF : 0;
    r |= byte << 8 * i;
  }
  return r;
}
inline int __mulhi(int a, int b) {
  return int(int64_t(a) * b >> 32);
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return unsigned(uint64_t(a) * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned n) {
  return unsigned((uint64_t(hi) << 32 | lo) << (n & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned n) {
  return unsigned((uint64_t(hi) << 32 | lo) >> (n & 31));
}

// ---- the same bits as another type
inline int __float_as_int(float x) {
  return __builtin_bit_cast(int, x);
}
inline unsigned __float_as_uint(float x) {
  return __builtin_bit_cast(unsigned, x);
}
inline float __int_as_float(int x) {
  return __builtin_bit_cast(float, x);
}
inline float __uint_as_float(unsigned x) {
  return __builtin_bit_cast(float, x);
}
inline long long __double_as_longlong(double x) {
  return __builtin_bit_cast(long long, x);
}
inline double __longlong_as_double(long long x) {
  return __builtin_bit_cast(double, x);
}

// ---- float to integer, as the device: saturating, NaN to 0
template <class To, class From>
inline To pynn_sim_saturate(From x) {
  if (x != x) return 0;
  if (x >= From(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
  if (x <= From(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
  return To(x);
}
inline int __float2int_rn(float x) {
  return pynn_sim_saturate<int>(rintf(x));
}
inline int __float2int_rz(float x) {
  return pynn_sim_saturate<int>(truncf(x));
}
inline int __float2int_rd(float x) {
  return pynn_sim_saturate<int>(floorf(x));
}
inline int __float2int_ru(float x) {
  return pynn_sim_saturate<int>(ceilf(x));
}
inline unsigned __float2uint_rn(float x) {
  return pynn_sim_saturate<unsigned>(rintf(x));
}
inline unsigned __float2uint_rz(float x) {
  return pynn_sim_saturate<unsigned>(truncf(x));
}
inline float __int2float_rn(int x) {
  return float(x);
}
inline float __uint2float_rn(unsigned x) {
  return float(x);
}

// ---- mathematics
inline float __expf(float x) {
  return expf(x);
}
inline float __exp10f(float x) {
  return powf(10.0f, x);
}
inline float __logf(float x) {
  return logf(x);
}
inline float __log2f(float x) {
  return log2f(x);
}
inline float __log10f(float x) {
  return log10f(x);
}
inline float __powf(float x, float y) {
  return powf(x, y);
}
inline float __sinf(float x) {
  return sinf(x);
}
inline float __cosf(float x) {
  return cosf(x);
}
inline float __tanf(float x) {
  return tanf(x);
}
inline float __tanhf(float x) {
  return tanhf(x);
}
inline void __sincosf(float x, float* s, float* c) {
  *s = sinf(x), *c = cosf(x);
}
inline float __saturatef(float x) {
  return x >= 1.0f ? 1.0f : x > 0.0f ? x : 0.0f;
}
inline float __fdividef(float x, float y) {
  return x / y;
}
inline float fdividef(float x, float y) {
  return x / y;
}
inline float rsqrtf(float x) {
  return 1.0f / sqrtf(x);
}
inline double rsqrt(double x) {
  return 1.0 / sqrt(x);
}
inline float rcbrtf(float x) {
  return 1.0f / cbrtf(x);
}
inline float __frcp_rn(float x) {
  return 1.0f / x;
}
inline float __frsqrt_rn(float x) {
  return float(1.0 / sqrt(double(x)));
}
inline float __fsqrt_rn(float x) {
  return sqrtf(x);
}
inline float __fadd_rn(float x, float y) {
  return x + y;
}
inline float __fsub_rn(float x, float y) {
  return x - y;
}
inline float __fmul_rn(float x, float y) {
  return x * y;
}
inline float __fdiv_rn(float x, float y) {
  return x / y;
}
inline float __fmaf_rn(float x, float y, float z) {
  return fmaf(x, y, z);
}
inline double __dadd_rn(double x, double y) {
  return x + y;
}
inline double __dmul_rn(double x, double y) {
  return x * y;
}
inline double __fma_rn(double x, double y, double z) {
  return fma(x, y, z);
}
inline float sinpif(float x) {
  return float(sin(M_PI * double(x)));
}
inline float cospif(float x) {
  return float(cos(M_PI * double(x)));
}
inline float normcdff(float x) {
  return 0.5f * erfcf(-x * float(M_SQRT1_2));
}
