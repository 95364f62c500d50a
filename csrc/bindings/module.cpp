// module.cpp — the Python module: every export of every kernel file, callable by name.
//
//   pynn._cuda   takes CuPy arrays and launches on CuPy's current stream
//   pynn._sim    this file with PYNN_SIM defined: takes NumPy arrays, runs kernels in the simulator
//
// The hot path is plain CPython: one vectorcall and five attribute reads an array. pybind11 makes
// the module, its dicts and the NumPy view. Arrays are C-contiguous or refused; nothing here copies
// an array or waits for the device. Over 400 lines, since pybind11 is met in this file alone.

#include <pybind11/gil_safe_call_once.h>
#include <pybind11/pybind11.h>
#ifdef PYNN_SIM
#include <pybind11/numpy.h>
#endif

#include <algorithm>
#include <deque>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/array.h"
#include "common/check.h"
#include "common/export.h"
#ifdef PYNN_SIM
#include "sim/options.h"
#include "sim/race.h"
#endif

namespace pynn {
namespace {

namespace py = pybind11;

// An export with what its docstring says: argument names, and the text after them.
struct Function {
  Export const* entry;
  std::vector<std::string> names;
  std::string signature;  // (x: array, y: out)
  std::string doc;
  PyMethodDef method;
};

char const* kind_name(Kind kind) {
  switch (kind) {
    case Kind::array:
      return "array";
    case Kind::out:
      return "out";
    case Kind::strided:
      return "strided";
    case Kind::strided_out:
      return "strided out";
    case Kind::arrays:
      return "arrays";
    case Kind::outs:
      return "outs";
    case Kind::integer:
      return "int";
    case Kind::pair:
      return "pair";
    case Kind::real:
      return "float";
    case Kind::boolean:
      return "bool";
  }
  return "";
}

// "(x, y, slope)  y = ..." gives {"x", "y", "slope"}.
std::vector<std::string> argument_names(Export const& entry) {
  std::string const doc = entry.doc;
  size_t const end = doc.find(')');
  std::vector<std::string> names;
  if (!doc.empty() && doc[0] == '(' && end != std::string::npos) {
    for (size_t at = 1; at < end;) {
      size_t const comma = std::min(doc.find(',', at), end);
      names.push_back(doc.substr(at, comma - at));
      at = doc.find_first_not_of(' ', comma + 1);
    }
  }
  if (names.size() != static_cast<size_t>(entry.count)) {
    throw std::logic_error(message(
        entry.name, "doc", "the names of " + std::to_string(entry.count) + " arguments in ()",
        doc.substr(0, std::min(end, doc.size()) + 1)));
  }
  return names;
}

std::string got_type(PyObject* object) {
  return Py_TYPE(object)->tp_name;
}

// dtypes

struct KnownDType {
  PyObject* object;
  DType dtype;
};

// NumPy hands out one dtype object per type, so identity settles nearly every call.
DType read_dtype(char const* op, char const* what, PyObject* object) {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<std::vector<KnownDType>> storage;
  auto const& known = storage
                          .call_once_and_store_result([] {
                            py::module_::import("ml_dtypes");  // gives NumPy the name bfloat16
                            py::object const dtype = py::module_::import("numpy").attr("dtype");
                            std::vector<KnownDType> table;
                            for (size_t i = 0; i < std::size(DTYPE_NAMES); ++i) {
                              py::object one = dtype(DTYPE_NAMES[i]);
                              table.push_back({one.release().ptr(), static_cast<DType>(i)});
                            }
                            return table;
                          })
                          .get_stored();
  for (KnownDType const& entry : known) {
    if (entry.object == object) return entry.dtype;
  }
  for (KnownDType const& entry : known) {
    int const equal = PyObject_RichCompareBool(entry.object, object, Py_EQ);
    if (equal < 0) throw py::error_already_set();
    if (equal) return entry.dtype;
  }
  std::string names = DTYPE_NAMES[0];
  for (size_t i = 1; i < std::size(DTYPE_NAMES); ++i) names += std::string(", ") + DTYPE_NAMES[i];
  throw TypeError(message(op, what, "one of " + names, std::string(py::str(object))));
}

void fill_shape(char const* op, char const* what, Array& array, int64_t const* dims, int64_t ndim) {
  expect(ndim <= MAX_NDIM, op, what, "at most 8 dimensions", ndim);
  array.ndim = static_cast<int>(ndim);
  std::copy(dims, dims + ndim, array.dims);
}

// arrays and stream

#ifdef PYNN_SIM

// Tells the race detector of the memory from the array's first byte to its last.
void hand_over(py::array const& view) {
  if (view.size() == 0) return;
  auto const* first = static_cast<char const*>(view.data());
  auto const* end = first + view.itemsize();
  for (py::ssize_t d = 0; d < view.ndim(); ++d) {
    py::ssize_t const reach = (view.shape(d) - 1) * view.strides(d);
    (reach < 0 ? first : end) += reach;
  }
  sim::race::hand_over(first, static_cast<size_t>(end - first));
}

// strides: where they go, or nullptr if the array has to be C-contiguous.
void read_array(char const* op, char const* what, PyObject* object, bool written, Array& array,
                int64_t* strides = nullptr) {
  if (!py::isinstance<py::array>(object)) {
    throw TypeError(message(op, what, "a NumPy array", got_type(object)));
  }
  auto const view = py::reinterpret_borrow<py::array>(object);
  expect(strides != nullptr || view.flags() & py::array::c_style, op, what, "a C-contiguous array",
         "strides that skip");
  expect(!written || view.writeable(), op, what, "a writeable array", "a read-only one");
  array.ptr = const_cast<void*>(view.data());
  array.dtype = read_dtype(op, what, view.dtype().ptr());
  std::vector<int64_t> const dims(view.shape(), view.shape() + view.ndim());
  fill_shape(op, what, array, dims.data(), view.ndim());
  if (strides != nullptr) std::copy(view.strides(), view.strides() + view.ndim(), strides);
  hand_over(view);
}

cudaStream_t current_stream() {
  return {};
}

#else

// The attributes of a cupy.ndarray that are read on each call, interned once.
struct Names {
  PyObject* data = PyUnicode_InternFromString("data");
  PyObject* ptr = PyUnicode_InternFromString("ptr");
  PyObject* shape = PyUnicode_InternFromString("shape");
  PyObject* dtype = PyUnicode_InternFromString("dtype");
  PyObject* contiguous = PyUnicode_InternFromString("_c_contiguous");
  PyObject* strides = PyUnicode_InternFromString("strides");
};

Names const& attribute_names() {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<Names> storage;
  return storage.call_once_and_store_result([] { return Names{}; }).get_stored();
}

// A CuPy array has every attribute asked for; whatever lacks one is something else.
py::object attribute(char const* op, char const* what, PyObject* array, PyObject* owner,
                     PyObject* name) {
  PyObject* const value = PyObject_GetAttr(owner, name);
  if (value != nullptr) return py::reinterpret_steal<py::object>(value);
  if (!PyErr_ExceptionMatches(PyExc_AttributeError)) throw py::error_already_set();
  PyErr_Clear();
  throw TypeError(message(op, what, "a CuPy array", got_type(array)));
}

// A tuple of at most MAX_NDIM ints; returns how many.
int64_t read_ints(char const* op, char const* what, PyObject* array, PyObject* tuple,
                  int64_t* values) {
  if (!PyTuple_Check(tuple)) throw TypeError(message(op, what, "a CuPy array", got_type(array)));
  Py_ssize_t const count = PyTuple_GET_SIZE(tuple);
  expect(count <= MAX_NDIM, op, what, "at most 8 dimensions", int64_t{count});
  for (Py_ssize_t i = 0; i < count; ++i) {
    values[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, i));
    if (values[i] == -1 && PyErr_Occurred()) throw py::error_already_set();
  }
  return count;
}

// strides: where they go, or nullptr if the array has to be C-contiguous.
void read_array(char const* op, char const* what, PyObject* object, bool, Array& array,
                int64_t* strides = nullptr) {
  Names const& names = attribute_names();
  py::object const data = attribute(op, what, object, object, names.data);
  py::object const ptr = attribute(op, what, object, data.ptr(), names.ptr);
  py::object const shape = attribute(op, what, object, object, names.shape);
  py::object const dtype = attribute(op, what, object, object, names.dtype);
  if (strides != nullptr) {
    py::object const tuple = attribute(op, what, object, object, names.strides);
    read_ints(op, what, object, tuple.ptr(), strides);
  } else {
    py::object const contiguous = attribute(op, what, object, object, names.contiguous);
    expect(PyObject_IsTrue(contiguous.ptr()) == 1, op, what, "a C-contiguous array",
           "strides that skip");
  }
  array.ptr = PyLong_AsVoidPtr(ptr.ptr());
  if (array.ptr == nullptr && PyErr_Occurred()) throw py::error_already_set();
  array.dtype = read_dtype(op, what, dtype.ptr());

  int64_t dims[MAX_NDIM];
  fill_shape(op, what, array, dims, read_ints(op, what, object, shape.ptr(), dims));
}

// CuPy asks the driver for the device first, and raises where there is none. Then the null stream
// is as good as any: the launch itself will say what is missing, with the kernel's name.
cudaStream_t current_stream() {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> storage;
  py::object const& get_current_stream =
      storage
          .call_once_and_store_result([]() -> py::object {
            return py::module_::import("cupy.cuda").attr("get_current_stream");
          })
          .get_stored();
  auto const stream =
      py::reinterpret_steal<py::object>(PyObject_CallNoArgs(get_current_stream.ptr()));
  if (!stream) {
    if (!PyErr_ExceptionMatches(PyExc_RuntimeError)) throw py::error_already_set();
    PyErr_Clear();
    return nullptr;
  }
  auto const ptr =
      py::reinterpret_steal<py::object>(PyObject_GetAttr(stream.ptr(), attribute_names().ptr));
  if (!ptr) throw py::error_already_set();
  return static_cast<cudaStream_t>(PyLong_AsVoidPtr(ptr.ptr()));
}

#endif  // PYNN_SIM

// A list or a tuple of arrays. Errors call each by the list's name.
std::vector<Array> read_list(char const* op, char const* what, PyObject* object, bool written) {
  if (!PyList_Check(object) && !PyTuple_Check(object)) {
    throw TypeError(message(op, what, "a list of arrays", got_type(object)));
  }
  std::vector<Array> list(static_cast<size_t>(PySequence_Fast_GET_SIZE(object)));
  for (size_t i = 0; i < list.size(); ++i) {
    read_array(op, what, PySequence_Fast_GET_ITEM(object, static_cast<Py_ssize_t>(i)), written,
               list[i]);
  }
  return list;
}

// scalars

bool is_numpy_scalar(PyObject* object) {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> storage;
  py::object const& generic = storage
                                  .call_once_and_store_result([]() -> py::object {
                                    return py::module_::import("numpy").attr("generic");
                                  })
                                  .get_stored();
  return PyObject_IsInstance(object, generic.ptr()) == 1;
}

[[noreturn]] void fail_scalar(char const* op, char const* what, char const* expected,
                              PyObject* got) {
  PyErr_Clear();
  throw TypeError(message(op, what, expected, got_type(got)));
}

int64_t read_integer(char const* op, char const* what, PyObject* object) {
  if (!PyLong_Check(object) && !is_numpy_scalar(object)) fail_scalar(op, what, "an int", object);
  auto const index = py::reinterpret_steal<py::object>(PyNumber_Index(object));
  if (!index) fail_scalar(op, what, "an int", object);
  int64_t const value = PyLong_AsLongLong(index.ptr());
  if (value == -1 && PyErr_Occurred()) {
    PyErr_Clear();
    throw std::invalid_argument(
        message(op, what, "an int of 64 bits", std::string(py::str(index))));
  }
  return value;
}

Pair read_pair(char const* op, char const* what, PyObject* object) {
  if (!PyTuple_Check(object) || PyTuple_GET_SIZE(object) != 2) {
    throw TypeError(message(op, what, "a tuple of two ints", got_type(object)));
  }
  return {read_integer(op, what, PyTuple_GET_ITEM(object, 0)),
          read_integer(op, what, PyTuple_GET_ITEM(object, 1))};
}

// float(array) would copy from the device and wait, so arrays are refused even if Python has a way.
double read_real(char const* op, char const* what, PyObject* object) {
  if (PyFloat_Check(object)) return PyFloat_AS_DOUBLE(object);
  if (!PyLong_Check(object) && !is_numpy_scalar(object)) fail_scalar(op, what, "a float", object);
  double const value = PyFloat_AsDouble(object);
  if (value == -1. && PyErr_Occurred()) fail_scalar(op, what, "a float", object);
  return value;
}

int64_t read_boolean(char const* op, char const* what, PyObject* object) {
  if (!PyBool_Check(object) && !is_numpy_scalar(object)) fail_scalar(op, what, "a bool", object);
  return PyObject_IsTrue(object);
}

// the call

void call(Function const& function, PyObject* const* args, Py_ssize_t count) {
  Export const& entry = *function.entry;
  if (count != entry.count) {
    throw TypeError(message(entry.name, "arguments",
                            std::to_string(entry.count) + " " + function.signature,
                            int64_t{count}));
  }
#ifdef PYNN_SIM
  sim::race::begin_call();
#endif
  Value values[MAX_ARGS];
  std::vector<std::vector<Array>> lists;
  for (int i = 0; i < entry.count; ++i) {
    char const* const what = function.names[i].c_str();
    switch (entry.kinds[i]) {
      case Kind::array:
      case Kind::out:
        read_array(entry.name, what, args[i], entry.kinds[i] == Kind::out, values[i].array);
        break;
      case Kind::strided:
      case Kind::strided_out:
        read_array(entry.name, what, args[i], entry.kinds[i] == Kind::strided_out, values[i].array,
                   values[i].array.strides);
        break;
      case Kind::arrays:
      case Kind::outs:
        lists.push_back(read_list(entry.name, what, args[i], entry.kinds[i] == Kind::outs));
        values[i].list = lists.back();
        break;
      case Kind::integer:
        values[i].integer = read_integer(entry.name, what, args[i]);
        break;
      case Kind::pair:
        values[i].pair = read_pair(entry.name, what, args[i]);
        break;
      case Kind::real:
        values[i].real = read_real(entry.name, what, args[i]);
        break;
      case Kind::boolean:
        values[i].integer = read_boolean(entry.name, what, args[i]);
        break;
    }
  }
  entry.call(current_stream(), values);
}

PyObject* vectorcall(PyObject* capsule, PyObject* const* args, Py_ssize_t count) {
  auto const& function = *static_cast<Function const*>(PyCapsule_GetPointer(capsule, nullptr));
  try {
    call(function, args, count);
    Py_RETURN_NONE;
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (TypeError const& error) {
    PyErr_SetString(PyExc_TypeError, error.what());
  } catch (std::invalid_argument const& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (CudaError const& error) {
    PyErr_Format(PyExc_RuntimeError, "[%s] %s", function.entry->name, error.what());
  } catch (std::bad_alloc const&) {
    PyErr_NoMemory();
  } catch (std::exception const& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

// the module

std::string signature_of(Export const& entry, std::vector<std::string> const& names) {
  std::string text = "(";
  for (int i = 0; i < entry.count; ++i) {
    text += (i ? ", " : "") + names[i] + ": " + kind_name(entry.kinds[i]);
  }
  return text + ")";
}

void add_function(py::module_& module, Export const& entry) {
  static std::deque<Function> functions;  // CPython keeps pointers to the PyMethodDef and its doc
  if (py::hasattr(module, entry.name)) {
    throw std::logic_error(message(entry.name, "export", "a name used once", "a second launcher"));
  }
  Function& function = functions.emplace_back();
  function.entry = &entry;
  function.names = argument_names(entry);
  function.signature = signature_of(entry, function.names);
  std::string const doc = entry.doc;
  size_t const text = doc.find_first_not_of(' ', doc.find(')') + 1);
  function.doc = entry.name + function.signature + " -> None\n\n" +
                 (text == std::string::npos ? "" : doc.substr(text));
  function.method = {entry.name,
                     reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(vectorcall)),
                     METH_FASTCALL, function.doc.c_str()};
  py::capsule const self(&function);
  auto const callable = py::reinterpret_steal<py::object>(
      PyCFunction_NewEx(&function.method, self.ptr(), module.attr("__name__").ptr()));
  if (!callable) throw py::error_already_set();
  module.add_object(entry.name, callable);
}

py::dict build_info() {
  py::dict info;
  info["version"] = PYNN_VERSION;
  info["host_compiler"] = __VERSION__;
#ifdef PYNN_SIM
  info["simulated"] = true;
#else
  int cudart = 0;
  cudaRuntimeGetVersion(&cudart);
  info["simulated"] = false;
  info["nvcc"] = PYNN_NVCC_VERSION;
  info["cudart"] = std::to_string(cudart / 1000) + "." + std::to_string(cudart % 1000 / 10);
  info["archs"] = PYNN_CUDA_ARCHS;
  info["archs_sm90"] = PYNN_CUDA_ARCHS_SM90;
#endif
  return info;
}

void fill(py::module_& module) {
  std::vector<std::string> names;
  for (Export const* entry = Export::first; entry != nullptr; entry = entry->next) {
    add_function(module, *entry);
    names.emplace_back(entry->name);
  }
  std::ranges::sort(names);
  module.def(
      "kernels",
      [names] {
        py::list list;
        for (std::string const& name : names) list.append(name);
        return list;
      },
      "Names of the launchers in this module, sorted.");
  module.def("build_info", &build_info,
             "Versions and architectures this module was compiled with.");
}

#ifdef PYNN_SIM
void fill_simulator(py::module_& module) {
  module.def("set_schedule", &sim::set_schedule, py::arg("order") = "ascending",
             py::arg("async_mode") = "now", py::arg("seed") = 1,
             "Order of threads (ascending, descending, random), timing of TMA, cp.async and wgmma "
             "(now, late, random), and the seed of both.");
  module.def(
      "counters",
      [] {
        sim::Counters const& c = sim::counters();
        py::dict counts;
        counts["launches"] = c.launches;
        counts["blocks"] = c.blocks;
        counts["switches"] = c.switches;
        counts["barriers"] = c.barriers;
        counts["async_bytes"] = c.async_bytes;
        counts["global_load_bytes"] = c.global_load_bytes;
        counts["global_store_bytes"] = c.global_store_bytes;
        counts["distinct_bytes"] = c.distinct_bytes;
        return counts;
      },
      "What the kernels did since reset_counters(); the bytes of global loads and stores are "
      "counted in the race variant alone.");
  module.def("reset_counters", [] { sim::counters() = {}; }, "Starts counters() from zero.");
  module.def("variant", &sim::variant, "'', 'address' or 'race': how this module was built.");
}
#endif

}  // namespace
}  // namespace pynn

#ifdef PYNN_SIM
PYBIND11_MODULE(_sim, module, pybind11::mod_gil_not_used()) {
  module.doc() = "pynn's kernels in the CPU simulator, on NumPy arrays.";
  pynn::fill(module);
  pynn::fill_simulator(module);
}
#else
PYBIND11_MODULE(_cuda, module, pybind11::mod_gil_not_used()) {
  module.doc() = "pynn's kernels for CUDA, on CuPy arrays and CuPy's current stream.";
  pynn::fill(module);
}
#endif
