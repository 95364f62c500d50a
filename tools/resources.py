"""The resource table of the kernels: csrc/kernels/RESOURCES.md, out of a build of pynn._cuda.

    python tools/resources.py pynn/_cuda.*.so            write the table
    python tools/resources.py pynn/_cuda.*.so --check    exit 1 if it is not what is written

Registers, shared and local memory are what `cuobjdump --dump-resource-usage` reads from the module;
16-byte accesses are counted in its SASS. cuobjdump stands in the CUDA toolkit, beside nvcc or in
the wheel of `pip install "cuda-toolkit[cuobjdump,nvdisasm]"`.

A line is a kernel with all its template instances; local memory is a spill, or an array that did
not fit into registers, and is named instance by instance.
"""

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "csrc" / "kernels" / "RESOURCES.md"
HEAD = "| kernel | instances | registers | registers sm_90 | shared | local | 16-byte |"
FUNCTION = re.compile(r"\bFunction\s*:?\s+(?P<name>_Z\w+)")
USAGE = re.compile(r"REG:(?P<registers>\d+) STACK:(?P<stack>\d+) SHARED:(?P<shared>\d+)")
ARCH = re.compile(r"^\s*(?:arch = |\.target\s+|code for )(?P<arch>sm_\w+)", re.M)
WIDE = re.compile(r"\b(?:LDG|STG|LDGSTS)\.E[.\w]*\.128|\bUTMA(?:LDG|STG)|\bUBLKCP")


def cuobjdump():
    """Where it is: on PATH, beside nvcc, or in the toolkit's wheel; None if nowhere."""
    beside = Path(shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc").resolve().parent
    wheel = importlib.util.find_spec("nvidia")
    wheels = [Path(p) / "cu13" / "bin" for p in wheel.submodule_search_locations] if wheel else []
    places = [None, *map(str, [beside, "/usr/local/cuda/bin", *wheels])]
    return next(filter(None, (shutil.which("cuobjdump", path=place) for place in places)), None)


def kernel_name(mangled):
    """norm::row_norm_fwd_kernel of _ZN4pynn4norm19row_norm_fwd_kernelI...: without template."""
    at = 3 if mangled.startswith("_ZN") else 2
    parts = []
    while found := re.match(r"(\d+)", mangled[at:]):
        start = at + found.end()
        at = start + int(found[1])
        parts.append(mangled[start:at])
    return "::".join(p for p in parts if p != "pynn" and not p.startswith("_GLOBAL_"))


def usage(text):
    """{(kernel, arch): {instance: (registers, shared, stack)}} of --dump-resource-usage."""
    found, arch, name = defaultdict(dict), "", ""
    for line in text.splitlines():
        if seen := ARCH.match(line):
            arch = seen["arch"]
        elif seen := FUNCTION.search(line):
            name = seen["name"]
        elif seen := USAGE.search(line):
            numbers = tuple(int(seen[k]) for k in ("registers", "shared", "stack"))
            found[kernel_name(name), arch][name] = numbers
    return found


def wide(lines):
    """The instances with a 16-byte access of global memory, of SASS line by line."""
    found, name = set(), ""
    for line in lines:
        if seen := FUNCTION.search(line):
            name = seen["name"]
        elif WIDE.search(line):
            found.add(name)
    return found


def rows(of_module, wide_instances=None):
    """One row of cells for each kernel; the last is "" without SASS."""
    for kernel in sorted({kernel for kernel, _ in of_module}):
        by_arch = {arch: of_module[kernel, arch] for k, arch in of_module if k == kernel}
        newest = by_arch.get("sm_90") or by_arch.get("sm_90a") or {}
        every = [numbers for of_arch in by_arch.values() for numbers in of_arch.values()]
        generic = by_arch.get("sm_80", {})
        share = "" if wide_instances is None else str(len(wide_instances & newest.keys()))
        yield (
            kernel,
            str(len(newest or generic)),
            span(n[0] for n in generic.values()),
            span(n[0] for n in newest.values()),
            span(n[1] for n in (generic or newest).values()),  # sm_90 adds 1 KB of its own
            span(n[2] for n in every),
            share,
        )


def span(numbers):
    """The least and the greatest: 16 or 16..40, - for none."""
    numbers = list(numbers)
    low, high = (min(numbers), max(numbers)) if numbers else ("-", "-")
    return str(low) if low == high else f"{low}..{high}"


def local_memory(of_module):
    """(kernel, arch, instance, bytes) of each instance that has some."""
    for (kernel, arch), instances in sorted(of_module.items()):
        for name, (_, _, stack) in sorted(instances.items()):
            if stack:
                yield kernel, arch, name, stack


def page(of_module, wide_instances, nvcc):
    text = f"""# Resources of the kernels

Written by tools/resources.py from a build with nvcc {nvcc}; other versions allocate otherwise.
A line is a kernel with all its template instances: registers a thread for sm_80, and for sm_90 or
sm_90a; bytes of static shared and of local memory; and how many of the sm_90 instances access
global memory 16 bytes at a time. The rest serve rows and pointers that are not in 16-byte steps.

{HEAD}
|---|---|---|---|---|---|---|
"""
    text += "".join(f"| {' | '.join(row)} |\n" for row in rows(of_module, wide_instances))
    text += "\n## Local memory\n\n"
    found = defaultdict(set)
    for kernel, arch, _, stack in local_memory(of_module):
        found[kernel, arch].add(stack)
    text += "".join(
        f"- {kernel}, {arch}: {span(sizes)} bytes in "
        f"{sum(k == kernel and a == arch for k, a, _, _ in local_memory(of_module))} instances\n"
        for (kernel, arch), sizes in sorted(found.items())
    )
    return text if found else text + "None.\n"


def dump(program, *arguments):
    """The output's lines, as they come: SASS is too much for memory."""
    with subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, text=True) as process:
        yield from process.stdout
    if process.returncode:
        raise RuntimeError(f"[resources] {program}: expected exit 0, got {process.returncode}")


def usage_of(program, module):
    return usage("".join(dump(program, "--dump-resource-usage", str(module))))


def wide_of(program, module):
    found = set()
    for arch in ("sm_90", "sm_90a"):
        found |= wide(dump(program, "-sass", "-arch", arch, str(module)))
    return found


def nvcc_of(module):
    """The version of nvcc that built the module, asked in a process of its own."""
    code = (
        "import importlib.util as u, sys\n"
        "spec = u.spec_from_file_location('pynn._cuda', sys.argv[1])\n"
        "module = u.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "print(module.build_info()['nvcc'])"
    )
    command = [sys.executable, "-c", code, str(module)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", help="the built pynn/_cuda.*.so")
    parser.add_argument("--check", action="store_true", help="compare with what is written")
    options = parser.parse_args(arguments)
    program = cuobjdump()
    if program is None:
        sys.exit("[resources] expected cuobjdump, got none: install the CUDA toolkit")
    of_module = usage_of(program, options.module)
    text = page(of_module, wide_of(program, options.module), nvcc_of(options.module))
    if not options.check:
        PAGE.write_text(text)
    elif PAGE.read_text() != text:
        sys.exit(f"[resources] {PAGE}: expected the build's, got another table: write it again")


if __name__ == "__main__":
    main()
