// tensor_map.cpp — the driver's argument checks (cuda.h, cuTensorMapEncodeTiled and cuTensorMapEncodeIm2col).
#include "sim/tensor_map.h"

#include <algorithm>
#include <stdexcept>

namespace pynn {

namespace {

class Checker {
 public:
  explicit Checker(const char* op) : op_(op) {}

  template <class T>
  void expect(bool ok, const std::string& what, const std::string& expected, T got) const {
    if (!ok)
      throw std::invalid_argument("[" + std::string(op_) + "] " + what + ": expected " + expected +
                                  ", got " + std::to_string(got));
  }

  void common(uint32_t least_rank, const TiledTensor& t, uint32_t inner_elements,
              const char* inner) const {
    expect(t.rank >= least_rank && t.rank <= 5, "rank", std::to_string(least_rank) + " to 5",
           t.rank);
    expect(reinterpret_cast<uintptr_t>(t.address) % 16 == 0, "address", "a multiple of 16 bytes",
           reinterpret_cast<uintptr_t>(t.address));
    for (uint32_t i = 0; i < t.rank; ++i) {
      const std::string n = "[" + std::to_string(i) + "]";
      expect(t.dims[i] >= 1 && t.dims[i] <= uint64_t(1) << 32, "dims" + n, "1 to 2^32", t.dims[i]);
      expect(t.element_strides[i] >= 1 && t.element_strides[i] <= 8, "element_strides" + n,
             "1 to 8", t.element_strides[i]);
      if (i + 1 == t.rank) break;
      expect(t.strides[i] % 16 == 0 && t.strides[i] < uint64_t(1) << 40, "strides" + n,
             "a multiple of 16 below 2^40", t.strides[i]);
      const uint64_t row = i ? t.strides[i - 1] : t.dims[0] * sim::element_bytes(t.dtype);
      expect(t.strides[i] >= row, "strides" + n,
             "at least the dimension before, " + std::to_string(row) + " bytes", t.strides[i]);
    }
    const uint64_t bytes = uint64_t(inner_elements) * sim::element_bytes(t.dtype);
    const unsigned span = sim::swizzle_span(t.swizzle);
    expect(bytes % 16 == 0, inner, "a multiple of 16 bytes", bytes);
    expect(!span || bytes <= span, inner,
           "at most the swizzle's " + std::to_string(span) + " bytes", bytes);
    const bool real = t.dtype >= CU_TENSOR_MAP_DATA_TYPE_FLOAT16 &&
                      t.dtype <= CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ;
    expect(t.fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE || real, "fill",
           "zeros, for a type that is not floating", int(t.fill));
  }

 private:
  const char* op_;
};

}  // namespace

namespace sim {

unsigned element_bytes(CUtensorMapDataType dtype) {
  switch (dtype) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT8:
      return 1;
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16:
      return 2;
    case CU_TENSOR_MAP_DATA_TYPE_UINT32:
    case CU_TENSOR_MAP_DATA_TYPE_INT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
    case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32:
      return 4;
    case CU_TENSOR_MAP_DATA_TYPE_UINT64:
    case CU_TENSOR_MAP_DATA_TYPE_INT64:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT64:
      return 8;
    default:
      throw std::invalid_argument("[tensor_map] dtype: expected a plain 8- to 64-bit type, got " +
                                  std::to_string(int(dtype)) +
                                  ", which the simulator does not model");
  }
}

unsigned swizzle_span(CUtensorMapSwizzle swizzle) {
  switch (swizzle) {
    case CU_TENSOR_MAP_SWIZZLE_NONE:
      return 0;
    case CU_TENSOR_MAP_SWIZZLE_32B:
      return 32;
    case CU_TENSOR_MAP_SWIZZLE_64B:
      return 64;
    case CU_TENSOR_MAP_SWIZZLE_128B:
      return 128;
    default:
      throw std::invalid_argument("[tensor_map] swizzle: expected none, 32, 64 or 128 bytes, got " +
                                  std::to_string(int(swizzle)) + ", which sm_90 does not have");
  }
}

}  // namespace sim

TensorMap tensor_map_tiled(const TiledTensor& t) {
  const Checker check("tensor_map_tiled");
  check.common(1, t, t.box[0], "box[0]");
  for (uint32_t i = 0; i < t.rank; ++i)
    check.expect(t.box[i] >= 1 && t.box[i] <= 256, "box[" + std::to_string(i) + "]", "1 to 256",
                 t.box[i]);
  TensorMap map;
  map.magic = TensorMap::MAGIC;
  map.tensor = t;
  return map;
}

TensorMap tensor_map_im2col(const Im2colTensor& t) {
  const Checker check("tensor_map_im2col");
  TiledTensor plain{};
  plain.dtype = t.dtype;
  plain.rank = t.rank;
  plain.address = t.address;
  std::copy(t.dims, t.dims + 5, plain.dims);
  std::copy(t.strides, t.strides + 4, plain.strides);
  std::copy(t.element_strides, t.element_strides + 5, plain.element_strides);
  plain.swizzle = t.swizzle;
  plain.l2 = t.l2;
  plain.fill = t.fill;
  check.common(3, plain, t.channels, "channels");
  check.expect(t.channels >= 1 && t.channels <= 256, "channels", "1 to 256", t.channels);
  check.expect(t.pixels >= 1 && t.pixels <= 1024, "pixels", "1 to 1024", t.pixels);
  const int limit = t.rank == 3 ? 32768 : t.rank == 4 ? 128 : 16;
  TensorMap map;
  map.magic = TensorMap::MAGIC;
  map.im2col = true;
  map.tensor = plain;
  for (uint32_t i = 0; i < t.rank - 2; ++i) {
    const std::string n = "[" + std::to_string(i) + "]";
    const std::string range = std::to_string(-limit) + " to " + std::to_string(limit - 1);
    check.expect(t.lower[i] >= -limit && t.lower[i] < limit, "lower" + n, range, t.lower[i]);
    check.expect(t.upper[i] >= -limit && t.upper[i] < limit, "upper" + n, range, t.upper[i]);
    const int64_t pixels = int64_t(t.dims[i + 1]) + t.upper[i] - t.lower[i];
    check.expect(pixels > 0, "lower and upper" + n, "a box of at least one pixel", pixels);
    map.lower[i] = t.lower[i];
    map.upper[i] = t.upper[i];
  }
  map.channels = t.channels;
  map.pixels = t.pixels;
  return map;
}

}  // namespace pynn
