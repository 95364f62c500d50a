// reduce.cuh — y[o, c] = join over i of x[o, i, c], with x (outer, n, inner): what sums and extrema
// share.
//
//   A Reduction says what is joined, and holds the pointers of its outputs:
//     Part             of one thread;  Part() is the value over nothing
//     State            of many threads, from a Part; what the workspace keeps
//     term(x, i)       the Part of element i
//     finish(o, state) writes output o
//   Part + Part and State + State commute bit for bit.
//
//   inner = 1   rows: a team of 8, 32 or 256 threads a row, 4 vectors each in flight
//   inner > 1   columns: common/column.cuh
//   Few outputs of many elements: each is cut in splits, whose States go to the workspace (outputs,
//   splits) and are joined by a warp an output. One launch or two, never an atomic.
//
//   bytes  n outer inner sizeof(T), and 2 splits outer inner sizeof(State) where cut
//   bound: memory

#pragma once

#include <algorithm>
#include <cstdint>

#include "common/array.h"
#include "common/column.cuh"
#include "common/dispatch.h"
#include "common/row.cuh"

namespace pynn::reduce {

inline constexpr int VECS = 4;

// Where a state goes: finished to the outputs, or, from one of several splits, to the workspace.
template <typename Reduction>
struct Target {
  using State = typename Reduction::State;
  Reduction reduction;
  State* parts;
  int64_t splits;

  __device__ void put(int64_t output, int64_t split, State const& state) const {
    if (splits > 1) {
      parts[output * splits + split] = state;
    } else {
      reduction.finish(output, state);
    }
  }
};

template <typename Reduction, typename T, int WIDTH, int THREADS>
__global__ void __launch_bounds__(ROW_CTA<THREADS>)
    rows_kernel(T const* x, int64_t rows, int64_t n, int64_t length, Target<Reduction> target) {
  using Lane = Row<T, WIDTH, THREADS, VECS>;
  using Part = typename Reduction::Part;
  using State = typename Reduction::State;
  constexpr int64_t CHUNK = int64_t{THREADS} * VECS * WIDTH;
  int64_t const index = row_index<THREADS>();
  if (index >= rows * target.splits) return;
  int64_t const row = index / target.splits;
  int64_t const split = index % target.splits;

  State state{Part{}};
  int64_t const end = min((split + 1) * length, n);
  for (int64_t i = split * length; i < end; i += CHUNK) {
    int const m = static_cast<int>(min(end - i, CHUNK));
    Lane rx;
    rx.load(x + row * n + i, m);
    state = state + State(Lane::fold(Part{}, m, Add{}, [&](int v, int k) {
              return target.reduction.term(rx(v, k), i + Lane::at(v) + k);
            }));
  }
  using Cta = Team<THREADS>;
  state = Cta::reduce(state, Add{}, shared<typename Cta::template Slots<State>, "states">());
  if (Cta::rank() == 0) target.put(row, split, state);
}

template <typename Reduction, typename T, int WIDTH>
__global__ void __launch_bounds__(COLUMN_THREADS)
    columns_kernel(T const* x, ColumnPlan plan, Target<Reduction> target) {
  using Part = typename Reduction::Part;
  using State = typename Reduction::State;
  ColumnWork const work = column_work<WIDTH>(plan);

  State states[WIDTH];
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) states[k] = State{Part{}};
  T const* const base = x + work.outer * plan.n * plan.inner + work.column;
  for (int64_t i = work.row; work.inside && i < work.end; i += COLUMN_ROWS * work.step) {
    Vec<T, WIDTH> rows[COLUMN_ROWS];
#pragma unroll
    for (int r = 0; r < COLUMN_ROWS; ++r) {
      int64_t const at = i + r * work.step;
      rows[r] = at < work.end ? load_vec<WIDTH>(base + at * plan.inner) : Vec<T, WIDTH>{};
    }
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) {
      Part part{};
#pragma unroll
      for (int r = 0; r < COLUMN_ROWS; ++r) {
        int64_t const at = i + r * work.step;
        if (at < work.end)
          part = part + target.reduction.term(static_cast<float>(rows[r].at[k]), at);
      }
      states[k] = states[k] + State(part);
    }
  }

  join_columns<WIDTH>(plan, states);
  if (work.ty > 0 || !work.inside) return;
#pragma unroll
  for (int k = 0; k < WIDTH; ++k) {
    target.put(work.outer * plan.inner + work.column + k, work.split, states[k]);
  }
}

// The splits of an output together, a warp each.
template <typename Reduction>
__global__ void __launch_bounds__(ROW_CTA<32>)
    splits_kernel(int64_t outputs, Target<Reduction> target) {
  using State = typename Reduction::State;
  int64_t const output = row_index<32>();
  if (output >= outputs) return;
  State state{typename Reduction::Part{}};
  for (int64_t s = Team<32>::rank(); s < target.splits; s += 32) {
    state = state + target.parts[output * target.splits + s];
  }
  state = Team<32>::reduce(state, Add{}, shared<State[1], "states">());
  if (Team<32>::rank() == 0) target.reduction.finish(output, state);
}

template <typename Reduction, typename T, int WIDTH, int THREADS>
void launch_rows(char const* op, cudaStream_t stream, T const* x, int64_t rows, int64_t n,
                 Target<Reduction>& target, int64_t most_splits) {
  constexpr int64_t CHUNK = int64_t{THREADS} * VECS * WIDTH;
  int64_t const chunks = n / CHUNK + (n % CHUNK != 0);
  int64_t const wanted = ENOUGH_CTAS / std::max<int64_t>(1, rows);
  target.splits = std::max<int64_t>(1, std::min({wanted, chunks / 4, most_splits}));
  int64_t const length = (chunks + target.splits - 1) / target.splits * CHUNK;
  launch(rows_kernel<Reduction, T, WIDTH, THREADS>, row_grid<THREADS>(op, rows * target.splits),
         ROW_CTA<THREADS>, 0, stream, x, rows, n, length, target);
}

template <typename Reduction, typename T, int WIDTH>
void choose_width(char const* op, cudaStream_t stream, Array x, Target<Reduction>& target,
                  int64_t most_splits) {
  int64_t const outer = x.dims[0];
  int64_t const n = x.dims[1];
  int64_t const inner = x.dims[2];
  if (inner > 1) {
    ColumnPlan const plan = plan_columns(outer, n, inner, WIDTH, most_splits);
    target.splits = plan.splits;
    launch(columns_kernel<Reduction, T, WIDTH>, column_grid(op, plan), COLUMN_THREADS, 0, stream,
           x.data<T>(), plan, target);
  } else if (n <= 8 * WIDTH * 2) {
    launch_rows<Reduction, T, WIDTH, 8>(op, stream, x.data<T>(), outer, n, target, most_splits);
  } else if (n <= 32 * WIDTH * VECS * 4) {
    launch_rows<Reduction, T, WIDTH, 32>(op, stream, x.data<T>(), outer, n, target, most_splits);
  } else {
    launch_rows<Reduction, T, WIDTH, 256>(op, stream, x.data<T>(), outer, n, target, most_splits);
  }
}

// x (outer, n, inner), outer inner outputs; the workspace, f32 of any size, bounds the splits.
template <typename Reduction, typename T>
void choose(char const* op, cudaStream_t stream, Array x, Out workspace, Reduction reduction) {
  using State = typename Reduction::State;
  int64_t const outputs = x.dims[0] * x.dims[2];
  if (outputs == 0) return;
  auto const state_bytes = static_cast<int64_t>(sizeof(State));
  int64_t const most_splits =
      workspace.size() * static_cast<int64_t>(sizeof(float)) / state_bytes / outputs;
  Target<Reduction> target{reduction, workspace.data<State>(), 1};

  constexpr int WIDTH = VEC_BYTES / static_cast<int>(sizeof(T));
  int64_t const pitch = x.dims[2] > 1 ? x.dims[2] : x.dims[1];
  if (row_is_vec<T>(pitch, is_vec_aligned(x.ptr))) {
    choose_width<Reduction, T, WIDTH>(op, stream, x, target, most_splits);
  } else {
    choose_width<Reduction, T, 1>(op, stream, x, target, most_splits);
  }
  if (target.splits == 1) return;
  launch(splits_kernel<Reduction>, row_grid<32>(op, outputs), ROW_CTA<32>, 0, stream, outputs,
         target);
}

inline void check(char const* op, Array x, Array y, Array workspace) {
  expect_ndim(op, "x", x, 3);
  expect_shape(op, "y", y, {x.dims[0], x.dims[2]});
  expect_dtype(op, "workspace", workspace, DType::f32);
}

}  // namespace pynn::reduce
