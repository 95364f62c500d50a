// ldmatrix.h — twin of arch/ldmatrix.cuh.
#pragma once

#include "sim/machine.h"

namespace pynn::sim {
void load_matrices(const char* what, uint32_t* r, int count, bool transpose, uint32_t row,
                   Where where);
void store_matrices(const char* what, const uint32_t* r, int count, bool transpose, uint32_t row,
                    Where where);
}  // namespace pynn::sim

namespace pynn::ptx {

using sim::Where;

inline void ldmatrix_x1(uint32_t (&r)[1], uint32_t row, Where w = Where::current()) {
  sim::load_matrices("ldmatrix.x1", r, 1, false, row, w);
}
inline void ldmatrix_x1_trans(uint32_t (&r)[1], uint32_t row, Where w = Where::current()) {
  sim::load_matrices("ldmatrix.x1.trans", r, 1, true, row, w);
}
inline void ldmatrix_x2(uint32_t (&r)[2], uint32_t row, Where w = Where::current()) {
  sim::load_matrices("ldmatrix.x2", r, 2, false, row, w);
}
inline void ldmatrix_x2_trans(uint32_t (&r)[2], uint32_t row, Where w = Where::current()) {
  sim::load_matrices("ldmatrix.x2.trans", r, 2, true, row, w);
}
inline void ldmatrix_x4(uint32_t (&r)[4], uint32_t row, Where w = Where::current()) {
  sim::load_matrices("ldmatrix.x4", r, 4, false, row, w);
}
inline void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t row, Where w = Where::current()) {
  sim::load_matrices("ldmatrix.x4.trans", r, 4, true, row, w);
}
inline void stmatrix_x1(uint32_t row, const uint32_t (&r)[1], Where w = Where::current()) {
  sim::store_matrices("stmatrix.x1", r, 1, false, row, w);
}
inline void stmatrix_x1_trans(uint32_t row, const uint32_t (&r)[1], Where w = Where::current()) {
  sim::store_matrices("stmatrix.x1.trans", r, 1, true, row, w);
}
inline void stmatrix_x2(uint32_t row, const uint32_t (&r)[2], Where w = Where::current()) {
  sim::store_matrices("stmatrix.x2", r, 2, false, row, w);
}
inline void stmatrix_x2_trans(uint32_t row, const uint32_t (&r)[2], Where w = Where::current()) {
  sim::store_matrices("stmatrix.x2.trans", r, 2, true, row, w);
}
inline void stmatrix_x4(uint32_t row, const uint32_t (&r)[4], Where w = Where::current()) {
  sim::store_matrices("stmatrix.x4", r, 4, false, row, w);
}
inline void stmatrix_x4_trans(uint32_t row, const uint32_t (&r)[4], Where w = Where::current()) {
  sim::store_matrices("stmatrix.x4.trans", r, 4, true, row, w);
}

}  // namespace pynn::ptx
