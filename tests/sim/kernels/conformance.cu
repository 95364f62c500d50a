// conformance.cu — each instruction of sm_80 alone, on bytes from outside: ldmatrix, mma, cvt, cp.async.
//
// One warp; what a lane receives or gives is row `lane` of the arrays. The expected bytes are worked out in
// test_conformance.py from the tables of the PTX manual. The same file runs on a GPU.

#include "common/launch.h"
#include "common/shared.cuh"
#include "entry.h"

#include "arch/cp_async.cuh"
#include "arch/ldmatrix.cuh"
#include "arch/mma.cuh"

namespace pynn {
namespace {

// rows (32, 8) 16-bit: row i of the 32 that the lanes name.  out (32, COUNT)
template <int COUNT, bool TRANS>
__global__ void ldmatrix_kernel(const uint16_t* rows, uint32_t* out) {
  auto& tile = shared<uint16_t[32][8], "tile">();
  const int lane = threadIdx.x;
  for (int c = 0; c < 8; ++c) tile[lane][c] = rows[lane * 8 + c];
  __syncwarp();
  uint32_t r[COUNT];
  const uint32_t row = ptx::smem_u32(tile[lane]);
  if constexpr (COUNT == 1 && !TRANS) ptx::ldmatrix_x1(r, row);
  if constexpr (COUNT == 1 && TRANS) ptx::ldmatrix_x1_trans(r, row);
  if constexpr (COUNT == 2 && !TRANS) ptx::ldmatrix_x2(r, row);
  if constexpr (COUNT == 2 && TRANS) ptx::ldmatrix_x2_trans(r, row);
  if constexpr (COUNT == 4 && !TRANS) ptx::ldmatrix_x4(r, row);
  if constexpr (COUNT == 4 && TRANS) ptx::ldmatrix_x4_trans(r, row);
  for (int i = 0; i < COUNT; ++i) out[lane * COUNT + i] = r[i];
}

// a (32, 4), b (32, 2), d (32, 4) registers
template <int KIND>
__global__ void mma_kernel(const uint32_t* a, const uint32_t* b, float* d) {
  const int lane = threadIdx.x;
  uint32_t ra[4], rb[2];
  float rd[4];
  for (int i = 0; i < 4; ++i) ra[i] = a[lane * 4 + i], rd[i] = d[lane * 4 + i];
  for (int i = 0; i < 2; ++i) rb[i] = b[lane * 2 + i];
  if constexpr (KIND == 0) ptx::mma_m16n8k16_bf16(rd, ra, rb);
  if constexpr (KIND == 1) ptx::mma_m16n8k16_f16(rd, ra, rb);
  if constexpr (KIND == 2) ptx::mma_m16n8k8_tf32(rd, ra, rb);
  for (int i = 0; i < 4; ++i) d[lane * 4 + i] = rd[i];
}

__global__ void cvt_kernel(const float* x, uint32_t* y, int n) {
  for (int i = threadIdx.x; i < n; i += 32) y[i] = ptx::cvt_rna_tf32(x[i]);
}

// Lane l copies its 16 bytes of x in pieces of BYTES, the last with only l % (BYTES + 1) of them; y starts as ones.
template <int BYTES, bool PAST_L1>
__global__ void cp_async_kernel(const uint8_t* x, uint8_t* y) {
  auto& tile = shared<uint8_t[32][16], "tile">();
  const int lane = threadIdx.x;
  for (int i = 0; i < 16; ++i) tile[lane][i] = 1;
  __syncwarp();
  for (int i = 0; i < 16; i += BYTES) {
    const uint32_t to = ptx::smem_u32(&tile[lane][i]);
    const uint8_t* from = x + lane * 16 + i;
    const bool last = i + BYTES == 16;
    const uint32_t some = lane % (BYTES + 1);
    if constexpr (PAST_L1) {
      if (last)
        ptx::cp_async_cg_zfill(to, from, some);
      else
        ptx::cp_async_cg(to, from);
    } else {
      if (last)
        ptx::cp_async_ca_zfill<BYTES>(to, from, some);
      else
        ptx::cp_async_ca<BYTES>(to, from);
    }
  }
  ptx::cp_async_commit_group();
  ptx::cp_async_wait_group<0>();
  for (int i = 0; i < 16; ++i) y[lane * 16 + i] = tile[lane][i];
}

}  // namespace
}  // namespace pynn

using namespace pynn;

extern "C" const char* ldmatrix(int count, int trans, const uint16_t* rows, uint32_t* out) {
  return guarded([=] {
    const auto kernel = count == 1 ? (trans ? ldmatrix_kernel<1, true> : ldmatrix_kernel<1, false>)
                        : count == 2
                            ? (trans ? ldmatrix_kernel<2, true> : ldmatrix_kernel<2, false>)
                            : (trans ? ldmatrix_kernel<4, true> : ldmatrix_kernel<4, false>);
    launch(kernel, 1, 32, 0, nullptr, rows, out);
  });
}

extern "C" const char* mma(int kind, const uint32_t* a, const uint32_t* b, float* d) {
  return guarded([=] {
    launch(kind == 0   ? mma_kernel<0>
           : kind == 1 ? mma_kernel<1>
                       : mma_kernel<2>,
           1, 32, 0, nullptr, a, b, d);
  });
}

extern "C" const char* cvt_rna_tf32(const float* x, uint32_t* y, int n) {
  return guarded([=] { launch(cvt_kernel, 1, 32, 0, nullptr, x, y, n); });
}

extern "C" const char* cp_async(int bytes, const uint8_t* x, uint8_t* y) {
  return guarded([=] {
    const auto kernel = bytes == 4    ? cp_async_kernel<4, false>
                        : bytes == 8  ? cp_async_kernel<8, false>
                        : bytes == 16 ? cp_async_kernel<16, false>
                                      : cp_async_kernel<16, true>;
    launch(kernel, 1, 32, 0, nullptr, x, y);
  });
}
