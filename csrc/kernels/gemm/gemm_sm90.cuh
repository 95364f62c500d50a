// gemm_sm90.cuh — D = epilogue(A B) on Hopper: matrices by TMA boxes into mainloop_sm90.cuh.
//
//   T = f16 | bf16, f32 sums;  NT, NN, TN;  any M, N, K >= 1 below 2^31;  or NT of tf32, to which
//   TMA rounds f32 on its way, or of fp8, e4m3 or e5m2, with D of 16 bits or f32
//   operands aligned to 16 bytes, lines too (ld of 8, tf32 4, fp8 16 elements); edges become zeros
//
//   tiles, ring and roles: mainloop_sm90.cuh;  order of the work, split-K, stream-K: gemm.cuh
//
//   bytes      2 (MK N/BN + NK M/256) from L2 (wide, medium), at best 2 (MK + NK) from HBM, and D
//   FLOPs      2 MNK
//   bound      tensor cores once M, N, K ≳ 1k

#pragma once

#include <cstdint>

#include "kernels/gemm/gemm.cuh"
#include "kernels/gemm/mainloop_sm90.cuh"
#include "kernels/gemm/variants.h"

namespace pynn::gemm {

template <typename T, Major A, Major B, class TILE>
struct GemmPlan {
  using Tile = TILE;
  static constexpr Major A_MAJOR = A;
  static constexpr Major B_MAJOR = B;
  static constexpr int BM = sm90::Sizes<TILE>::CLUSTER_BM;
  static constexpr int BK = sm90::BK_OF<T>;
  static constexpr bool SUMS_A = A == Major::MN;
  static constexpr bool BOXES = sizeof(T) <= 2;

  struct Work : gemm::Work {
    int steps;
    int slot;  // of a piece of stream-K, else -1
  };

  TensorMap map_a;
  TensorMap map_b;
  TensorMap map_d;  // where stores()
  Problem p;
  Stream stream;   // where p.workers > 0
  Epilogue parts;  // of its pieces

  __host__ __device__ int64_t count() const {
    return p.workers == 0 ? count_work<BM, TILE::BN>(p) : stream.first + 2 * p.workers;
  }

  __device__ Work find(int64_t index) const {
    bool const left = p.workers > 0 && index >= stream.first;
    StreamPiece piece{};
    int slot = -1;
    if (left) {
      int const i = static_cast<int>(index - stream.first);
      int const second = i >= stream.workers;
      slot = 2 * (second ? i - stream.workers : i) + second;
      piece = find_piece(stream, slot / 2, second);
      index = stream.first + min(piece.tile, stream.tiles - 1);
    }
    Work work{find_work<BM, TILE::BN, BK>(p, index), 0, slot};
    if (left) {
      work.k0 = int64_t{piece.begin} * BK;
      work.steps = piece.begin < piece.end ? piece.end - piece.begin : -1;
    } else {
      work.steps = static_cast<int>((work.k1 - work.k0 + BK - 1) / BK);
    }
    return work;
  }

  __device__ int64_t row(Work const& work, int m) const {
    if (work.slot >= 0) return int64_t{work.slot} * BM + m;
    return work.m0 + m < p.M ? work.row + m : -1;
  }

  __device__ int64_t column(Work const& work, int n) const {
    return work.slot >= 0 ? n : work.n0 + n;
  }

  __device__ Epilogue const& epilogue(Work const& work) const {
    return work.slot >= 0 ? parts : p.epilogue;
  }

  // Whether D is of 16 bits, lies as TMA asks, and is all that the epilogue reads or writes but a
  // bias; f other than relu would be spelled out for each register of a box.
  __device__ bool stores(Work const& work) const { return work.slot < 0 && stores(); }
  __host__ __device__ bool stores() const {
    Epilogue const& e = p.epilogue;
    return BOXES && e.dtype != DType::f32 && e.aligned && e.z == nullptr && e.residual == nullptr &&
           e.activation <= Activation::relu;
  }

  __device__ void store(Work const& work, int m, int n, uint32_t box) const {
    ptx::cp_async_bulk_tensor_store(map_d, box, static_cast<int>(work.n0) + n,
                                    static_cast<int>(work.m0) + m, static_cast<int>(work.z));
  }

  __device__ bool wants_sums(Work const& work) const {
    return p.epilogue.sums != nullptr && work.n0 == 0;
  }

  __device__ void prefetch() const {
    ptx::prefetch_tensormap(map_a);
    ptx::prefetch_tensormap(map_b);
    if (stores()) ptx::prefetch_tensormap(map_d);
  }

  class Loader;
};

template <typename T, Major A, Major B, class TILE>
class GemmPlan<T, A, B, TILE>::Loader {
 public:
  __device__ Loader(GemmPlan const& plan, Work const& work, int rank)
      : plan_(plan),
        outer_(static_cast<int>(work.z / plan.p.inner)),
        inner_(static_cast<int>(work.z % plan.p.inner)),
        m0_(static_cast<int>(work.m0) + rank * TILE::BM),
        n0_(static_cast<int>(work.n0)),
        k_(static_cast<int>(work.k0)) {}

  __device__ void load(uint32_t stage, uint32_t bar) {
    load_part<A, TILE::BM, 1>(plan_.map_a, plan_.p.A, stage, bar, m0_);
    load_part<B, TILE::BN, TILE::CLUSTER>(plan_.map_b, plan_.p.B,
                                          stage + sm90::Sizes<TILE>::A_BYTES, bar, n0_);
    k_ += BK;
  }

 private:
  template <Major MAJOR, int EXTENT, int CLUSTER>
  __device__ void load_part(TensorMap const& map, Operand const& operand, uint32_t to, uint32_t bar,
                            int mn) const {
    int const outer = operand.outer_step ? outer_ : 0;
    int const inner = operand.inner_step ? inner_ : 0;
    if constexpr (MAJOR == Major::K) {
      sm90::for_boxes<MAJOR, EXTENT, CLUSTER>([&](int i) {
        sm90::load_box<CLUSTER>(to + i * sm90::LINE, map, bar, k_, mn + i, inner, outer);
      });
    } else {  // of every box a share of its lines, since boxes may be odd in number
      int const line = sm90::rank_in_cluster<CLUSTER>() * (BK / CLUSTER);
#pragma unroll
      for (int i = 0; i < EXTENT; i += 64) {
        sm90::load_box<CLUSTER>(to + (i + line) * sm90::LINE, map, bar, mn + i, k_ + line, inner,
                                outer);
      }
    }
  }

  GemmPlan const& plan_;
  int outer_;
  int inner_;
  int m0_;
  int n0_;
  int k_;
};

template <typename T, Major A, Major B, class TILE>
__global__ void __launch_bounds__(sm90::THREADS, 1)
    gemm_sm90_kernel(__grid_constant__ GemmPlan<T, A, B, TILE> const plan) {
  sm90::multiply<T>(plan);
}

// ---- launch

// An operand as (contiguous, lines, inner batch, outer batch); a repeated axis has length 1.
template <typename T>
TensorMap map_operand(Operand const& operand, int64_t mn, int64_t k, int64_t inner, int64_t batch,
                      int box_lines) {
  bool const k_major = operand.major == Major::K;
  TiledTensor t{};
  t.dtype = sm90::MAP_DTYPE<T>;
  t.rank = 4;
  t.address = const_cast<void*>(operand.ptr);
  t.dims[0] = k_major ? k : mn;
  t.dims[1] = k_major ? mn : k;
  t.dims[2] = operand.inner_step ? inner : 1;
  t.dims[3] = operand.outer_step ? batch / inner : 1;
  int64_t const matrix = operand.ld * static_cast<int64_t>(t.dims[1]);
  t.strides[0] = operand.ld * sizeof(T);
  t.strides[1] = (operand.inner_step ? operand.inner_step : matrix) * sizeof(T);
  t.strides[2] = (operand.outer_step ? operand.outer_step : matrix) * sizeof(T);
  t.box[0] = sm90::LINE / sizeof(T);
  t.box[1] = box_lines;
  t.box[2] = t.box[3] = 1;
  t.swizzle = CU_TENSOR_MAP_SWIZZLE_128B;
  return tensor_map_tiled(t);
}

// D, of 16 bits, as (columns, rows, batch) in boxes of 16 rows x 128 bytes.
inline TensorMap map_result(Problem const& p) {
  TiledTensor t{};
  t.dtype =
      p.epilogue.dtype == DType::f16 ? sm90::MAP_DTYPE<__half> : sm90::MAP_DTYPE<__nv_bfloat16>;
  t.rank = 3;
  t.address = p.epilogue.d;
  t.dims[0] = p.N;
  t.dims[1] = p.M;
  t.dims[2] = p.batch;
  t.strides[0] = p.epilogue.ld * 2;
  t.strides[1] = t.strides[0] * t.dims[1];
  t.box[0] = sm90::LINE / 2;
  t.box[1] = 16;
  t.box[2] = 1;
  t.swizzle = CU_TENSOR_MAP_SWIZZLE_128B;
  return tensor_map_tiled(t);
}

template <typename T, Major A, Major B, class TILE>
void launch_sm90(cudaStream_t stream, Problem const& p) {
  constexpr int A_LINES = A == Major::K ? TILE::BM : 64;
  constexpr int B_LINES = (B == Major::K ? TILE::BN : 64) / TILE::CLUSTER;
  GemmPlan<T, A, B, TILE> plan{map_operand<T>(p.A, p.M, p.K, p.inner, p.batch, A_LINES),
                               map_operand<T>(p.B, p.N, p.K, p.inner, p.batch, B_LINES),
                               {},
                               p,
                               {},
                               {}};
  if (p.workers > 0) {
    using Plan = GemmPlan<T, A, B, TILE>;
    plan.stream = stream_of(p, Plan::BM, TILE::BN, Plan::BK);
    plan.parts = stream_parts(p, Plan::BM, TILE::BN);
  }
  if (plan.stores()) plan.map_d = map_result(p);
  sm90::launch_plan(gemm_sm90_kernel<T, A, B, TILE>, stream, plan);
}

template <typename T, class TILE>
void launch_sm90_layout(cudaStream_t stream, Problem const& p) {
  if (p.A.major == Major::MN) return launch_sm90<T, Major::MN, Major::MN, TILE>(stream, p);
  if (p.B.major == Major::MN) return launch_sm90<T, Major::K, Major::MN, TILE>(stream, p);
  launch_sm90<T, Major::K, Major::K, TILE>(stream, p);
}

template <typename T>
void run_sm90(cudaStream_t stream, Problem const& p, Tile tile) {
  switch (tile) {
    case Tile::large:
      return launch_sm90_layout<T, sm90::WideTile>(stream, p);
    case Tile::medium:
      return launch_sm90_layout<T, sm90::MediumTile>(stream, p);
    case Tile::small:
      return launch_sm90_layout<T, sm90::SquareTile>(stream, p);
    case Tile::narrow:
      return launch_sm90_layout<T, sm90::NarrowTile>(stream, p);
  }
}

}  // namespace pynn::gemm
