// tensor_map.h — the 128 bytes that tell TMA how a tensor lies in global memory. Made on the host.
//
//   tile mode     a box of up to 5 dimensions at element coordinates; dimension 0 is the contiguous one
//   im2col mode   pixels of an NHWC (NWC, NDHWC) image in the order of a convolution's output
//
// A kernel takes it as `const __grid_constant__ TensorMap map`. Under nvcc cuTensorMapEncode* makes it, found
// through the runtime, so that nothing links to libcuda; in the simulator the same arguments are checked by the
// rules in cuda.h and kept. What is out of the tensor is loaded as zero (or NaN) and not stored.
//
//   CUDA Driver API, "Tensor Map Object Management";  PTX ISA, "Tensors"

#pragma once

#include <cuda.h>

#include <cstdint>
#include <string>

#include "common/launch.h"

namespace pynn {

struct TiledTensor {
  CUtensorMapDataType dtype;
  uint32_t rank;
  void* address;
  uint64_t dims[5];     // elements, contiguous dimension first
  uint64_t strides[4];  // bytes, of dimensions 1 ...
  uint32_t box[5];      // elements
  uint32_t element_strides[5] = {1, 1, 1, 1, 1};
  CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_NONE;
  CUtensorMapL2promotion l2 = CU_TENSOR_MAP_L2_PROMOTION_L2_256B;
  CUtensorMapFloatOOBfill fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
};

struct Im2colTensor {
  CUtensorMapDataType dtype;
  uint32_t rank;  // 3 NWC, 4 NHWC, 5 NDHWC
  void* address;
  uint64_t dims[5];  // C, W, H, D, N: contiguous dimension first
  uint64_t strides[4];
  int lower[3];       // corners of the box of first pixels, W, H, D order:
  int upper[3];       //   from the tensor's first and its last pixel
  uint32_t channels;  // per pixel
  uint32_t pixels;    // per column
  uint32_t element_strides[5] = {1, 1, 1, 1, 1};
  CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_NONE;
  CUtensorMapL2promotion l2 = CU_TENSOR_MAP_L2_PROMOTION_L2_256B;
  CUtensorMapFloatOOBfill fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
};

}  // namespace pynn

#ifdef PYNN_SIM

#include "sim/tensor_map.h"

#else

namespace pynn {

using TensorMap = CUtensorMap;

// The driver's function of that name; without a driver, an error that says so.
inline void* driver_function(const char* name) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  check_cuda(cudaGetDriverEntryPointByVersion(name, &function, 12000, cudaEnableDefault, &found),
             name);
  if (found != cudaDriverEntryPointSuccess) {
    throw CudaError(std::string(name) +
                    ": expected a driver for CUDA 12 or newer, got an older one");
  }
  return function;
}

// Drivers up to 13.1 encode tensors below 128 KiB so that TMA may read past their end (CUTLASS, copy_traits_sm90_tma).
inline void mend_small_tensor(TensorMap& map, uint64_t bytes) {
  int driver = 0;
  check_cuda(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  if (driver <= 13010 && bytes < 131072) {
    reinterpret_cast<uint64_t*>(&map)[1] &= ~(uint64_t{1} << 21);
  }
}

inline TensorMap tensor_map_tiled(const TiledTensor& t) {
  static auto const encode = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(
      driver_function("cuTensorMapEncodeTiled"));
  TensorMap map;
  CUresult const error =
      encode(&map, t.dtype, t.rank, t.address, t.dims, t.strides, t.box, t.element_strides,
             CU_TENSOR_MAP_INTERLEAVE_NONE, t.swizzle, t.l2, t.fill);
  if (error != CUDA_SUCCESS) {
    throw CudaError("[tensor_map_tiled] expected arguments the driver accepts, got CUresult " +
                    std::to_string(error) + "; the simulator names the one at fault");
  }
  mend_small_tensor(map, t.rank > 1 ? t.strides[t.rank - 2] * t.dims[t.rank - 1] : 0);
  return map;
}

// cuda.h writes the corners as {D, H, W}; the driver reads W first, as CUTLASS passes them.
inline TensorMap tensor_map_im2col(const Im2colTensor& t) {
  static auto const encode = reinterpret_cast<decltype(&cuTensorMapEncodeIm2col)>(
      driver_function("cuTensorMapEncodeIm2col"));
  TensorMap map;
  CUresult const error =
      encode(&map, t.dtype, t.rank, t.address, t.dims, t.strides, t.lower, t.upper, t.channels,
             t.pixels, t.element_strides, CU_TENSOR_MAP_INTERLEAVE_NONE, t.swizzle, t.l2, t.fill);
  if (error != CUDA_SUCCESS) {
    throw CudaError("[tensor_map_im2col] expected arguments the driver accepts, got CUresult " +
                    std::to_string(error) + "; the simulator names the one at fault");
  }
  mend_small_tensor(map, t.strides[t.rank - 2] * t.dims[t.rank - 1]);
  return map;
}

}  // namespace pynn

#endif
