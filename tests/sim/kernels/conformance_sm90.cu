// conformance_sm90.cu — each instruction of sm_90a alone: stmatrix, mbarrier,
// TMA, wgmma, clusters. See conformance.cu.

#include <utility>

#include "common/launch.h"
#include "common/shared.cuh"
#include "entry.h"

#include "arch/cluster.cuh"
#include "arch/ldmatrix.cuh"
#include "arch/mbarrier.cuh"
#include "arch/tma.cuh"
#include "arch/wgmma.cuh"

namespace pynn {
namespace {

// r (32, COUNT) registers; out (32, 8) 16-bit: the rows that the lanes name
template <int COUNT, bool TRANS>
__global__ void stmatrix_kernel(const uint32_t* in, uint16_t* out) {
  auto& tile = shared<uint16_t[32][8], "tile">();
  const int lane = threadIdx.x;
  for (int c = 0; c < 8; ++c) tile[lane][c] = 0xFFFF;
  __syncwarp();
  uint32_t r[COUNT];
  for (int i = 0; i < COUNT; ++i) r[i] = in[lane * COUNT + i];
  const uint32_t row = ptx::smem_u32(tile[lane]);
  if constexpr (COUNT == 1 && !TRANS) ptx::stmatrix_x1(row, r);
  if constexpr (COUNT == 1 && TRANS) ptx::stmatrix_x1_trans(row, r);
  if constexpr (COUNT == 2 && !TRANS) ptx::stmatrix_x2(row, r);
  if constexpr (COUNT == 2 && TRANS) ptx::stmatrix_x2_trans(row, r);
  if constexpr (COUNT == 4 && !TRANS) ptx::stmatrix_x4(row, r);
  if constexpr (COUNT == 4 && TRANS) ptx::stmatrix_x4_trans(row, r);
  __syncwarp();
  for (int c = 0; c < 8; ++c) out[lane * 8 + c] = tile[lane][c];
}

// Two arrivals and 32 bytes make a phase; what test_wait says of parity 0 and 1
// after each step.
__global__ void mbarrier_kernel(const int* source, int* out) {
  auto& bar = shared<uint64_t, "bar">();
  auto& box = shared<int[8], "box">();
  const uint32_t b = ptx::smem_u32(&bar);
  int n = 0;
  auto note = [&] {
    for (int parity = 0; parity < 2; ++parity) out[n++] = ptx::mbarrier_test_wait_parity(b, parity);
  };
  ptx::mbarrier_init(b, 2);
  ptx::fence_mbarrier_init();
  note();
  ptx::mbarrier_arrive(b);
  note();
  ptx::mbarrier_arrive_expect_tx(b, 32);
  note();
  ptx::cp_async_bulk_load(ptx::smem_u32(box), source, 32, b);
  ptx::mbarrier_wait_parity(b, 0);
  note();
  ptx::mbarrier_arrive(b);
  ptx::mbarrier_expect_tx(b, 32);
  ptx::cp_async_bulk_load(ptx::smem_u32(box), source + 8, 32, b);
  note();
  ptx::mbarrier_arrive(b);
  ptx::mbarrier_wait_parity(b, 1);
  note();
  for (int i = 0; i < 8; ++i) out[n++] = box[i];
}

struct Coordinates {
  int at[5];
  uint16_t taps[3];
};

// One box into shared memory, which starts as 0xEE; out gets all its bytes.
template <int RANK, bool IM2COL>
__global__ void tma_load_kernel(const __grid_constant__ TensorMap map, Coordinates c,
                                uint32_t bytes, uint8_t* out) {
  auto* tile = dynamic_shared<uint8_t>();
  auto& bar = shared<uint64_t, "bar">();
  const uint32_t s = ptx::smem_u32(tile), b = ptx::smem_u32(&bar);
  for (uint32_t i = 0; i < bytes; ++i) tile[i] = 0xEE;
  ptx::mbarrier_init(b, 1);
  ptx::fence_mbarrier_init();
  ptx::fence_proxy_async();
  ptx::mbarrier_arrive_expect_tx(b, bytes);
  if constexpr (IM2COL) {
    if constexpr (RANK == 3) {
      ptx::cp_async_bulk_tensor_load_im2col_3d(s, map, b, c.at[0], c.at[1], c.at[2], c.taps[0]);
    } else if constexpr (RANK == 4) {
      ptx::cp_async_bulk_tensor_load_im2col_4d(s, map, b, c.at[0], c.at[1], c.at[2], c.at[3],
                                               c.taps[0], c.taps[1]);
    } else {
      ptx::cp_async_bulk_tensor_load_im2col_5d(s, map, b, c.at[0], c.at[1], c.at[2], c.at[3],
                                               c.at[4], c.taps[0], c.taps[1], c.taps[2]);
    }
  } else {
    if constexpr (RANK == 1) ptx::cp_async_bulk_tensor_load(s, map, b, c.at[0]);
    if constexpr (RANK == 2) ptx::cp_async_bulk_tensor_load(s, map, b, c.at[0], c.at[1]);
    if constexpr (RANK == 3) ptx::cp_async_bulk_tensor_load(s, map, b, c.at[0], c.at[1], c.at[2]);
    if constexpr (RANK == 4)
      ptx::cp_async_bulk_tensor_load(s, map, b, c.at[0], c.at[1], c.at[2], c.at[3]);
    if constexpr (RANK == 5)
      ptx::cp_async_bulk_tensor_load(s, map, b, c.at[0], c.at[1], c.at[2], c.at[3], c.at[4]);
  }
  ptx::mbarrier_wait_parity(b, 0);
  for (uint32_t i = 0; i < bytes; ++i) out[i] = tile[i];
}

// The bytes of shared memory are stored, or added, as one 2-dimensional box.
__global__ void tma_store_kernel(const __grid_constant__ TensorMap map, int x, int y,
                                 const uint8_t* in, uint32_t bytes, bool add) {
  auto* tile = dynamic_shared<uint8_t>();
  for (uint32_t i = 0; i < bytes; ++i) tile[i] = in[i];
  ptx::fence_proxy_async_shared();
  if (add)
    ptx::cp_reduce_async_bulk_tensor_add(map, ptx::smem_u32(tile), x, y);
  else
    ptx::cp_async_bulk_tensor_store(map, ptx::smem_u32(tile), x, y);
  ptx::cp_async_bulk_commit_group();
  ptx::cp_async_bulk_wait_group<0>();
}

// Each of 4 CTAs loads a quarter of the source into all of them; out (4, 256):
// what each has in the end.
template <bool IM2COL>
__global__ void multicast_kernel(const __grid_constant__ TensorMap map, uint8_t* out) {
  auto& tile = shared<uint8_t[4][128], "tile", 128>();
  auto& bar = shared<uint64_t, "bar">();
  const uint32_t b = ptx::smem_u32(&bar), rank = ptx::cluster_ctarank();
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(b, 1);
    ptx::fence_mbarrier_init();
    ptx::mbarrier_arrive_expect_tx(b, sizeof tile);
  }
  ptx::barrier_cluster_arrive();
  ptx::barrier_cluster_wait();
  if (threadIdx.x == 0) {
    const uint32_t s = ptx::smem_u32(tile[rank]);
    if constexpr (IM2COL) {  // row `rank` of the windows, at the tap in column
                             // 2, row 1
      ptx::cp_async_bulk_tensor_load_im2col_multicast_4d(s, map, b, 0xF, 0, -1, int(rank) - 1, 0, 2,
                                                         1);
    } else {
      ptx::cp_async_bulk_tensor_load_multicast(s, map, b, 0xF, rank * 128);
    }
  }
  ptx::mbarrier_wait_parity(b, 0);
  for (int i = threadIdx.x; i < 512; i += 32) out[rank * 512 + i] = tile[i / 128][i % 128];
  ptx::barrier_cluster_arrive();
  ptx::barrier_cluster_wait();
}

// Ring of 4 CTAs: each writes into its right neighbour, reads its left one's
// own value; out (4, 4)
__global__ void cluster_kernel(uint32_t* out) {
  auto& box = shared<uint32_t[2], "box">();
  const uint32_t rank = ptx::cluster_ctarank(), n = ptx::cluster_nctarank();
  box[0] = 100 + rank;
  ptx::barrier_cluster_arrive();
  ptx::barrier_cluster_wait();
  ptx::st_shared_cluster_u32(ptx::mapa(ptx::smem_u32(&box[1]), (rank + 1) % n), 200 + rank);
  const uint32_t left = *ptx::mapa_generic(&box[0], (rank + n - 1) % n);
  ptx::barrier_cluster_arrive();
  ptx::barrier_cluster_wait();
  const dim3 id = ptx::cluster_ctaid();
  const uint32_t values[4] = {rank, left, box[1], id.x * 100 + id.y * 10 + n};
  for (int i = 0; i < 4; ++i) out[rank * 4 + i] = values[i];
}

// image: the bytes of shared memory, which the descriptors' addresses count
// from.  d (128, N/2) in and out; a (128, 4) registers, or nullptr for A in
// shared memory
template <class T, int N, ptx::Major A, ptx::Major B>
__global__ void wgmma_kernel(const uint8_t* image, uint32_t bytes, uint64_t desc_a, uint64_t desc_b,
                             const uint32_t* a, float* d, bool accumulate) {
  auto* smem = dynamic_shared<uint8_t>();
  const int t = threadIdx.x;
  for (uint32_t i = t; i < bytes; i += 128) smem[i] = image[i];
  ptx::fence_proxy_async_shared();
  __syncthreads();
  const uint64_t base = ptx::smem_u32(smem) >> 4;
  float r[N / 2];
  for (int i = 0; i < N / 2; ++i) r[i] = d[t * (N / 2) + i];
  ptx::wgmma_fence();
  if (a) {
    if constexpr (A == ptx::Major::K) {
      const uint32_t ra[4] = {a[t * 4], a[t * 4 + 1], a[t * 4 + 2], a[t * 4 + 3]};
      ptx::wgmma_mma_async<T, B>(r, ra, base + desc_b, accumulate);
    }
  } else {
    ptx::wgmma_mma_async<T, A, B>(r, base + desc_a, base + desc_b, accumulate);
  }
  ptx::wgmma_commit_group();
  ptx::wgmma_wait_group<0>();
  for (int i = 0; i < N / 2; ++i) d[t * (N / 2) + i] = r[i];
}

struct WgmmaCase {
  int n;
  bool a_mn, b_mn, accumulate;
  const uint8_t* image;
  uint32_t bytes;
  uint64_t desc_a, desc_b;
  const uint32_t* a;
  float* d;
};

template <class T, int N, ptx::Major A, ptx::Major B>
void wgmma_majors(const WgmmaCase& c) {
  if (c.n != N || c.a_mn != (A == ptx::Major::MN) || c.b_mn != (B == ptx::Major::MN)) return;
  launch(wgmma_kernel<T, N, A, B>, 1, 128, c.bytes, nullptr, c.image, c.bytes, c.desc_a, c.desc_b,
         c.a, c.d, c.accumulate);
}

template <class T, bool MAJORS, int... N>
void wgmma_sizes(const WgmmaCase& c, std::integer_sequence<int, N...>) {
  using enum ptx::Major;
  (wgmma_majors<T, N, K, K>(c), ...);
  if constexpr (MAJORS) {
    (wgmma_majors<T, N, MN, K>(c), ...);
    (wgmma_majors<T, N, K, MN>(c), ...);
    (wgmma_majors<T, N, MN, MN>(c), ...);
  }
}

using Sizes = std::integer_sequence<int, 8, 24, 64, 136, 256>;

}  // namespace
}  // namespace pynn

using namespace pynn;

extern "C" const char* stmatrix(int count, int trans, const uint32_t* in, uint16_t* out) {
  return guarded([=] {
    const auto kernel = count == 1 ? (trans ? stmatrix_kernel<1, true> : stmatrix_kernel<1, false>)
                        : count == 2
                            ? (trans ? stmatrix_kernel<2, true> : stmatrix_kernel<2, false>)
                            : (trans ? stmatrix_kernel<4, true> : stmatrix_kernel<4, false>);
    launch(kernel, 1, 32, 0, nullptr, in, out);
  });
}

extern "C" const char* mbarrier(const int* source, int* out) {
  return guarded([=] { launch(mbarrier_kernel, 1, 1, 0, nullptr, source, out); });
}

extern "C" const char* tma_load(int dtype, int rank, void* x, const int64_t* dims,
                                const int64_t* strides, const int64_t* box, const int64_t* steps,
                                const int64_t* at, int swizzle, uint32_t bytes, uint8_t* out) {
  return guarded([=] {
    TiledTensor t{};
    t.dtype = CUtensorMapDataType(dtype);
    t.rank = rank;
    t.address = x;
    t.swizzle = CUtensorMapSwizzle(swizzle);
    Coordinates c{};
    for (int i = 0; i < rank; ++i) {
      t.dims[i] = dims[i], t.box[i] = uint32_t(box[i]), t.element_strides[i] = uint32_t(steps[i]),
      c.at[i] = int(at[i]);
      if (i) t.strides[i - 1] = strides[i];
    }
    const auto kernel = rank == 1   ? tma_load_kernel<1, false>
                        : rank == 2 ? tma_load_kernel<2, false>
                        : rank == 3 ? tma_load_kernel<3, false>
                        : rank == 4 ? tma_load_kernel<4, false>
                                    : tma_load_kernel<5, false>;
    launch(kernel, 1, 1, bytes, nullptr, tensor_map_tiled(t), c, bytes, out);
  });
}

extern "C" const char* tma_load_im2col(int dtype, int rank, void* x, const int64_t* dims,
                                       const int64_t* strides, const int64_t* lower,
                                       const int64_t* upper, const int64_t* steps, int channels,
                                       int pixels, const int64_t* at, const int64_t* taps,
                                       uint32_t bytes, uint8_t* out) {
  return guarded([=] {
    Im2colTensor t{};
    t.dtype = CUtensorMapDataType(dtype);
    t.rank = rank;
    t.address = x;
    t.channels = channels;
    t.pixels = pixels;
    Coordinates c{};
    for (int i = 0; i < rank; ++i) {
      t.dims[i] = dims[i], t.element_strides[i] = uint32_t(steps[i]), c.at[i] = int(at[i]);
      if (i) t.strides[i - 1] = strides[i];
      if (i < rank - 2)
        t.lower[i] = int(lower[i]), t.upper[i] = int(upper[i]), c.taps[i] = uint16_t(taps[i]);
    }
    const auto kernel = rank == 3   ? tma_load_kernel<3, true>
                        : rank == 4 ? tma_load_kernel<4, true>
                                    : tma_load_kernel<5, true>;
    launch(kernel, 1, 1, bytes, nullptr, tensor_map_im2col(t), c, bytes, out);
  });
}

extern "C" const char* tma_store(int dtype, int element, void* y, int rows, int columns,
                                 int box_rows, int box_columns, int x0, int y0, int swizzle,
                                 int add, const uint8_t* in) {
  return guarded([=] {
    TiledTensor t{};
    t.dtype = CUtensorMapDataType(dtype);
    t.rank = 2;
    t.address = y;
    t.dims[0] = columns, t.dims[1] = rows;
    t.strides[0] = uint64_t(columns) * element;
    t.box[0] = box_columns, t.box[1] = box_rows;
    t.swizzle = CUtensorMapSwizzle(swizzle);
    const uint32_t bytes = uint32_t(box_rows * box_columns * element);
    launch(tma_store_kernel, 1, 1, bytes, nullptr, tensor_map_tiled(t), x0, y0, in, bytes,
           add != 0);
  });
}

extern "C" const char* multicast(void* x, uint8_t* out) {
  return guarded([=] {
    TiledTensor t{};
    t.dtype = CU_TENSOR_MAP_DATA_TYPE_UINT8;
    t.rank = 1;
    t.address = x;
    t.dims[0] = 512;
    t.box[0] = 128;
    launch(multicast_kernel<false>, LaunchConfig{4, 32, 0, nullptr, 4}, tensor_map_tiled(t), out);
  });
}

// x (4, 4, 16) of 16 bits; a window begins at each pixel but the last of a row
// or column, or one before.
extern "C" const char* multicast_im2col(void* x, uint8_t* out) {
  return guarded([=] {
    Im2colTensor t{};
    t.dtype = CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    t.rank = 4;
    t.address = x;
    t.dims[0] = 16, t.dims[1] = t.dims[2] = 4, t.dims[3] = 1;
    t.strides[0] = 32, t.strides[1] = 128, t.strides[2] = 512;
    t.lower[0] = t.lower[1] = t.upper[0] = t.upper[1] = -1;
    t.channels = 16;
    t.pixels = 4;
    launch(multicast_kernel<true>, LaunchConfig{4, 32, 0, nullptr, 4}, tensor_map_im2col(t), out);
  });
}

extern "C" const char* cluster(uint32_t* out) {
  return guarded(
      [=] { launch(cluster_kernel, LaunchConfig{dim3(2, 2), 1, 0, nullptr, dim3(2, 2)}, out); });
}

extern "C" const char* wgmma(int type, int n, int a_mn, int b_mn, const uint8_t* image,
                             uint32_t bytes, uint64_t desc_a, uint64_t desc_b, const uint32_t* a,
                             float* d, int accumulate) {
  return guarded([=] {
    const WgmmaCase c{n, a_mn != 0, b_mn != 0, accumulate != 0, image, bytes, desc_a, desc_b, a, d};
    if (type == 0) wgmma_sizes<__nv_bfloat16, true>(c, Sizes());
    if (type == 1) wgmma_sizes<__half, true>(c, Sizes());
    if (type == 2) wgmma_sizes<ptx::tf32, false>(c, Sizes());
    if (type == 3) wgmma_sizes<__nv_fp8_e4m3, false>(c, Sizes());
    if (type == 4) wgmma_sizes<__nv_fp8_e5m2, false>(c, Sizes());
  });
}
