// mma.cpp — gathers the fragments of a warp into matrices, multiplies, scatters.
#include "sim/mma.h"

namespace pynn::sim {

namespace {

struct MmaOperand {
  float* d;
  const uint32_t *a, *b;
};

void multiply(Meeting& m, void* context) {
  const Number type = *static_cast<Number*>(context);
  const unsigned packed = 4 / bytes_of(type);  // elements in a register
  const unsigned half = 4 * packed;            // columns of A that registers 0 and 1 cover
  float A[16][16], B[16][8];
  for (size_t i = 0; i < m.operands.size(); ++i) {
    const MmaOperand& o = *static_cast<MmaOperand*>(m.operands[i]);
    const unsigned lane = lane_of(*m.threads[i]), g = lane / 4, t = lane % 4;
    const unsigned bits = 32 / packed;
    for (unsigned e = 0; e < packed; ++e) {
      const unsigned k = t * packed + e;
      for (unsigned r = 0; r < 4; ++r)
        A[g + r % 2 * 8][k + r / 2 * half] = to_float(type, o.a[r] >> bits * e);
      for (unsigned r = 0; r < 2; ++r) B[k + r * half][g] = to_float(type, o.b[r] >> bits * e);
    }
  }
  for (size_t i = 0; i < m.operands.size(); ++i) {
    const MmaOperand& o = *static_cast<MmaOperand*>(m.operands[i]);
    const unsigned lane = lane_of(*m.threads[i]), g = lane / 4, t = lane % 4;
    for (unsigned r = 0; r < 4; ++r) {
      double sum = o.d[r];
      for (unsigned k = 0; k < 2 * half; ++k)
        sum += double(A[g + r / 2 * 8][k]) * B[k][2 * t + r % 2];
      o.d[r] = float(sum);
    }
  }
}

}  // namespace

void multiply_add(const char* what, Number type, float* d, const uint32_t* a, const uint32_t* b,
                  Where where) {
  MmaOperand o{d, a, b};
  meet_warp(~0u, {what, where}, &o, multiply, &type);
}

}  // namespace pynn::sim
