// plan.h — which rung, tile and parts of K a product gets: those of the least modelled time.
//
//   A multiprocessor takes its tiles one after another, or some at once; the time is that of the
//   busiest, in clocks, or that of the memory behind it:
//
//     step      BK of K for one tile, the most of
//                 arithmetic     BM BN BK / rate            of tensor cores, or of FMA
//                 shared memory  (64 + BN) BK bytes / 64    wgmma alone: two warpgroups read B
//                 L2             (BM + BN / cluster) BK bytes / 46.6
//     tile      steps of its part of K, and an epilogue of BM BN / 16
//     busiest   first fill, 1200, of sm90 2000 (barriers, tensor maps), + the most of
//                                   tiles of one multiprocessor x tile         all busy
//                                   turns x tile / alone                       too few to be busy
//     memory    bytes that cross HBM at least once / 2186
//     clocks    the more of busiest and memory;  with splits a second pass, PASS + its bytes, with
//               stream-K too: f32 sums of every worker's pieces, written and read
//
//   Stream-K gives each worker, after `all / workers` whole tiles, its share of the steps that are
//   left, so that K is paid for and not turns. Of the 63 products of bench/linear.py in bfloat16 it
//   is 13 that the model expects it to shorten by more than 2 %, those with few tiles and a long K:
//   dW of GPT-2's (2304, 768) over 8192 tokens by 29 %, of its (768, 768) by 17 %, 2 % on the
//   geometric mean of all; split-K alone needs a part of D for every part of K.
//
//   A Variant says what its tile takes: `resident` of them fit a multiprocessor at once, one by
//   itself keeps `alone` of it busy, and its inner loop reaches `reach` of the rate. L2: 6150 bytes
//   a clock for 132 multiprocessors (DeepGEMM); HBM: 4.0 TB/s at 1.83 GHz; mma.sync on Hopper: 0.62
//   of wgmma (Luo et al. 2024, arXiv:2402.13499); a product of three bf16 takes six of one; operands
//   that are filled element by element let mma.sync reach 0.2 of its rate: (64 + 64) 32 loads and as
//   many stores of 2 bytes, a warp's in a clock, for 64 x 64 x 32.
//   Fill, PASS, ELEMENTS, alone and reach are estimates: nothing here has been measured.
//
//   A choice is kept for each shape, and looked up the next time.

#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <limits>
#include <memory>
#include <utility>

#include "common/chip.h"

#include "kernels/gemm/variants.h"

namespace pynn::gemm {

struct Variant {
  Rung rung;
  Tile tile;
  int BM;
  int BN;
  int cluster;  // tiles, one above the other, that share B
  int resident;
  double alone;
  double reach;
};

// In the order of preference where the model sees no difference.
inline constexpr Variant VARIANTS[] = {
    {Rung::sm90, Tile::large, 128, 256, 2, 1, 1.0, 1.0},
    {Rung::sm90, Tile::medium, 128, 192, 2, 1, 1.0, 1.0},
    {Rung::sm90, Tile::small, 128, 128, 1, 1, 1.0, 1.0},
    {Rung::sm90, Tile::narrow, 128, 64, 1, 1, 0.9, 1.0},
    {Rung::sm80, Tile::large, 128, 128, 1, 2, 0.7, 1.0},
    {Rung::sm80, Tile::small, 64, 64, 1, 4, 0.35, 0.85},
    {Rung::simt, Tile::large, 128, 128, 1, 2, 0.6, 0.8},
    {Rung::simt, Tile::small, 64, 64, 1, 3, 0.4, 0.6},
};
inline constexpr int VARIANT_COUNT = std::size(VARIANTS);

// What is to be chosen for.
struct Wish {
  DType dtype;
  bool tf32;
  int64_t variant;  // is_variant()
  int64_t room;     // f32 elements of workspace
};

struct Choice {
  Rung rung;
  Tile tile;
  int splits;
  bool streams;  // stream-K
};

struct Cost {
  double clocks;
  double memory;      // bytes that cross HBM at least once
  int64_t work;       // tiles of all parts of K
  int64_t turns;      // of the busiest multiprocessor
  int64_t steps;      // of K for each
  double arithmetic;  // clocks of a step
  double shared;
  double l2;
};

inline Variant const& variant_of(Rung rung, Tile tile) {
  return *std::find_if(std::begin(VARIANTS), std::end(VARIANTS),
                       [&](Variant const& v) { return v.rung == rung && v.tile == tile; });
}

inline constexpr int LINE_BYTES = 128;  // of K in a step of sm90

inline bool is_half(DType dtype) {
  return dtype == DType::f16 || dtype == DType::bf16;
}

// Whether lines of A and B begin at 16 bytes.
inline bool are_aligned(Problem const& p, DType dtype) {
  if (is_half(dtype)) return is_aligned<__half>(p.A, 8) && is_aligned<__half>(p.B, 8);
  if (dtype == DType::u8) return is_aligned<uint8_t>(p.A, 16) && is_aligned<uint8_t>(p.B, 16);
  return is_aligned<float>(p.A, 4) && is_aligned<float>(p.B, 4);
}

// 16 bits of any alignment, then in small tiles filled element by element.
inline bool fits_sm80(Problem const& p, DType dtype, Tile tile) {
  if (is_half(dtype)) return tile == Tile::small || are_aligned(p, dtype);
  return dtype == DType::f32 && are_aligned(p, dtype);
}

// TMA counts in 32 bits, and maps no empty tensor; wgmma multiplies tf32 and fp8 K-major alone.
inline bool fits_sm90(Problem const& p, DType dtype, bool tf32) {
  constexpr int64_t MOST = std::numeric_limits<int32_t>::max();
  bool const k_major = p.A.major == Major::K && p.B.major == Major::K;
  bool const rounded = dtype == DType::f32 && tf32;
  bool const fp8 = dtype == DType::u8 && p.formats.a == p.formats.b;
  return (is_half(dtype) || ((rounded || fp8) && k_major)) && are_aligned(p, dtype) && p.K > 0 &&
         std::max({p.M, p.N, p.K, p.batch}) <= MOST;
}

inline bool fits(Variant const& v, Problem const& p, DType dtype, bool tf32, Chip now) {
  if (v.rung == Rung::simt) return true;
  if (v.rung == Rung::sm80) {
    bool const triples = dtype == DType::f32 && !tf32;  // of shorter sums, multiply-adds err less
    return now.major >= 8 && fits_sm80(p, dtype, v.tile) && (!triples || p.K >= 4);
  }
  if (!is_half(dtype) && v.tile != Tile::large && v.tile != Tile::small) return false;
  return now.major == 9 && fits_sm90(p, dtype, tf32);
}

// Multiply-adds a clock of one multiprocessor.
inline double rate(Rung rung, DType dtype, bool tf32, Chip now) {
  if (rung == Rung::simt) return dtype == DType::f64 ? 64 : 128;
  double const halves = rung == Rung::sm90 ? 2048 : now.major >= 9 ? 0.62 * 2048 : 1024;
  if (dtype == DType::u8) return halves * 2;
  return is_half(dtype) ? halves : tf32 ? halves / 2 : halves / 6;
}

inline Cost cost(Variant const& v, Problem const& p, DType dtype, bool tf32, int splits,
                 bool streams, Chip now) {
  constexpr double PASS = 4000;
  constexpr double ELEMENTS = 0.2;
  constexpr double L2 = 6150.0 / 132;
  constexpr double HBM = 4.0e12 / 1.83e9;
  auto const up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  int const item = bytes_of(dtype);
  int const d_item = bytes_of(p.epilogue.dtype);
  double const size = static_cast<double>(p.batch * p.M) * static_cast<double>(p.N);

  Cost c{};
  int64_t const BK = 128 / item;
  int64_t const tiles = up(p.M, v.BM * v.cluster) * v.cluster * up(p.N, v.BN);
  c.work = tiles * p.batch * splits;
  c.steps = up(up(std::max<int64_t>(p.K, 1), BK), splits);
  c.turns = up(c.work, now.sms);
  bool const elements = v.rung == Rung::sm80 && !are_aligned(p, dtype);
  double const reach = elements ? ELEMENTS : v.reach;
  c.arithmetic = v.BM * v.BN * BK / (rate(v.rung, dtype, tf32, now) * reach);
  c.shared = v.rung == Rung::sm90 ? (64.0 + v.BN) * 128 / 64 : 0;
  c.l2 = (v.BM + static_cast<double>(v.BN) / v.cluster) * 128 / L2;
  double const step = std::max({c.arithmetic, c.shared, c.l2});
  double const leave = v.BM * v.BN / 16.0;
  double const tile = c.steps * step + leave;
  double const at_once = static_cast<double>(up(c.turns, v.resident));
  double const fill = v.rung == Rung::sm90 ? 2000 : 1200;
  double busiest = fill + std::max(c.turns * tile, at_once * tile / v.alone);
  int64_t const workers = now.sms / v.cluster;
  int64_t const left = c.work / v.cluster % workers;
  if (streams) {
    c.turns = c.work / v.cluster / workers;
    busiest = fill + c.turns * tile + up(left * c.steps, workers) * step + 2 * leave;
  }

  double const operands =
      static_cast<double>(p.K) * item *
      (static_cast<double>(p.M) * (p.A.outer_step || p.A.inner_step ? p.batch : 1) +
       static_cast<double>(p.N) * (p.B.outer_step || p.B.inner_step ? p.batch : 1));
  c.memory = operands + size * d_item;
  c.clocks = std::max(busiest, c.memory / HBM);
  if (splits > 1) c.clocks += PASS + size * splits * 8 / (2 * HBM);
  if (streams) {
    c.clocks +=
        PASS + static_cast<double>((left + workers) * v.cluster * v.BM * v.BN) * 8 / (2 * HBM);
  }
  return c;
}

// Whether tiles are left for stream-K, and there is room for the pieces.
inline bool can_stream(Variant const& v, Problem const& p, Wish const& wish, Chip now) {
  constexpr int64_t MOST_K = 1 << 28;  // steps are counted in 32 bits
  if (v.rung != Rung::sm90 || p.K > MOST_K) return false;
  auto const up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  int64_t const workers = now.sms / v.cluster;
  int64_t const BM = int64_t{v.BM} * v.cluster;
  return workers > 0 && up(p.M, BM) * up(p.N, v.BN) * p.batch % workers != 0 &&
         wish.room >= stream_room(workers, BM, v.BN);
}

struct Price {
  int splits;
  bool streams;
  Cost cost;
};

// The cheapest number of parts of K for a variant, or stream-K, as far as there is room for them.
inline Price price(Variant const& v, Problem const& p, Wish const& wish, Chip now) {
  constexpr int64_t LEAST_K = 256;
  constexpr int SPLITS[] = {2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128};
  int64_t const size = std::max<int64_t>(p.batch * p.M * (p.N + 1), 1);  // and sums of A's lines
  int64_t const most = wish.dtype == DType::f64 ? 1 : std::min(p.K / LEAST_K, wish.room / size);
  Price best{1, false, cost(v, p, wish.dtype, wish.tf32, 1, false, now)};
  for (int const splits : SPLITS) {
    if (splits > most) break;
    Cost const found = cost(v, p, wish.dtype, wish.tf32, splits, false, now);
    if (found.clocks < best.cost.clocks) best = {splits, false, found};
  }
  if (can_stream(v, p, wish, now)) {
    Cost const found = cost(v, p, wish.dtype, wish.tf32, 1, true, now);
    if (found.clocks < best.cost.clocks) best = {1, true, found};
  }
  return best;
}

// Without a wish the cheapest that fits. With one, the tile that was wished, or else the cheapest of
// the highest rung that fits and is not above the one that was wished; with a wish for stream-K,
// that where it can be.
inline Choice find_choice(Problem const& p, Wish wish, Chip now) {
  bool const stream = is_stream(wish.variant);
  if (stream) wish.variant -= STREAMS;
  auto const fits_now = [&](Variant const& v) { return fits(v, p, wish.dtype, wish.tf32, now); };
  auto highest = Rung::simt;
  bool exactly = false;
  for (Variant const& v : VARIANTS) {
    if (!fits_now(v) || static_cast<int64_t>(v.rung) > wish.variant / 10) continue;
    highest = std::max(highest, v.rung);
    exactly = exactly || wish.variant == number_of(v.rung, v.tile);
  }
  Choice best{};
  double least = std::numeric_limits<double>::infinity();
  for (Variant const& v : VARIANTS) {
    bool const meant = wish.variant == 0 ||
                       (exactly ? wish.variant == number_of(v.rung, v.tile) : v.rung == highest);
    if (!meant || !fits_now(v)) continue;
    auto [splits, streams, found] = price(v, p, wish, now);
    if (stream && can_stream(v, p, wish, now)) {
      splits = 1;
      streams = true;
    }
    if (found.clocks < least) {
      least = found.clocks;
      best = {v.rung, v.tile, splits, streams};
    }
  }
  return best;
}

// find_choice(), or what it said when it was last asked.
inline Choice choose(Problem const& p, Wish const& wish) {
  using Key = std::array<int64_t, 14>;
  constexpr size_t KNOWN = 256;  // choices; a newer one takes the place of an older
  Chip const now = chip();
  auto const repeats = [](Operand const& x) { return x.outer_step == 0 && x.inner_step == 0; };
  Key const key{
      p.M,
      p.N,
      p.K,
      p.batch,
      wish.room,
      wish.variant,
      static_cast<int64_t>(wish.dtype),
      static_cast<int64_t>(p.epilogue.dtype),
      int64_t{wish.tf32} * 4 + (p.formats.a == p.formats.b) * 2 + are_aligned(p, wish.dtype),
      static_cast<int64_t>(p.A.major),
      static_cast<int64_t>(p.B.major),
      int64_t{repeats(p.A)} * 2 + repeats(p.B),
      now.major,
      now.sms};

  static thread_local auto const known = std::make_unique<std::pair<Key, Choice>[]>(KNOWN);
  uint64_t hash = 0;
  for (int64_t const n : key) {
    hash = (hash ^ static_cast<uint64_t>(n)) * 0x9E3779B97F4A7C15;
    hash ^= hash >> 29;
  }
  auto& [known_key, choice] = known[hash % KNOWN];
  if (known_key != key) {
    choice = find_choice(p, wish, now);
    known_key = key;
  }
  return choice;
}

}  // namespace pynn::gemm
