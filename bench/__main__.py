"""python -m bench [FAMILY ...]: verify and time kernels beside their peers. Also `peaks`, `train`,
`report`, `status`: each says more with --help.

Exit code 1: a result was refused; 3: a kernel has left the device unusable, and the same command
with --resume goes on behind it.
"""

import argparse
import importlib
import json
import os
import sys

LOST = 3  # exit code
COMMANDS = {
    "peaks": "bench.peaks",
    "train": "bench.train.run",
    "report": "bench.report",
    "status": "bench.status",
}


def main(argv=None) -> int:
    """Run the command line; returns the exit code: 1 if a result was refused."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] == "gemm" and "--model" in argv:
        return importlib.import_module("bench.model").main([a for a in argv[1:] if a != "--model"])
    if argv and argv[0] in COMMANDS:
        return importlib.import_module(COMMANDS[argv[0]]).main(argv[1:])
    return families(argv)


def families(argv):
    threads = argparse.ArgumentParser(add_help=False)
    words = "of the CPU, for every library (default: 1; two are ruined by any busy neighbour)"
    threads.add_argument("--threads", type=int, default=1, help=words)
    count = str(threads.parse_known_args(argv)[0].threads)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = count  # read when NumPy and PyTorch are first imported

    from bench import device as devices
    from bench import libraries, run, table
    from pynn import backend

    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, parents=[threads])
    parser.add_argument("family", nargs="*", metavar="FAMILY", help="default: all; see --list")
    parser.add_argument("--list", action="store_true", help="show families, cases and peers")
    words = "cpu or cuda (default: cuda if there is one)"
    parser.add_argument("--device", choices=("cpu", "cuda"), help=words)
    words = "default: float32 on the CPU, bfloat16 and float32 on a GPU"
    parser.add_argument("--dtype", action="append", metavar="DTYPE", help=words)
    words = "native, reference, or of a family of kernels one, as gemm:sm80_64x64, or gemm:all"
    words += " (default: native on a GPU, else reference)"
    parser.add_argument("--variant", action="append", metavar="VARIANT", help=words)
    words = f"out of {', '.join(libraries.PEERS)}; none for no peer (default: see --list)"
    parser.add_argument("--peer", action="append", metavar="PEER", help=words)
    parser.add_argument("--pass", dest="passes", action="append", help="forward, backward or step")
    parser.add_argument("--op", action="append", help="these ops alone")
    parser.add_argument("--json", metavar="FILE", help="append the rows as lines of JSON")
    words = "leave out what FILE of --json has already, from this device"
    parser.add_argument("--resume", action="store_true", help=words)
    parser.add_argument("--quick", action="store_true", help="small shapes, short turns")
    parser.add_argument("--seconds", type=float, help="for each arm of a row")
    words = "give up the device if a row takes longer than that (default: never)"
    parser.add_argument("--limit", type=float, default=0.0, metavar="SECONDS", help=words)
    args = parser.parse_args(argv)
    device = args.device or ("cuda" if backend.cuda_available() else "cpu")
    scale = "quick" if args.quick or device == "cpu" else "full"
    names = args.family or run.families()
    if args.list:
        return _list(names, scale, device)
    peers = tuple(args.peer or libraries.DEFAULT[device])
    plan = run.Plan(
        device=device,
        types=tuple(args.dtype or (("bfloat16", "float32") if device == "cuda" else ("float32",))),
        variants=_variants(args.variant or ["native" if device == "cuda" else "reference"]),
        peers=() if peers == ("none",) else peers,
        seconds=args.seconds or (0.1 if args.quick else 0.2),
        limit=args.limit,
        **({"passes": tuple(args.passes)} if args.passes else {}),
    )
    found, absent = libraries.find(plan.peers, device)
    print(table.head(device, found, absent), flush=True)
    refused, done = 0, set()
    if args.resume and args.json and os.path.exists(args.json):
        name = devices.facts(device)["device"]
        known = [row for row in run.load([args.json]) if row["device"] == name]
        done = {run.identity(row) for row in known if "skipped" not in row}

    def keep(row):
        print(table.line(row), flush=True)
        if args.json:
            run.append(args.json, row)

    def last(row):
        keep(row)
        os._exit(LOST)

    try:
        for row in run.rows(names, scale, plan, args.op, done, last):
            keep(row)
            refused += "refused" in row
    except run.LostDeviceError as error:
        print(f"the device is lost: {error}", file=sys.stderr)
        return LOST
    if refused:
        print(f"{refused} refused: a result that is not right is not timed", file=sys.stderr)
    return 1 if refused else 0


def _variants(asked):
    """The variants asked for, "gemm:all" spelled out. Raises ValueError for unknown ones."""
    from bench import libraries
    from pynn import kernels

    found = []
    for variant in asked:
        family, _, name = variant.rpartition(":")
        every = name == "all" and family
        found += [f"{family}:{n}" for n in kernels.variants(family)] if every else [variant]
    for variant in found:
        libraries.Pynn("cpu", variant)
    return tuple(found)


def _list(names, scale, device):
    from bench import libraries, run

    for name in names:
        cases = run.family_cases(name, scale)
        print(f"{name}: {len(cases)} cases")
        for case in cases:
            print(f"  {case.op:<24}{case.shape:<28}{', '.join(case.passes)}")
    found, absent = libraries.find(libraries.PEERS, device)
    print(f"peers: {', '.join(found) or 'none'}; by default {', '.join(libraries.DEFAULT[device])}")
    print(json.dumps({"absent": absent}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
