// launch.h — CUDA's vocabulary for a kernel file, and the one way to start a kernel.
//
//   launch(kernel, grid, block, smem, stream, args...)
//   launch(kernel, LaunchConfig{grid, block, smem, stream, cluster}, args...)
//
// nvcc   cudaLaunchKernelExC; an error throws CudaError with the kernel's name and the call's place
// g++    PYNN_SIM is defined, and sim/launch.h gives the same names on the CPU: launch, dim3,
//        __global__, threadIdx, __half, __nv_bfloat16, cudaStream_t
//
// A kernel file includes this header and never cuda_runtime.h. A launch does not wait, so a fault
// inside a kernel shows up at a later call; CUDA_LAUNCH_BLOCKING=1 brings it home.

#pragma once

#ifdef PYNN_SIM

#include "sim/launch.h"

#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <cxxabi.h>

#include <cstdint>
#include <cstdlib>
#include <source_location>
#include <string>
#include <utility>

#include "common/check.h"

namespace pynn {

// Grid size and the place of the launch, which as a default argument could not follow args...
struct Grid {
  dim3 dims;
  std::source_location where;

  Grid(dim3 size, std::source_location site = std::source_location::current())
      : dims(size), where(site) {}
  Grid(unsigned x, std::source_location site = std::source_location::current())
      : dims(x), where(site) {}
};

// A launch that needs more than grid and block: a cluster.
struct LaunchConfig {
  Grid grid;
  dim3 block;
  size_t smem = 0;
  cudaStream_t stream = nullptr;
  dim3 cluster = dim3(1);
};

// csrc/kernels/softmax/softmax.cu:120, wherever the tree was built.
inline std::string site_text(std::source_location where) {
  std::string const file = where.file_name();
  size_t const root = file.rfind("csrc/");
  return (root == std::string::npos ? file : file.substr(root)) + ":" +
         std::to_string(where.line());
}

// For other calls of the runtime:  check_cuda(cudaMemsetAsync(...), "cudaMemsetAsync").
inline void check_cuda(cudaError_t error, std::string const& what,
                       std::source_location where = std::source_location::current()) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // an error that was reported must not be reported again by the next call
  throw CudaError(what + ": expected success, got " + cudaGetErrorName(error) + " (" +
                  cudaGetErrorString(error) + ") at " + site_text(where));
}

#ifdef __CUDACC__

// pynn::map_kernel<...>; "a kernel" where there is no driver to ask.
inline std::string kernel_name(void const* kernel) {
  char const* mangled = nullptr;
  if (cudaFuncGetName(&mangled, kernel) != cudaSuccess || mangled == nullptr) return "a kernel";
  int status = 0;
  char* const demangled = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string const name = status == 0 ? demangled : mangled;
  std::free(demangled);
  return name;
}

// Of any kernel, with the addresses of its arguments: no template, or each kernel would compile it.
inline void launch_kernel(void const* kernel, LaunchConfig const& launch_config, void** arguments) {
  auto const check = [&](cudaError_t error, char const* step) {
    if (error == cudaSuccess) return;
    check_cuda(error, step + kernel_name(kernel), launch_config.grid.where);
  };

  constexpr size_t SMEM_WITHOUT_ASKING = 48 * 1024;
  if (launch_config.smem > SMEM_WITHOUT_ASKING) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(launch_config.smem)),
          "shared memory of ");
  }

  dim3 const cluster = launch_config.cluster;
  unsigned const ctas = cluster.x * cluster.y * cluster.z;
  constexpr unsigned CTAS_WITHOUT_ASKING = 8;
  if (ctas > CTAS_WITHOUT_ASKING) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
          "cluster of ");
  }

  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = cluster.x;
  attribute.val.clusterDim.y = cluster.y;
  attribute.val.clusterDim.z = cluster.z;

  cudaLaunchConfig_t config{};
  config.gridDim = launch_config.grid.dims;
  config.blockDim = launch_config.block;
  config.dynamicSmemBytes = launch_config.smem;
  config.stream = launch_config.stream;
  config.attrs = &attribute;
  config.numAttrs = ctas > 1 ? 1 : 0;
  check(cudaLaunchKernelExC(&config, kernel, arguments), "launch of ");
}

template <typename... Params, typename... Args>
void launch(void (*kernel)(Params...), LaunchConfig const& launch_config, Args&&... args) {
  [&](Params... values) {
    void* arguments[] = {const_cast<void*>(static_cast<void const*>(&values))..., nullptr};
    launch_kernel(reinterpret_cast<void const*>(kernel), launch_config, arguments);
  }(static_cast<Params>(std::forward<Args>(args))...);
}

template <typename... Params, typename... Args>
void launch(void (*kernel)(Params...), Grid grid, dim3 block, size_t smem, cudaStream_t stream,
            Args&&... args) {
  launch(kernel, LaunchConfig{grid, block, smem, stream}, std::forward<Args>(args)...);
}

#endif  // __CUDACC__

}  // namespace pynn

#endif  // PYNN_SIM
