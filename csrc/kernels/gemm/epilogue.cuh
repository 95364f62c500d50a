// epilogue.cuh — what happens to a sum of A B before it is an element of D. Every rung ends here.
//
//   plain        D = v                       v = sum of A B + bias + residual
//   activation   D = f(v),  Z = v            f = relu | gelu | gelu_tanh | silu;  Z if asked for
//   derivative   D = v f'(Z)                 what a layer sends to the one before it; relu: Z may
//                                            be its output
//
//   line sums    S = sum over k of A         of TN: where A is dy, the gradient of a bias
//   scaled       v = s_a s_b sum of A B + ...   s_a, s_b f32 in memory: what fp8 was divided by
//   greatest     amax = max(amax, |D|)       of fp8; the same bits in any order, since positive
//                                            floats are in the order of their bits, NaN above all
//
//   D, Z, residual (rows, N) row-major, bias (N) and S (rows) of one dtype: f32 | f16 | bf16, or
//   f64 without f and S;  v in f32 (f64 for f64), f of the unrounded v, one rounding
//
//   A caller brings W neighbouring elements of a row: 16 bytes at most in one store where D, Z and
//   bias are aligned, one element at a time otherwise and at the right edge. Dtype and f are
//   branches that all threads take alike: once for W elements, where a template would be a kernel
//   for each of 3 x 5 x 3 combinations.
//
//   bytes  sizeof(T) an element of D, as much again with Z or a residual

#pragma once

#include <cstdint>

#include "common/activation.cuh"
#include "common/array.h"
#include "common/launch.h"
#include "common/vec.cuh"

namespace pynn::gemm {

enum class Activation : int64_t { none, relu, gelu, gelu_tanh, silu };

struct Epilogue {
  void* d;
  void* z;               // null: not wanted
  void const* bias;      // null: none
  void const* residual;  // null: none
  void* sums;            // null: not wanted
  float const* scale_a;  // null: none
  float const* scale_b;
  unsigned* amax;  // null: not wanted; the bits of an f32
  int64_t N;
  int64_t ld;  // elements from one row of D to the next: N, or more where others lie between
  DType dtype;
  Activation activation;
  bool derivative;
  bool aligned;  // d, z, bias, residual and every row of D begin at 16 bytes
};

// The epilogue of columns `first` ... first + N - 1 of a wider D.
__device__ inline Epilogue from_column(Epilogue e, int64_t first) {
  int64_t const bytes = first * (e.dtype == DType::f64 ? 8 : e.dtype == DType::f32 ? 4 : 2);
  e.d = static_cast<char*>(e.d) + bytes;
  if (e.z != nullptr) e.z = static_cast<char*>(e.z) + bytes;
  if (e.bias != nullptr) e.bias = static_cast<char const*>(e.bias) + bytes;
  if (e.residual != nullptr) e.residual = static_cast<char const*>(e.residual) + bytes;
  return e;
}

template <typename F, typename V, int W>
__device__ inline void activate(Vec<V, W>& v) {
#pragma unroll
  for (int i = 0; i < W; ++i) v.at[i] = F::fwd(v.at[i]);
}

template <typename F, typename V, int W>
__device__ inline void differentiate(Vec<V, W> const& z, Vec<V, W>& v) {
#pragma unroll
  for (int i = 0; i < W; ++i) v.at[i] = F::bwd(z.at[i], v.at[i]);
}

template <int W>
__device__ inline void activate(Activation activation, Vec<float, W>& v) {
  switch (activation) {
    case Activation::none:
      return;
    case Activation::relu:
      return activate<activation::Relu>(v);
    case Activation::gelu:
      return activate<activation::Gelu>(v);
    case Activation::gelu_tanh:
      return activate<activation::GeluTanh>(v);
    case Activation::silu:
      return activate<activation::Silu>(v);
  }
}

template <int W>
__device__ inline void differentiate(Activation activation, Vec<float, W> const& z,
                                     Vec<float, W>& v) {
  switch (activation) {
    case Activation::none:
      return;
    case Activation::relu:
      return differentiate<activation::Relu>(z, v);
    case Activation::gelu:
      return differentiate<activation::Gelu>(z, v);
    case Activation::gelu_tanh:
      return differentiate<activation::GeluTanh>(z, v);
    case Activation::silu:
      return differentiate<activation::Silu>(z, v);
  }
}

template <typename T, int W>
inline constexpr int access_width =
    W * int{sizeof(T)} <= VEC_BYTES ? W : VEC_BYTES / int{sizeof(T)};

// The first `count` of W elements, as one access or element by element.
template <typename T, typename V, int W>
__device__ inline void load_piece(T const* p, int count, bool aligned, Vec<V, W>& v) {
  constexpr int WIDTH = access_width<T, W>;
  if (aligned && count == W) {
#pragma unroll
    for (int i = 0; i < W; i += WIDTH) {
      Vec<T, WIDTH> const vec = load_vec<WIDTH>(p + i);
#pragma unroll
      for (int j = 0; j < WIDTH; ++j) v.at[i + j] = static_cast<V>(vec.at[j]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < W; ++i) v.at[i] = i < count ? static_cast<V>(p[i]) : V(0);
  }
}

template <typename T, typename V, int W>
__device__ inline void add_piece(T const* p, int count, bool aligned, Vec<V, W>& v) {
  Vec<V, W> more;
  load_piece(p, count, aligned, more);
#pragma unroll
  for (int i = 0; i < W; ++i) v.at[i] += more.at[i];
}

template <typename T, typename V, int W>
__device__ inline void store_piece(T* p, int count, bool aligned, Vec<V, W> const& v) {
  constexpr int WIDTH = access_width<T, W>;
  if (aligned && count == W) {
#pragma unroll
    for (int i = 0; i < W; i += WIDTH) {
      Vec<T, WIDTH> vec;
#pragma unroll
      for (int j = 0; j < WIDTH; ++j) vec.at[j] = static_cast<T>(v.at[i + j]);
      store_vec<WIDTH>(p + i, vec);
    }
  } else {
#pragma unroll
    for (int i = 0; i < W; ++i) {
      if (i < count) p[i] = static_cast<T>(v.at[i]);
    }
  }
}

// `f` with a null pointer to the dtype's type.
template <typename F>
__device__ inline void with_dtype(DType dtype, F&& f) {
  if (dtype == DType::f32) {
    f(static_cast<float*>(nullptr));
  } else if (dtype == DType::f16) {
    f(static_cast<__half*>(nullptr));
  } else {
    f(static_cast<__nv_bfloat16*>(nullptr));
  }
}

// 1, or what A and B were divided by.
__device__ inline float scale(Epilogue const& e) {
  return e.scale_a == nullptr ? 1.f : *e.scale_a * *e.scale_b;
}

// The greatest |x|, as bits.
__device__ inline unsigned greatest(unsigned most, float x) {
  return max(most, __float_as_uint(fabsf(x)));
}

// The same with elements n ... of a row of D, if amax is wanted.
template <int W>
__device__ inline unsigned greatest(Epilogue const& e, int64_t n, Vec<float, W> const& v,
                                    unsigned most) {
  if (e.amax == nullptr) return most;
#pragma unroll
  for (int i = 0; i < W; ++i) most = n + i < e.N ? greatest(most, v.at[i]) : most;
  return most;
}

// Adds to amax the greatest that each lane has met. By a whole warp.
__device__ inline void finish_amax(Epilogue const& e, unsigned most) {
  if (e.amax == nullptr) return;
  most = __reduce_max_sync(0xFFFFFFFF, most);
  if (threadIdx.x % 32 == 0) atomicMax(e.amax, most);
}

// Finishes elements n ... n + W - 1 of a row of D, n a multiple of W; returns what it has stored.
template <int W>
__device__ inline Vec<float, W> finish(Epilogue const& e, int64_t row, int64_t n, Vec<float, W> v) {
  if (n >= e.N) return v;
  int const count = static_cast<int>(min(int64_t{W}, e.N - n));
  int64_t const at = row * e.ld + n;
  if (e.scale_a != nullptr) {
#pragma unroll
    for (int i = 0; i < W; ++i) v.at[i] *= scale(e);
  }
  with_dtype(e.dtype, [&]<typename T>(T*) {
    if (e.bias != nullptr) add_piece(static_cast<T const*>(e.bias) + n, count, e.aligned, v);
    if (e.residual != nullptr) {
      add_piece(static_cast<T const*>(e.residual) + at, count, e.aligned, v);
    }
  });
  if (e.derivative) {
    Vec<float, W> z;
    with_dtype(e.dtype, [&]<typename T>(T*) {
      load_piece(static_cast<T const*>(e.z) + at, count, e.aligned, z);
    });
    differentiate(e.activation, z, v);
  } else {
    if (e.z != nullptr) {
      with_dtype(e.dtype, [&]<typename T>(T*) {
        store_piece(static_cast<T*>(e.z) + at, count, e.aligned, v);
      });
    }
    activate(e.activation, v);
  }
  with_dtype(e.dtype, [&]<typename T>(T*) {
    store_piece(static_cast<T*>(e.d) + at, count, e.aligned, v);
#pragma unroll
    for (int i = 0; i < W; ++i) v.at[i] = static_cast<float>(static_cast<T>(v.at[i]));
  });
  return v;
}

// Finishes, but for its rounding to T, what a lane has of a fragment of wgmma: v[i] is of column
// n + 8 (i/4) + i%2. D is aligned, nothing but a bias is read, nothing but D written, and f is relu
// or none.
template <typename T, int SIZE>
__device__ inline void finish_fragment(Epilogue const& e, int64_t n, float (&v)[SIZE]) {
  if (e.scale_a != nullptr) {
#pragma unroll
    for (int i = 0; i < SIZE; ++i) v[i] *= scale(e);
  }
  if (e.bias != nullptr) {
    T const* const bias = static_cast<T const*>(e.bias) + n;
#pragma unroll
    for (int i = 0; i < SIZE; i += 4) {
      if (n + i * 2 >= e.N) continue;
      Vec<T, 2> const pair = load_vec<2>(bias + i * 2);
#pragma unroll
      for (int j = 0; j < 4; ++j) v[i + j] += static_cast<float>(pair.at[j % 2]);
    }
  }
  if (e.activation == Activation::relu) {
#pragma unroll
    for (int i = 0; i < SIZE; ++i) v[i] = activation::Relu::fwd(v[i]);
  }
}

template <int W>
__device__ inline void finish(Epilogue const& e, int64_t row, int64_t n, Vec<double, W> v) {
  if (n >= e.N) return;
  int const count = static_cast<int>(min(int64_t{W}, e.N - n));
  int64_t const at = row * e.ld + n;
  if (e.bias != nullptr) add_piece(static_cast<double const*>(e.bias) + n, count, e.aligned, v);
  if (e.residual != nullptr) {
    add_piece(static_cast<double const*>(e.residual) + at, count, e.aligned, v);
  }
  store_piece(static_cast<double*>(e.d) + at, count, e.aligned, v);
}

// The sum of a line of A, for that row of D.
__device__ inline void finish_sum(Epilogue const& e, int64_t row, float sum) {
  with_dtype(e.dtype, [&]<typename T>(T*) { static_cast<T*>(e.sums)[row] = static_cast<T>(sum); });
}

}  // namespace pynn::gemm
