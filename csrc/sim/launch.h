// launch.h — what common/launch.h gives a kernel file when a host compiler reads it: CUDA's words, and a
// launch that runs the kernel in the simulator and returns when it has ended.
#pragma once

#include <source_location>
#include <utility>

#include "sim/atomics.h"
#include "sim/grid.h"
#include "sim/warp.h"
#include "sim/words.h"

namespace pynn {

struct Grid {
  dim3 dims;
  Grid(dim3 size) : dims(size) {}
  Grid(unsigned x) : dims(x) {}
};

// A launch that needs more than grid and block: a cluster.
struct LaunchConfig {
  Grid grid;
  dim3 block;
  size_t smem = 0;
  cudaStream_t stream = nullptr;
  dim3 cluster = dim3(1);
};

// One launch for each signature: what does not depend on it is sim::run_grid's, for the sake of compile time.
template <typename... Params, typename... Args>
void launch(void (*kernel)(Params...), const LaunchConfig& config, Args&&... args) {
  const auto bound = [kernel, ... parameters = static_cast<Params>(std::forward<Args>(args))] {
    kernel(parameters...);
  };
  sim::Launch l;
  l.kernel = reinterpret_cast<const void*>(kernel);
  l.grid = config.grid.dims;
  l.block = config.block;
  l.cluster = config.cluster;
  l.dynamic_bytes = config.smem;
  l.run = [](const void* b) { (*static_cast<decltype(bound)*>(b))(); };
  l.bound = &bound;
  sim::run_grid(l);
}

template <typename... Params, typename... Args>
void launch(void (*kernel)(Params...), Grid grid, dim3 block, size_t smem, cudaStream_t stream,
            Args&&... args) {
  launch(kernel, LaunchConfig{grid, block, smem, stream}, std::forward<Args>(args)...);
}

}  // namespace pynn
