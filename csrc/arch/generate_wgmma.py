"""Writes wgmma_n.cuh: wgmma.mma_async for each N, for inline assembly spells every accumulator.

    python csrc/arch/generate_wgmma.py

The type and the majors are not spelled out: the "C" constraint of nvcc puts a constexpr string into
the instruction, so that one function for each N and source of A serves every type.
"""

from pathlib import Path

HEADER = """\
// wgmma_n.cuh — wgmma.mma_async for each N, for wgmma.cuh. Made by generate_wgmma.py: do not edit.
//
// 64 functions that differ in the number of their operands: one for each N and source of A is the
// least that inline assembly allows, and the reason why this file is long.

#pragma once

#include <cstdint>

// clang-format off
namespace pynn::ptx {
"""


def lines(items, per_line, indent):
    rows = [items[i : i + per_line] for i in range(0, len(items), per_line)]
    return (",\n" + indent).join(", ".join(row) for row in rows)


def function(n, from_registers):
    size = n // 2
    a_count = 4 if from_registers else 1
    name = "wgmma_rs" if from_registers else "wgmma_ss"
    a_type = "const uint32_t (&a)[4]" if from_registers else "uint64_t a"
    b = size + a_count
    if from_registers:
        a_text = "{" + ", ".join(f"%{size + i}" for i in range(4)) + "}"
        a_in = ", ".join(f'"r"(a[{i}])' for i in range(4))
    else:
        a_text, a_in = f"%{size}", '"l"(a)'
    majors = "ONLY_B" if from_registers else "BOTH"
    registers = [f"%{i}" for i in range(size)]
    text = '"\n      "'.join(
        ", ".join(registers[i : i + 16]) + (", " if i + 16 < size else "")
        for i in range(0, size, 16)
    )
    outputs = lines([f'"+f"(d[{i}])' for i in range(size)], 8, "        ")
    return f"""
template <class Type, class Majors>
__device__ __forceinline__ void {name}(float (&d)[{size}], {a_type}, uint64_t b, int accumulate) {{
  asm volatile(
      "{{\\n.reg .pred p;\\nsetp.ne.b32 p, %{b + 1}, 0;\\n"
      "wgmma.mma_async.sync.aligned.m64n{n}%{b + 2} {{"
      "{text}"
      "}}, {a_text}, %{b}, p, 1, 1%{b + 3};\\n}}"
      : {outputs}
      : {a_in}, "l"(b), "r"(accumulate), "C"(Type::NAME), "C"(Majors::{majors}));
}}
"""


def main():
    parts = [function(n, rs) for n in range(8, 257, 8) for rs in (False, True)]
    text = HEADER + "".join(parts) + "\n}  // namespace pynn::ptx\n"
    Path(__file__).with_name("wgmma_n.cuh").write_text(text)


if __name__ == "__main__":
    main()
