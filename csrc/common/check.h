// check.h — the checks of a launcher. All errors read  [op] what: expected this, got that.
//
//   std::invalid_argument   shapes and values    ValueError in Python
//   TypeError               dtypes and kinds     TypeError
//   CudaError               the CUDA runtime     RuntimeError
//
// Text is made only once a check has failed, so a check costs a comparison.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>

#include "common/array.h"

namespace pynn {

struct TypeError : std::logic_error {
  using std::logic_error::logic_error;
};

struct CudaError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline std::string show(std::string const& text) {
  return text;
}
inline std::string show(char const* text) {
  return text;
}
inline std::string show(int value) {
  return std::to_string(value);
}
inline std::string show(int64_t value) {
  return std::to_string(value);
}
inline std::string show(DType dtype) {
  return DTYPE_NAMES[static_cast<int>(dtype)];
}

inline std::string show(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

// (3, 4), (3,) or (), as Python writes a tuple.
inline std::string show(std::span<int64_t const> shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += (i ? ", " : "") + std::to_string(shape[i]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

template <typename Expected, typename Got>
std::string message(char const* op, char const* what, Expected const& expected, Got const& got) {
  std::string text = "[";  // appended to: g++ 12 warns of "[" + std::string
  text.append(op).append("] ").append(what).append(": expected ");
  return text.append(show(expected)).append(", got ").append(show(got));
}

template <typename Expected, typename Got>
void expect(bool ok, char const* op, char const* what, Expected const& expected, Got const& got) {
  if (!ok) throw std::invalid_argument(message(op, what, expected, got));
}

inline void expect_shape(char const* op, char const* what, Array const& array,
                         std::span<int64_t const> shape) {
  expect(std::ranges::equal(array.shape(), shape), op, what, "shape " + show(shape), array.shape());
}

inline void expect_shape(char const* op, char const* what, Array const& array,
                         std::initializer_list<int64_t> shape) {
  expect_shape(op, what, array, std::span<int64_t const>{shape.begin(), shape.size()});
}

inline void expect_ndim(char const* op, char const* what, Array const& array, int ndim) {
  if (array.ndim == ndim) return;
  throw std::invalid_argument(
      message(op, what, std::to_string(ndim) + " dimensions", "shape " + show(array.shape())));
}

inline void expect_dtype(char const* op, char const* what, Array const& array, DType dtype) {
  if (array.dtype != dtype) throw TypeError(message(op, what, dtype, array.dtype));
}

// The shape and the dtype of another argument.
inline void expect_like(char const* op, char const* what, Array const& array, Array const& like) {
  expect_shape(op, what, array, like.shape());
  expect_dtype(op, what, array, like.dtype);
}

}  // namespace pynn
