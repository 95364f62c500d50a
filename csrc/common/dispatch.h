// dispatch.h — from the dtype of an array to a template, the only place where that choice is made.
//
//   dispatch_float("gelu_fwd", "x", x.dtype, [&]<typename T>() { launch(gelu_kernel<T>, ...); });

#pragma once

#include <utility>

#include "common/check.h"
#include "common/launch.h"

namespace pynn {

// DType of a C++ type:  dtype_of<float> is DType::f32.
template <typename T>
inline constexpr DType dtype_of = [] {
  static_assert(sizeof(T) == 0, "dtype_of knows float, __half, __nv_bfloat16, int32_t and int64_t");
  return DType::f32;
}();
template <>
inline constexpr DType dtype_of<float> = DType::f32;
template <>
inline constexpr DType dtype_of<__half> = DType::f16;
template <>
inline constexpr DType dtype_of<__nv_bfloat16> = DType::bf16;
template <>
inline constexpr DType dtype_of<int32_t> = DType::i32;
template <>
inline constexpr DType dtype_of<int64_t> = DType::i64;

// float32, float16, bfloat16.
template <typename F>
void dispatch_float(char const* op, char const* what, DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f.template operator()<float>();
    case DType::f16:
      return f.template operator()<__half>();
    case DType::bf16:
      return f.template operator()<__nv_bfloat16>();
    default:
      throw TypeError(message(op, what, "float32, float16 or bfloat16", dtype));
  }
}

// float16, bfloat16: the tensor-core types.
template <typename F>
void dispatch_half(char const* op, char const* what, DType dtype, F&& f) {
  switch (dtype) {
    case DType::f16:
      return f.template operator()<__half>();
    case DType::bf16:
      return f.template operator()<__nv_bfloat16>();
    default:
      throw TypeError(message(op, what, "float16 or bfloat16", dtype));
  }
}

// int32, int64: labels and indices.
template <typename F>
void dispatch_index(char const* op, char const* what, DType dtype, F&& f) {
  switch (dtype) {
    case DType::i32:
      return f.template operator()<int32_t>();
    case DType::i64:
      return f.template operator()<int64_t>();
    default:
      throw TypeError(message(op, what, "int32 or int64", dtype));
  }
}

}  // namespace pynn
