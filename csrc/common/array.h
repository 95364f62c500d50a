// array.h — what a launcher sees of an array: a borrowed pointer, a dtype and a shape.
//
//   Array   an input:  data<T>() is T const*
//   Out     an output, or an array updated in place:  data<T>() is T*
//   Arrays  any number of inputs, from a Python list;  Outs the same of outputs
//   Strided, StridedOut   the two arrays of a copy, the one launcher that takes other strides
//
// Python owns the memory and every other array is C-contiguous, so there are no lifetimes here and
// nearly no strides. Sizes and indices are 64-bit throughout: an H200 holds arrays of more than 2^31
// elements.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace pynn {

enum class DType : uint8_t { f32, f16, bf16, f64, i8, i16, i32, i64, u8, u16, u32, u64, boolean };

// The spelling of NumPy and ml_dtypes, in the order of DType.
inline constexpr char const* DTYPE_NAMES[] = {"float32", "float16", "bfloat16", "float64", "int8",
                                              "int16",   "int32",   "int64",    "uint8",   "uint16",
                                              "uint32",  "uint64",  "bool"};

// Bytes of one element.
inline int64_t item_size(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64:
    case DType::u64:
      return 8;
    case DType::f32:
    case DType::i32:
    case DType::u32:
      return 4;
    case DType::f16:
    case DType::bf16:
    case DType::i16:
    case DType::u16:
      return 2;
    default:
      return 1;
  }
}

inline constexpr int MAX_NDIM = 8;

struct Array {
  void* ptr = nullptr;
  DType dtype = DType::f32;
  int ndim = 0;
  int64_t dims[MAX_NDIM];  // the first ndim are set

  std::span<int64_t const> shape() const { return {dims, static_cast<size_t>(ndim)}; }

  int64_t size() const {
    int64_t n = 1;
    for (int64_t const dim : shape()) n *= dim;
    return n;
  }

  template <typename T>
  T const* data() const {
    return static_cast<T const*>(ptr);
  }
};

struct Out : Array {
  template <typename T>
  T* data() const {
    return static_cast<T*>(ptr);
  }
};

// Strides are in bytes, as NumPy's: negative, 0 along an axis that repeats, or anything else.
struct Strided : Array {
  int64_t strides[MAX_NDIM];  // the first ndim are set
};

struct StridedOut : Strided {
  template <typename T>
  T* data() const {
    return static_cast<T*>(ptr);
  }
};

// Height and width, from a Python tuple of two ints.
struct Pair {
  int64_t h;
  int64_t w;
};

struct Arrays {
  std::span<Array const> list;

  int64_t size() const { return static_cast<int64_t>(list.size()); }
  Array const& operator[](int64_t i) const { return list[static_cast<size_t>(i)]; }
};

struct Outs {
  std::span<Array const> list;

  int64_t size() const { return static_cast<int64_t>(list.size()); }
  Out operator[](int64_t i) const { return Out{list[static_cast<size_t>(i)]}; }
};

}  // namespace pynn
