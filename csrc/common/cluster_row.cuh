// cluster_row.cuh — rows too long for one CTA, held on chip by the CTAs of a cluster (sm_90).
//
//   row   ┌───────────┬───────────┬───────────┬──────┐    slices of equal length, in 16-byte steps
//         │   CTA 0   │   CTA 1   │   CTA 2   │ CTA 3│    each in registers, as in common/row.cuh
//         └───────────┴───────────┴───────────┴──────┘
//
//   ClusterTeam::reduce   a value of all threads of the cluster: each CTA's by common/reduce.cuh,
//                         into its shared memory; a cluster barrier; then every thread reads the
//                         CTAs' values through distributed shared memory and joins them in the order
//                         of their ranks, so that all have the same bits
//
//   Two sets of slots in turn, so a slot is written again only after the barrier of the reduction
//   between, which each thread reaches after it has read. Before its end a kernel calls finish(): a
//   CTA must not go while others read its shared memory.
//
//   PTX ISA, "barrier.cluster", "mapa";  Hopper tuning guide, "thread block clusters"

#pragma once

#include <algorithm>
#include <cstring>

#include "common/row.cuh"
#include "common/shared.cuh"

#include "arch/cluster.cuh"

namespace pynn {

inline constexpr int MAX_CLUSTER = 8;  // that every device of sm_90 can place

// The CTAs of a cluster for rows of n elements, of which each holds at most `held`.
inline unsigned cluster_size(int64_t n, int64_t held) {
  unsigned ctas = 1;
  while (ctas < MAX_CLUSTER && n > ctas * held) ctas *= 2;
  return ctas;
}

// The part of a row that this CTA holds.
struct Slice {
  int64_t row;
  int64_t begin;
  int n;

  __device__ Slice(int64_t columns, int width) {
    auto const ctas = static_cast<int64_t>(ptx::cluster_nctarank());
    int64_t const length = (columns / width + ctas - 1) / ctas * width;
    row = blockIdx.x / ctas;
    begin = min(ptx::cluster_ctarank() * length, columns);
    n = static_cast<int>(min(columns - begin, length));
  }
};

template <int THREADS>
struct ClusterTeam {
  int calls = 0;

  // The whole cluster's value, in every thread; every thread must call.
  template <typename V, typename Op>
  __device__ V reduce(V value, Op op) {
    using Cta = Team<THREADS>;
    static_assert(sizeof(V) % 4 == 0, "distributed shared memory is read in 32-bit words");
    constexpr int WORDS = sizeof(V) / 4;
    auto& warps = shared<typename Cta::template Slots<V>[2], "warps">();
    auto& ctas = shared<V[2], "cta">();
    int const turn = calls++ % 2;
    value = Cta::reduce(value, op, warps[turn]);
    if (threadIdx.x == 0) ctas[turn] = value;
    ptx::barrier_cluster_arrive();
    ptx::barrier_cluster_wait();

    for (uint32_t rank = 0; rank < ptx::cluster_nctarank(); ++rank) {
      uint32_t const at = ptx::mapa(ptx::smem_u32(&ctas[turn]), rank);
      uint32_t words[WORDS];
#pragma unroll
      for (int i = 0; i < WORDS; ++i) words[i] = ptx::ld_shared_cluster_u32(at + 4 * i);
      V part;
      std::memcpy(&part, words, sizeof part);
      value = rank == 0 ? part : op(value, part);
    }
    return value;
  }

  // Before the kernel's end.
  __device__ void finish() const {
    ptx::barrier_cluster_arrive();
    ptx::barrier_cluster_wait();
  }
};

}  // namespace pynn
