// tensor_map.h — twin of the encoders in arch/tensor_map.h: the same arguments, checked by the rules cuda.h writes
// down for cuTensorMapEncodeTiled and cuTensorMapEncodeIm2col, and kept as they are.
#pragma once

#include "arch/tensor_map.h"

namespace pynn {

struct alignas(64) TensorMap {
  uint64_t magic = 0;
  bool im2col = false;
  TiledTensor tensor{};  // of an im2col map, too: all but the box
  int lower[3] = {}, upper[3] = {};
  uint32_t channels = 0, pixels = 0;

  static constexpr uint64_t MAGIC = 0x70796e6e746d61;
};

// Throw std::invalid_argument with the argument at fault.
TensorMap tensor_map_tiled(const TiledTensor& t);
TensorMap tensor_map_im2col(const Im2colTensor& t);

namespace sim {
unsigned element_bytes(CUtensorMapDataType dtype);
unsigned swizzle_span(CUtensorMapSwizzle swizzle);  // 0 for none
}  // namespace sim

}  // namespace pynn
