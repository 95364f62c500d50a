"""python -m bench gemm --model: what the cost model of the matrix kernels says of the shapes here.

The model (csrc/kernels/gemm/plan.h) chooses rung, tile and parts of K for every product; this shows
its reasons, with no GPU: a line for each shape, pass and dtype, with the tile it takes, in how many
parts of K (0: stream-K, after so many turns of whole tiles), the time it expects of an H200 at 1830
MHz, by what that is bound, and the second best. With cuobjdump and a built pynn._cuda it adds what
the compiler made of each wgmma kernel: wgmma instructions, registers of each role, bytes of local
memory. A modelled time is no measurement.
"""

import argparse
import re
import shutil
import subprocess

import numpy as np

from bench import run
from pynn import backend, dtypes, kernels
from pynn.functional.product import NN, NT, TN, _workspace

COLUMNS = (
    ["number", "chosen", "splits", "clocks", "memory", "work", "turns", "steps"]
    + ["arithmetic", "shared", "l2"]
)  # fmt: skip
MHZ = 1830
PASSES = {"forward": NT, "dgrad": NN, "wgrad": TN}
SM90 = {  # tile: (BM, BN, stages, KB of each consumer warp), as mainloop_sm90.cuh
    "sm90_128x256": (128, 256, 4, 4),
    "sm90_128x192": (128, 192, 5, 3),
    "sm90_128x128": (128, 128, 6, 4),
    "sm90_128x64": (128, 64, 8, 4),
}


def opinions(M, N, K, layout, dtype, tf32=False):
    """A dict of COLUMNS for each variant that fits, the cheapest first, of d (M, N) = a b; dtype
    "fp8" of bytes, to bfloat16.

    Raises RuntimeError without the simulator, which is asked.
    """
    sim = backend.kernel_module("sim")
    if sim is None:
        raise RuntimeError("[bench] expected pynn._sim, which tells the model's opinion, got none")
    a, b = (
        np.empty(shape, np.uint8 if dtype == "fp8" else dtypes.as_dtype(dtype))  # never touched
        for shape in ((K, M) if layout == TN else (M, K), (N, K) if layout == NT else (K, N))
    )
    d = np.empty((M, N), dtypes.bfloat16 if dtype == "fp8" else a.dtype)
    table = np.zeros((8, len(COLUMNS)))
    sim.gemm_model(a, b, d, table, layout, _workspace(a, d, layout).size, tf32)
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in table if row[0]]
    return sorted(rows, key=lambda row: (-row["chosen"], row["clocks"]))


def bound(row):
    """The part of a step, or the memory, that takes the most."""
    if row["memory"] / (4.0e12 / MHZ / 1e6) >= row["clocks"] * 0.999:
        return "memory"
    return max(("arithmetic", "shared", "l2"), key=lambda name: row[name])


def products(case):
    """(pass, M, N, K, layout) of a case of bench/linear.py; of fused ones none, which are made of
    the same products.
    """
    if case.op not in ("linear", "matmul"):
        return
    M, N, K = map(int, case.shape.split("x"))
    for direction in case.passes:
        layout = NN if case.op == "matmul" else PASSES[direction]
        m, n, k = {"forward": (M, N, K), "dgrad": (M, K, N), "wgrad": (N, K, M)}[direction]
        yield direction, m, n, k, layout


def lines(scale, types):
    """Text, line by line."""
    names = {number: name for name, number in kernels._VARIANTS["gemm"].items()}
    yield (
        f"{'product':<24}{'pass':<9}{'dtype':<10}{'tile':<14}{'parts':>5}{'turns':>6}{'steps':>6}"
        f"{'us':>9}{'TFLOP/s':>9}  {'bound':<11}second best"
    )
    for case in run.family_cases("linear", scale):
        for direction, M, N, K, layout in products(case):
            for dtype in types:
                if dtype == "fp8" and layout != NT:  # not for tensor cores
                    continue
                best, *others = opinions(M, N, K, layout, dtype)
                us = best["clocks"] / MHZ
                second = f"{names[others[0]['number']]} {others[0]['clocks'] / MHZ:.1f}"
                yield (
                    f"{case.op + ' ' + case.shape:<24}{direction:<9}{dtype:<10}"
                    f"{names[best['number']]:<14}{best['splits']:>5.0f}{best['turns']:>6.0f}"
                    f"{best['steps']:>6.0f}{us:>9.1f}{2 * M * N * K / us / 1e6:>9.1f}  "
                    f"{bound(best):<11}{second}"
                )


def compiled(path, tool):
    """A line for each wgmma kernel of a compiled module: what cuobjdump shows of its code."""
    text = subprocess.run([tool, "-sass", path], capture_output=True, text=True, check=True).stdout
    for part in text.split("Function : ")[1:]:
        name, _, code = part.partition("\n")
        if "gemm_sm90_kernel" not in name:
            continue
        plain = subprocess.run(["c++filt", name], capture_output=True, text=True).stdout.strip()
        plain = re.sub(r"\(pynn::gemm::Major\)", "", plain)
        what = re.search(r"gemm_sm90_kernel<(.*?)>", plain)
        wgmma = re.findall(r"[HQ]GMMA\.(\S+)", code)
        roles = [int(n, 16) for n in re.findall(r"USETMAXREG\S+\s+(?:UP\d, )?0x(\w+)", code)]
        local = len(re.findall(r"\b(?:STL|LDL)\b", code))
        shapes = {s: wgmma.count(s) for s in dict.fromkeys(wgmma)}
        stores = len(re.findall(r"\bUTMASTG\b", code))
        yield (
            f"{what[1] if what else plain}: wgmma {shapes}, registers {roles}, local {local}, "
            f"TMA stores {stores}"
        )


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m bench gemm --model", description=__doc__)
    parser.add_argument("--dtype", action="append", help="default: bfloat16, fp8 and float32")
    parser.add_argument("--quick", action="store_true", help="small shapes")
    args = parser.parse_args(argv)
    for line in lines(
        "quick" if args.quick else "full", args.dtype or ["bfloat16", "fp8", "float32"]
    ):
        print(line)
    print("\ntile of sm90    stages  bytes of shared memory  wgmma a stage and warpgroup")
    for name, (BM, BN, stages, KB) in SM90.items():
        size = stages * (BM + BN) * 128 + (8 * KB + 1) * 1024  # ring, warps, ones
        print(f"{name:<16}{stages:>6}{size:>24}      4 of m64n{BN}k16, fp8 k32")
    cuda, tool = backend.kernel_module("cuda"), shutil.which("cuobjdump")
    if cuda is None or tool is None:
        missing = "pynn._cuda" if cuda is None else "cuobjdump"
        print(f"\nno {missing}: nothing of the compiled kernels")
    else:
        print("\ncompiled kernels")
        for line in compiled(cuda.__file__, tool):
            print(line)
    return 0
