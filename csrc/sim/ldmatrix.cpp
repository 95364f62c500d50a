// ldmatrix.cpp — 8x8 matrices between shared memory and registers.
#include "sim/ldmatrix.h"

#include <cstring>

#include "sim/address.h"

namespace pynn::sim {

namespace {

struct RowAddress {
  uint32_t* r;
  uint32_t row;
  Where where;
};

RowAddress& row_address(void* p) {
  return *static_cast<RowAddress*>(p);
}

unsigned arrived_lane(const Meeting& m, size_t i) {
  return lane_of(*m.threads[i]);
}

struct Context {
  int count;
  bool transpose;
};

// Of the element e of register r that lane l holds: its row and column in the matrix that memory holds.
void position(const Context& c, unsigned lane, unsigned e, unsigned& row, unsigned& column) {
  row = lane / 4;
  column = lane % 4 * 2 + e;
  if (c.transpose) std::swap(row, column);
}

void check(const char* what, int count, uint32_t row, Where where) {
  if (int(lane_of(*current)) < 8 * count) shared_range(row, 16, 16, what, where);
}

}  // namespace

void load_matrices(const char* what, uint32_t* r, int count, bool transpose, uint32_t row,
                   Where where) {
  check(what, count, row, where);
  RowAddress o{r, row, where};
  Context context{count, transpose};
  if (int(lane_of(*current)) < 8 * count)  // as if the lane that names the row read it
    race::access(current->block->shared.at(row), 16, race::Access::READ, where);
  meet_warp(
      ~0u, {what, where}, &o,
      [](Meeting& m, void* p) {
        const Context& c = *static_cast<Context*>(p);
        uint16_t matrix[4][8][8];
        for (size_t i = 0; i < m.operands.size(); ++i) {
          const unsigned lane = arrived_lane(m, i);
          if (int(lane) < 8 * c.count)
            std::memcpy(matrix[lane / 8][lane % 8],
                        current->block->shared.at(row_address(m.operands[i]).row), 16);
        }
        for (size_t i = 0; i < m.operands.size(); ++i)
          for (int k = 0; k < c.count; ++k) {
            uint32_t packed = 0;
            for (unsigned e = 0; e < 2; ++e) {
              unsigned row, column;
              position(c, arrived_lane(m, i), e, row, column);
              packed |= uint32_t(matrix[k][row][column]) << 16 * e;
            }
            row_address(m.operands[i]).r[k] = packed;
          }
      },
      &context);
}

void store_matrices(const char* what, const uint32_t* r, int count, bool transpose, uint32_t row,
                    Where where) {
  check(what, count, row, where);
  RowAddress o{const_cast<uint32_t*>(r), row, where};
  Context context{count, transpose};
  if (int(lane_of(*current)) < 8 * count)
    race::access(current->block->shared.at(row), 16, race::Access::WRITE, where);
  meet_warp(
      ~0u, {what, where}, &o,
      [](Meeting& m, void* p) {
        const Context& c = *static_cast<Context*>(p);
        uint16_t matrix[4][8][8];
        for (size_t i = 0; i < m.operands.size(); ++i)
          for (int k = 0; k < c.count; ++k)
            for (unsigned e = 0; e < 2; ++e) {
              unsigned row, column;
              position(c, arrived_lane(m, i), e, row, column);
              matrix[k][row][column] = uint16_t(row_address(m.operands[i]).r[k] >> 16 * e);
            }
        for (size_t i = 0; i < m.operands.size(); ++i) {
          const unsigned lane = arrived_lane(m, i);
          if (int(lane) < 8 * c.count)
            std::memcpy(current->block->shared.at(row_address(m.operands[i]).row),
                        matrix[lane / 8][lane % 8], 16);
        }
      },
      &context);
}

}  // namespace pynn::sim
