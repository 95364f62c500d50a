// conv_sm90.cuh — convolution on Hopper: TMA gathers the windows, gemm/mainloop_sm90.cuh multiplies.
//
//   T = f16 | bf16, f32 sums;  fprop, dgrad, wgrad;  problem, passes, phases: conv.cuh
//   pointers aligned to 16 bytes, C and K multiples of 8, and what else windows_sm90.cuh asks for
//
//   pass    A (K- or MN-major)              B                                      a stage is 64 of
//   fprop   x windows, K: 1 box             w (K, RS, C), K: lines of c            c, taps in turn
//   dgrad   dy windows, K: 1 box            w (K, RS, C), MN: boxes 64 c x 64 k    k, taps in turn
//   wgrad   dy (NPQ, K), MN: boxes          x windows, MN: boxes 64 c x 64         windows
//
//   columns of D in wgrad: boxes of 64, each of one tap: BN may span taps where C is small
//   D leaves in boxes by TMA, where its rows are the windows one after another: fprop, and dgrad
//     without a stride; of 16 bits, aligned, with a bias or relu at most; not from the wide tile,
//     whose registers hold 128 sums
//   dgrad with a stride: all phases in one launch, as matrices of the batch; rows beyond an image's
//     edge are not stored, and a phase without taps has no stages and stores zeros
//
//   tiles   the mainloop's; narrow where D has no more than 64 columns
//   bytes, FLOPs: conv.cuh; from L2 as gemm_sm90.cuh, its K rounded up to 64 for each tap
//   bound  tensor cores once C and K ≳ 64
//
//   PTX ISA, "im2col mode";  CUTLASS, sm90 implicit GEMM convolution
//
//   Over 400 lines: one plan of three passes, its two loaders, and the moments of its tiles

#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/conv/conv.cuh"
#include "kernels/conv/moments.cuh"
#include "kernels/conv/variants.h"
#include "kernels/conv/windows_sm90.cuh"
#include "kernels/gemm/mainloop_sm90.cuh"

namespace pynn::conv {

template <Pass PASS, class TILE>
struct ConvPlan {
  using Tile = TILE;
  static constexpr Major A_MAJOR = conv::A_MAJOR<PASS>;
  static constexpr Major B_MAJOR = conv::B_MAJOR<PASS>;
  static constexpr int BM = gemm::sm90::Sizes<TILE>::CLUSTER_BM;
  static constexpr bool BOXES = PASS != Pass::wgrad && TILE::BN < 256;  // beside 128 sums no room

  struct Work : gemm::Work {
    int steps;
    int group;
    int phase_h;
    int phase_w;
  };

  TensorMap windows;
  TensorMap matrix;  // w or dy
  TensorMap result;  // where stores()
  Sm90Axis rows;
  Sm90Axis columns;
  Shape shape;
  int depth;   // channels of a group that a window has
  int blocks;  // of 64, of those
  StoredMoments* moments;
  gemm::Problem
      p;  // K of fprop and dgrad, N of wgrad rounded up to blocks; batch = phases x groups

  __host__ __device__ int64_t count() const { return gemm::count_work<BM, TILE::BN>(p); }

  __device__ Work find(int64_t index) const {
    Work work{gemm::find_work<BM, TILE::BN, gemm::sm90::BK>(p, index), 0, 0, 0, 0};
    int const z = static_cast<int>(work.z);
    int const phase = z / shape.groups;
    work.group = z % shape.groups;
    work.phase_h = phase / columns.count;
    work.phase_w = phase % columns.count;
    if constexpr (PASS == Pass::dgrad) {
      int64_t const taps =
          rows.phases[work.phase_h].taps * int64_t{columns.phases[work.phase_w].taps};
      work.k1 = min(work.k1, taps * blocks * gemm::sm90::BK);
    }
    work.steps = static_cast<int>((work.k1 - work.k0 + gemm::sm90::BK - 1) / gemm::sm90::BK);
    return work;
  }

  __device__ Radix radix() const { return {rows.windows, columns.windows}; }

  __device__ int64_t row(Work const& work, int m) const {
    if (work.m0 + m >= p.M) return -1;
    if (PASS == Pass::wgrad) return work.row + m;
    if (rows.count * columns.count == 1) return work.row - work.z * p.M + m;
    Digits const window = radix().split(work.m0 + m);
    int const h = rows.phases[work.phase_h].out_first + window.mid * rows.count;
    int const w = columns.phases[work.phase_w].out_first + window.low * columns.count;
    return h < shape.H && w < shape.W ? (int64_t{window.high} * shape.H + h) * shape.W + w : -1;
  }

  __device__ int64_t column(Work const& work, int n) const {
    int64_t const at = work.n0 + n;
    if constexpr (PASS == Pass::wgrad) {
      int const block = static_cast<int>(at / 64);
      int const channel = block % blocks * 64 + n % 64;
      bool const inside = at < p.N && channel < depth;
      return inside ? int64_t{block / blocks} * depth + channel : p.epilogue.N;
    } else {
      return at < p.N ? work.group * p.N + at : p.epilogue.N;
    }
  }

  __device__ gemm::Epilogue const& epilogue(Work const&) const { return p.epilogue; }

  // Whether D's rows are the windows, one after another, and nothing else is made of the sums.
  __host__ __device__ bool stores() const {
    gemm::Epilogue const& e = p.epilogue;
    return BOXES && rows.count * columns.count == 1 && p.M <= INT32_MAX && moments == nullptr &&
           e.dtype != DType::f32 && e.aligned && e.z == nullptr && e.residual == nullptr &&
           e.activation <= gemm::Activation::relu;
  }
  __device__ bool stores(Work const&) const { return stores(); }
  __device__ void store(Work const& work, int m, int n, uint32_t box) const {
    ptx::cp_async_bulk_tensor_store(result, box, static_cast<int>(work.n0) + n, work.group,
                                    static_cast<int>(work.m0) + m);
  }

  __device__ void prefetch() const {
    ptx::prefetch_tensormap(windows);
    ptx::prefetch_tensormap(matrix);
    if (stores()) ptx::prefetch_tensormap(result);
  }

  class TileMoments;
  using Moments = std::conditional_t<PASS == Pass::fprop, TileMoments, gemm::sm90::NoMoments>;
  class WindowLoader;
  class PixelLoader;
  using Loader = std::conditional_t<PASS == Pass::wgrad, PixelLoader, WindowLoader>;
};

// Moments of 32 columns of a warpgroup's 64 rows. Four lanes of a warp share columns; four warps the
// board, a part of which lies with each of them. It has a second half for the next 32 columns: who
// fills a half has met, in between, those who read it.
template <Pass PASS, class TILE>
class ConvPlan<PASS, TILE>::TileMoments {
  using S = gemm::sm90::Sizes<TILE>;
  static_assert(S::MOMENTS_AT + 2 * 32 * sizeof(BoardEntry) <= S::WARP_BYTES, "both halves fit");

 public:
  __device__ explicit TileMoments(ConvPlan const& plan) : wanted_(plan.moments != nullptr) {}

  __device__ void add(Vec<float, 4> const& v) {
    if (wanted_) sums_.add(v);
  }

  __device__ void put(ConvPlan const& plan, Work const& work, int first_column) {
    if (!wanted_) return;
    int const lane = static_cast<int>(threadIdx.x) % 32;
    int const warp = static_cast<int>(threadIdx.x) / 32 % 4;
    int const group = static_cast<int>(threadIdx.x) / 128;
    int const slab = first_column / 32;
    auto const entry = [&](int of_warp) -> BoardEntry& {
      int const part = S::RING_BYTES + (group * 4 + of_warp) * S::WARP_BYTES + S::MOMENTS_AT;
      return dynamic_shared<BoardEntry>()[part / sizeof(BoardEntry) + slab % 2 * 32 + lane];
    };
    entry(warp) = join_lanes(lane);
    ptx::bar_sync(1 + group, 128);
    if (slab % 4 != warp) return;
    ::pynn::Moments joined;
#pragma unroll
    for (int i = 0; i < 4; ++i) joined = joined + moments_of(entry(i));
    int const rank = gemm::sm90::rank_in_cluster<TILE::CLUSTER>();
    int64_t const row = work.m0 + rank * TILE::BM + group * 64;
    int64_t const n = plan.column(work, first_column + lane % 8 * 4 + lane / 8);
    if (row >= plan.p.M || n >= plan.p.epilogue.N) return;
    plan.moments[row / MOMENTS_ROWS * plan.shape.K + n] = joined;
  }

 private:
  // Lane l has columns l % 8 * 4 ... + 3 of every fourth row; returns the sums of the warp's 16
  // rows in column l % 8 * 4 + l / 8, about the value in the first of them.
  __device__ BoardEntry join_lanes(int lane) const {
    constexpr unsigned EVERY_LANE = 0xFFFFFFFF;
    BoardEntry own{};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      Shifted const& s = sums_.at[j];
      float const k = __shfl_sync(EVERY_LANE, s.k, lane % 8);
      float const d = s.k - k;
      float sum = fmaf(sums_.rows, d, s.sum);
      float squares = fmaf(d, s.sum + sum, s.squares);
#pragma unroll
      for (int apart = 8; apart < 32; apart *= 2) {
        sum += __shfl_xor_sync(EVERY_LANE, sum, apart);
        squares += __shfl_xor_sync(EVERY_LANE, squares, apart);
      }
      if (lane / 8 == j) own = {k, sum, squares, 0.f};
    }
    own.at[3] = sums_.rows;
#pragma unroll
    for (int apart = 8; apart < 32; apart *= 2) {
      own.at[3] += __shfl_xor_sync(EVERY_LANE, own.at[3], apart);
    }
    return own;
  }

  bool wanted_;
  ColumnSums<4> sums_;
};

// Stages of fprop and dgrad: 64 channels of the windows at one tap, then the next 64, the next tap.
template <Pass PASS, class TILE>
class ConvPlan<PASS, TILE>::WindowLoader {
 public:
  __device__ WindowLoader(ConvPlan const& plan, Work const& work, int rank)
      : plan_(plan),
        phase_h_(work.phase_h),
        phase_w_(work.phase_w),
        first_channel_(work.group * plan.depth),
        first_filter_(work.group * static_cast<int>(plan.shape.group_K())),
        n0_(static_cast<int>(work.n0)) {
    Digits const window = plan.radix().split(work.m0 + rank * TILE::BM);
    image_ = static_cast<int>(window.high);
    h_ = plan.rows.lower + window.mid * plan.rows.phases[0].stride;
    w_ = plan.columns.lower + window.low * plan.columns.phases[0].stride;
    int const step = static_cast<int>(work.k0 / gemm::sm90::BK);
    int const tap = step / plan.blocks;
    int const taps_w = max(plan.columns.phases[phase_w_].taps, 1);
    channel_ = step % plan.blocks * gemm::sm90::BK;
    tap_h_ = tap / taps_w;
    tap_w_ = tap % taps_w;
  }

  __device__ void load(uint32_t stage, uint32_t bar) {
    using namespace gemm::sm90;
    auto const offset_h = static_cast<uint16_t>(plan_.rows.offset(phase_h_, tap_h_));
    auto const offset_w = static_cast<uint16_t>(plan_.columns.offset(phase_w_, tap_w_));
    ptx::cp_async_bulk_tensor_load_im2col_4d(stage, plan_.windows, bar, first_channel_ + channel_,
                                             w_, h_, image_, offset_w, offset_h);

    Axis const& rows = plan_.rows.phases[phase_h_];
    Axis const& columns = plan_.columns.phases[phase_w_];
    int const r = rows.filter_first + tap_h_ * rows.filter_step;
    int const s = columns.filter_first + tap_w_ * columns.filter_step;
    int const tap = r * plan_.shape.S + s;
    uint32_t const to = stage + Sizes<TILE>::A_BYTES;
    for_boxes<B_MAJOR, TILE::BN, TILE::CLUSTER>([&](int i) {
      if constexpr (PASS == Pass::fprop) {
        load_box<TILE::CLUSTER>(to + i * LINE, plan_.matrix, bar, channel_, tap,
                                first_filter_ + n0_ + i);
      } else {
        load_box<TILE::CLUSTER>(to + i * LINE, plan_.matrix, bar, n0_ + i, tap,
                                first_filter_ + channel_);
      }
    });
    advance();
  }

 private:
  __device__ void advance() {
    channel_ += gemm::sm90::BK;
    if (channel_ < plan_.depth) return;
    channel_ = 0;
    if (++tap_w_ < plan_.columns.phases[phase_w_].taps) return;
    tap_w_ = 0;
    ++tap_h_;
  }

  ConvPlan const& plan_;
  int phase_h_;
  int phase_w_;
  int first_channel_;  // of the group
  int first_filter_;
  int n0_;
  int image_;  // of the tile's first window, at offset 0
  int h_;
  int w_;
  int channel_;
  int tap_h_;
  int tap_w_;
};

// Stages of wgrad: 64 windows of dy, and of x at each column's tap.
template <Pass PASS, class TILE>
class ConvPlan<PASS, TILE>::PixelLoader {
 public:
  __device__ PixelLoader(ConvPlan const& plan, Work const& work, int rank)
      : plan_(plan),
        k_(work.k0),
        window_(plan.radix().split(work.k0)),
        step_(plan.radix().split(gemm::sm90::BK)),
        m0_(static_cast<int>(work.group * plan.shape.group_K() + work.m0) + rank * TILE::BM) {
    int const first = static_cast<int>(work.n0 / 64) + rank * BOXES;
#pragma unroll
    for (int i = 0; i < BOXES; ++i) {
      int const tap = min((first + i) / plan.blocks, plan.shape.taps() - 1);  // D may end before
      channel_[i] = work.group * plan.depth + (first + i) % plan.blocks * 64;
      offset_h_[i] = static_cast<uint16_t>(plan.rows.offset(0, tap / plan.shape.S));
      offset_w_[i] = static_cast<uint16_t>(plan.columns.offset(0, tap % plan.shape.S));
    }
  }

  __device__ void load(uint32_t stage, uint32_t bar) {
    using namespace gemm::sm90;
    for_boxes<A_MAJOR, TILE::BM, 1>([&](int i) {
      load_box<1>(stage + i * LINE, plan_.matrix, bar, m0_ + i, static_cast<int>(k_));
    });

    int const h = plan_.rows.lower + window_.mid * plan_.rows.phases[0].stride;
    int const w = plan_.columns.lower + window_.low * plan_.columns.phases[0].stride;
    int const image = static_cast<int>(window_.high);
    uint32_t const to =
        stage + Sizes<TILE>::A_BYTES + rank_in_cluster<TILE::CLUSTER>() * BOXES * BOX;
#pragma unroll
    for (int i = 0; i < BOXES; ++i) {
      if constexpr (TILE::CLUSTER == 1) {
        ptx::cp_async_bulk_tensor_load_im2col_4d(to + i * BOX, plan_.windows, bar, channel_[i], w,
                                                 h, image, offset_w_[i], offset_h_[i]);
      } else {
        constexpr uint16_t ALL = (1 << TILE::CLUSTER) - 1;
        ptx::cp_async_bulk_tensor_load_im2col_multicast_4d(to + i * BOX, plan_.windows, bar, ALL,
                                                           channel_[i], w, h, image, offset_w_[i],
                                                           offset_h_[i]);
      }
    }
    k_ += BK;
    window_ = plan_.radix().add(window_, step_);
  }

 private:
  static constexpr int BOXES = TILE::BN / 64 / TILE::CLUSTER;  // of B, that this CTA loads

  ConvPlan const& plan_;
  int64_t k_;
  Digits window_;
  Digits step_;
  int m0_;
  int channel_[BOXES];
  uint16_t offset_h_[BOXES];
  uint16_t offset_w_[BOXES];
};

template <typename T, Pass PASS, class TILE>
__global__ void __launch_bounds__(gemm::sm90::THREADS, 1)
    conv_sm90_kernel(__grid_constant__ ConvPlan<PASS, TILE> const plan) {
  gemm::sm90::multiply<T>(plan);
}

// ---- launch

// The gathered image: x, or dy in dgrad.
template <typename T>
TensorMap map_windows(void const* image, Problem const& p, Sm90Axis const& rows,
                      Sm90Axis const& columns, int windows) {
  Im2colTensor t{};
  t.dtype = gemm::sm90::MAP_DTYPE<T>;
  t.rank = 4;
  t.address = const_cast<void*>(image);
  uint64_t const dims[] = {
      static_cast<uint64_t>(p.channels), static_cast<uint64_t>(columns.phases[0].pixels),
      static_cast<uint64_t>(rows.phases[0].pixels), static_cast<uint64_t>(p.shape.N)};
  std::copy(dims, dims + 4, t.dims);
  t.strides[0] = t.dims[0] * sizeof(T);
  t.strides[1] = t.strides[0] * t.dims[1];
  t.strides[2] = t.strides[1] * t.dims[2];
  t.lower[0] = columns.lower;
  t.lower[1] = rows.lower;
  t.upper[0] = columns.upper;
  t.upper[1] = rows.upper;
  t.channels = 64;
  t.pixels = windows;
  t.element_strides[1] = columns.phases[0].stride;
  t.element_strides[2] = rows.phases[0].stride;
  t.swizzle = CU_TENSOR_MAP_SWIZZLE_128B;
  return tensor_map_im2col(t);
}

// w as (c, tap, k) of all groups in boxes of 64 c x 1 x `lines`; a group's channels end its lines.
template <typename T>
TensorMap map_filters(void const* w, Shape const& s, int lines) {
  TiledTensor t{};
  t.dtype = gemm::sm90::MAP_DTYPE<T>;
  t.rank = 3;
  t.address = const_cast<void*>(w);
  t.dims[0] = s.group_C();
  t.dims[1] = s.taps();
  t.dims[2] = s.K;
  t.strides[0] = t.dims[0] * sizeof(T);
  t.strides[1] = t.strides[0] * t.dims[1];
  t.box[0] = 64;
  t.box[1] = 1;
  t.box[2] = lines;
  t.swizzle = CU_TENSOR_MAP_SWIZZLE_128B;
  return tensor_map_tiled(t);
}

// dy as (k, window) in boxes of 64 x 64.
template <typename T>
TensorMap map_dy(void const* dy, Shape const& s) {
  TiledTensor t{};
  t.dtype = gemm::sm90::MAP_DTYPE<T>;
  t.rank = 2;
  t.address = const_cast<void*>(dy);
  t.dims[0] = s.K;
  t.dims[1] = s.N * s.P * s.Q;
  t.strides[0] = t.dims[0] * sizeof(T);
  t.box[0] = t.box[1] = 64;
  t.swizzle = CU_TENSOR_MAP_SWIZZLE_128B;
  return tensor_map_tiled(t);
}

// y or dx as (column of a group, group, row) in boxes of 64 columns x 1 x 16 rows.
template <typename T>
TensorMap map_result(gemm::Problem const& p, Shape const& s) {
  TiledTensor t{};
  t.dtype = gemm::sm90::MAP_DTYPE<T>;
  t.rank = 3;
  t.address = p.epilogue.d;
  t.dims[0] = p.N;
  t.dims[1] = s.groups;
  t.dims[2] = p.M;
  t.strides[0] = p.N * sizeof(T);
  t.strides[1] = p.epilogue.ld * sizeof(T);
  t.box[0] = 64;
  t.box[1] = 1;
  t.box[2] = 16;
  t.swizzle = CU_TENSOR_MAP_SWIZZLE_128B;
  return tensor_map_tiled(t);
}

template <typename T, Pass PASS, class TILE>
void launch_sm90(cudaStream_t stream, Problem const& problem) {
  ConvPlan<PASS, TILE> plan{};
  Shape const& s = plan.shape = problem.shape;
  plan.rows = sm90_rows(problem);
  plan.columns = sm90_columns(problem);
  plan.depth = static_cast<int>(problem.depth());
  plan.blocks = sm90_blocks(problem);
  plan.moments = problem.moments;
  gemm::Problem& p = plan.p = sm90_product(problem, plan.rows, plan.columns);
  p.epilogue.N = p.epilogue.ld;

  void const* const image = PASS == Pass::wgrad ? p.B.ptr : p.A.ptr;
  plan.windows =
      map_windows<T>(image, problem, plan.rows, plan.columns, PASS == Pass::wgrad ? 64 : TILE::BM);
  plan.matrix =
      PASS == Pass::wgrad
          ? map_dy<T>(p.A.ptr, s)
          : map_filters<T>(p.B.ptr, s, PASS == Pass::fprop ? TILE::BN / TILE::CLUSTER : 64);
  if (plan.stores()) plan.result = map_result<T>(p, s);
  gemm::sm90::launch_plan(conv_sm90_kernel<T, PASS, TILE>, stream, plan);
}

template <typename T, class TILE>
void launch_sm90_pass(cudaStream_t stream, Problem const& p) {
  switch (p.pass) {
    case Pass::fprop:
      return launch_sm90<T, Pass::fprop, TILE>(stream, p);
    case Pass::dgrad:
      return launch_sm90<T, Pass::dgrad, TILE>(stream, p);
    case Pass::wgrad:
      return launch_sm90<T, Pass::wgrad, TILE>(stream, p);
  }
}

template <typename T>
void run_sm90(cudaStream_t stream, Problem const& p, Tile tile) {
  if (tile == Tile::large) return launch_sm90_pass<T, gemm::sm90::WideTile>(stream, p);
  if (is_narrow(p)) return launch_sm90_pass<T, gemm::sm90::NarrowTile>(stream, p);
  launch_sm90_pass<T, gemm::sm90::SquareTile>(stream, p);
}

}  // namespace pynn::conv
