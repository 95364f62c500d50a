// variants.h — the rungs of the ladder as gemm.cu calls them, and what they share on the host.

#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "common/array.h"
#include "common/launch.h"

#include "kernels/gemm/gemm.cuh"

namespace pynn::gemm {

enum class Rung : int64_t { simt = 1, sm80 = 2, sm90 = 3 };
enum class Tile { large, small, medium, narrow };  // the last two of sm90 alone

// A variant is a rung, times ten, plus 1 for its large tile, 2 for its small one and so on, 0 for
// any; STREAMS more for a tile of sm90 with stream-K; or 0 for no wish.
inline constexpr int64_t STREAMS = 4;
inline int64_t number_of(Rung rung, Tile tile) {
  return static_cast<int64_t>(rung) * 10 + 1 + static_cast<int64_t>(tile);
}
inline bool is_variant(int64_t variant) {
  return variant == 0 || (variant >= 10 && variant < 40 && variant % 10 <= (variant < 30 ? 2 : 8));
}
inline bool is_stream(int64_t variant) {
  return variant > 30 + STREAMS;
}

inline int bytes_of(DType dtype) {
  return static_cast<int>(item_size(dtype));
}

// Any float, any shape, any alignment.
void gemm_simt(cudaStream_t stream, DType dtype, Problem const& problem, Tile tile);

// fp8, u8 to all else here, of p.formats.
void gemm_simt_fp8(cudaStream_t stream, Problem const& problem);

// Operands and their lines aligned to 16 bytes; f32 as three bf16, or rounded to tf32
// (16 bits by gemm_sm80_elements: of any alignment, in one tile).
void gemm_sm80_bf16(cudaStream_t stream, Problem const& problem, Tile tile);
void gemm_sm80_f16(cudaStream_t stream, Problem const& problem, Tile tile);
void gemm_sm80_f32(cudaStream_t stream, Problem const& problem, Tile tile);
void gemm_sm80_tf32(cudaStream_t stream, Problem const& problem, Tile tile);
void gemm_sm80_elements(cudaStream_t stream, DType dtype, Problem const& problem);

// The same, on sm_90 alone, with K >= 1 and M, N, K below 2^31; tf32 and fp8 (of one format): NT,
// large or small tile.
void gemm_sm90_bf16(cudaStream_t stream, Problem const& problem, Tile tile);
void gemm_sm90_f16(cudaStream_t stream, Problem const& problem, Tile tile);
void gemm_sm90_tf32(cudaStream_t stream, Problem const& problem, Tile tile);
void gemm_sm90_fp8(cudaStream_t stream, Problem const& problem, Tile tile);

// Any problem, by the rung that choose() finds; p.splits is its choice too.
//   workspace  f32, any size: room for the parts of split-K
//   variant    0, or what is_variant() says;  tf32  f32 operands may be rounded to it
void multiply(cudaStream_t stream, DType dtype, Problem p, Out workspace, int64_t variant,
              bool tf32);

// ---- stream-K

// Where the pieces of p leave their f32 sums, by slot: in p.parts.
Epilogue stream_parts(Problem const& p, int64_t BM, int64_t BN);

// Elements of workspace that they take; with the sums of A's lines.
inline int64_t stream_room(int64_t workers, int64_t BM, int64_t BN) {
  return 2 * workers * BM * (BN + 1);
}

// The second pass: D = epilogue(the sum of a tile's pieces), in their order, of tiles of BM x BN and
// steps of BK.
void sum_pieces(cudaStream_t stream, Problem const& p, int BM, int BN, int BK);

// ---- sums of A's lines, where the rung does not bring them

void add_lines(cudaStream_t stream, DType dtype, Problem const& p);

// ---- split-K

// Parts of K: as many as fill the chip once, each of at least 512, if D fits `room` so often.
inline int choose_splits(Problem const& p, int64_t tiles, int64_t room, int sms) {
  constexpr int64_t LEAST_K = 512;
  int64_t const filling = sms / std::max<int64_t>(tiles, 1);
  int64_t const size = std::max<int64_t>(p.batch * p.M * p.N, 1);
  return static_cast<int>(std::max<int64_t>(std::min({filling, p.K / LEAST_K, room / size}), 1));
}

// The first pass: p with the sums of each split in `parts` for D.
Problem to_parts(Problem p, float* parts);

// The second: D = epilogue(the sum of the parts), in their order.
void sum_splits(cudaStream_t stream, Problem const& p, float const* parts);

// Whether each line of every matrix of the operand begins at a multiple of WIDTH elements.
template <typename T>
bool is_aligned(Operand const& operand, int width) {
  return reinterpret_cast<uintptr_t>(operand.ptr) % (sizeof(T) * width) == 0 &&
         operand.ld % width == 0;
}

// One CTA for each piece of work, or as many as a grid takes, each with several.
inline unsigned grid_of(int64_t work) {
  return static_cast<unsigned>(std::min<int64_t>(work, std::numeric_limits<int32_t>::max()));
}

}  // namespace pynn::gemm
