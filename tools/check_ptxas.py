"""Compile one CUDA file and judge what ptxas says of its kernels.

    check_ptxas.py nvcc -Xptxas=-v ... -c kernel.cu -o kernel.cu.o    run and check
    check_ptxas.py --table build/                                     show a finished build

A kernel that spills registers, or draws a C75xx warning (wgmma serialized), fails the build. A
file that means to says so and why, in one of the lines
    // ptxas: spills allowed, <reason>
    // ptxas: C7510 allowed, <reason>
With PYNN_PTXAS=report it is said, and nothing fails: for a compiler that nobody has tried yet.
What ptxas said is kept beside the object file as <object>.ptxas.json, one line for each kernel
and architecture.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ENTRY = re.compile(r"Compiling entry function '(?P<name>\S+)' for '(?P<arch>\w+)'")
SPILL = re.compile(
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads"
)
REGISTERS = re.compile(r"Used (?P<registers>\d+) registers")
SHARED = re.compile(r"(?P<shared>\d+) bytes smem")
WARNING = re.compile(r"\((?P<code>C75\d\d)\)")
ALLOWED = re.compile(r"//\s*ptxas:\s*(?P<what>spills|C75\d\d) allowed, \S")


def parse(text):
    """Rows of (kernel, arch, registers, spills, ...) and the C75xx lines of one ptxas -v output."""
    rows, warnings = [], []
    for line in text.splitlines():
        if found := WARNING.search(line):
            warnings.append((found["code"], line.strip()))
        elif found := ENTRY.search(line):
            rows.append({"kernel": found["name"], "arch": found["arch"], "shared": 0})
        elif rows and (found := SPILL.search(line)):
            rows[-1] |= {k: int(v) for k, v in found.groupdict().items()}
        elif rows and (found := REGISTERS.search(line)):
            rows[-1]["registers"] = int(found["registers"])
            if found := SHARED.search(line):
                rows[-1]["shared"] = int(found["shared"])
    return rows, warnings


def allowances(source_text):
    """What a kernel file says it may do: a subset of {"spills", "C7510", ...}."""
    return {found["what"] for found in ALLOWED.finditer(source_text)}


def complaints(rows, warnings, allowed):
    """One line for each thing that fails the build."""
    lines = []
    if "spills" not in allowed:
        lines += [
            f"[ptxas] {row['kernel']} ({row['arch']}): expected no spill, "
            f"got {row['stores']} bytes stored, {row['loads']} bytes loaded"
            for row in rows
            if row.get("stores") or row.get("loads")
        ]
    lines += [
        f"[ptxas] expected no {code}, got: {line}" for code, line in warnings if code not in allowed
    ]
    return lines


def compile_and_check(command):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    rows, warnings = parse(result.stdout)
    sys.stdout.write("".join(noteworthy(result.stdout)))
    if result.returncode or "-c" not in command:
        return result.returncode

    source = next(Path(word) for word in command if word.endswith(".cu"))
    target = Path(command[command.index("-o") + 1])
    found = complaints(rows, warnings, allowances(source.read_text()))
    if found:
        print(f"{source}:", *found, sep="\n  ")
        if os.environ.get("PYNN_PTXAS") != "report":
            target.unlink(missing_ok=True)
            return 1
    Path(f"{target}.ptxas.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return 0


def noteworthy(text):
    """The compiler's output without the lines that -Xptxas=-v adds."""
    for line in text.splitlines(keepends=True):
        added = line.startswith("ptxas info") or SPILL.search(line)
        if WARNING.search(line) or not added:
            yield line


def table(folder):
    rows = [
        json.loads(line)
        for file in sorted(Path(folder).rglob("*.ptxas.json"))
        for line in file.read_text().splitlines()
    ]
    names = subprocess.run(
        ["c++filt"], input="\n".join(r["kernel"] for r in rows), capture_output=True, text=True
    ).stdout.splitlines()
    print("registers  spill  shared  arch    kernel")
    for row, name in zip(rows, names, strict=True):
        spill = row["stores"] + row["loads"]
        print(f"{row['registers']:9}  {spill:5}  {row['shared']:6}  {row['arch']:6}  {name}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--table"]:
        table(sys.argv[2])
    else:
        sys.exit(compile_and_check(sys.argv[1:]))
