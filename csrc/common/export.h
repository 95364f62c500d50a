// export.h — makes a launcher callable from Python.
//
//   void gelu_fwd(cudaStream_t stream, Array x, Out y) { ... }
//   PYNN_EXPORT(gelu_fwd, "(x, y)  y = x/2 (1 + erf(x / sqrt(2)))");
//
// The doc begins with the arguments' names; their kinds come from the launcher's own signature:
//
//   Array     array   read only
//   Out       out     written; the simulator refuses an array that is not writeable
//   Arrays    arrays  a list or tuple of arrays
//   Outs      outs    the same, written
//   Strided, StridedOut   strided, strided out   an array of any strides, read or written
//   int64_t   int
//   Pair      pair    a tuple of two ints, height and width
//   float     float   double too
//   bool      bool
//
// bindings/module.cpp walks the list of exports at import; a new kernel touches neither it nor the
// build files.

#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include "common/array.h"
#include "common/launch.h"

namespace pynn {

inline constexpr int MAX_ARGS = 16;

enum class Kind : char {
  array,
  out,
  strided,
  strided_out,
  arrays,
  outs,
  integer,
  pair,
  real,
  boolean
};

// One argument as the bindings hand it over; the member of its kind is set.
struct Value {
  Strided array;
  std::span<Array const> list;
  int64_t integer;
  Pair pair;
  double real;
};

template <typename T>
constexpr Kind kind_of() {
  static_assert(std::same_as<T, Array> || std::same_as<T, Out> || std::same_as<T, Strided> ||
                    std::same_as<T, StridedOut> || std::same_as<T, Arrays> ||
                    std::same_as<T, Outs> || std::same_as<T, bool> || std::same_as<T, int64_t> ||
                    std::same_as<T, Pair> || std::floating_point<T>,
                "a launcher takes Array, Out, Strided, StridedOut, Arrays, Outs, int64_t, Pair, "
                "float, double or bool");
  if constexpr (std::same_as<T, Array>) return Kind::array;
  if constexpr (std::same_as<T, Out>) return Kind::out;
  if constexpr (std::same_as<T, Strided>) return Kind::strided;
  if constexpr (std::same_as<T, StridedOut>) return Kind::strided_out;
  if constexpr (std::same_as<T, Arrays>) return Kind::arrays;
  if constexpr (std::same_as<T, Outs>) return Kind::outs;
  if constexpr (std::same_as<T, bool>) return Kind::boolean;
  if constexpr (std::same_as<T, int64_t>) return Kind::integer;
  if constexpr (std::same_as<T, Pair>) return Kind::pair;
  return Kind::real;
}

template <typename T>
T value_as(Value const& value) {
  if constexpr (std::same_as<T, Array>) return value.array;
  if constexpr (std::same_as<T, Out>) return Out{value.array};
  if constexpr (std::same_as<T, Strided>) return value.array;
  if constexpr (std::same_as<T, StridedOut>) return StridedOut{value.array};
  if constexpr (std::same_as<T, Arrays> || std::same_as<T, Outs>) return T{value.list};
  if constexpr (std::same_as<T, bool>) return value.integer != 0;
  if constexpr (std::same_as<T, int64_t>) return value.integer;
  if constexpr (std::same_as<T, Pair>) return value.pair;
  if constexpr (std::floating_point<T>) return static_cast<T>(value.real);
}

struct Export {
  char const* name;
  char const* doc;
  int count;
  Kind kinds[MAX_ARGS];
  void (*call)(cudaStream_t, Value const*);
  Export const* next;

  static inline Export const* first = nullptr;

  template <typename... Args>
  Export(char const* export_name, char const* export_doc, void (*)(cudaStream_t, Args...),
         void (*thunk)(cudaStream_t, Value const*))
      : name(export_name),
        doc(export_doc),
        count(sizeof...(Args)),
        kinds{kind_of<Args>()...},
        call(thunk),
        next(first) {
    static_assert(sizeof...(Args) <= MAX_ARGS, "a launcher takes at most MAX_ARGS arguments");
    first = this;
  }
};

template <auto LAUNCHER>
struct Thunk;

template <typename... Args, void (*LAUNCHER)(cudaStream_t, Args...)>
struct Thunk<LAUNCHER> {
  static void call(cudaStream_t stream, Value const* values) {
    [&]<size_t... I>(std::index_sequence<I...>) {
      LAUNCHER(stream, value_as<Args>(values[I])...);
    }(std::index_sequence_for<Args...>{});
  }
};

#define PYNN_EXPORT(launcher, doc)                             \
  static ::pynn::Export const export_##launcher {              \
    #launcher, doc, &launcher, &::pynn::Thunk<&launcher>::call \
  }

}  // namespace pynn
