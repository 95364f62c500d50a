"""python -m bench train: whole training steps beside PyTorch's, each library in a process of its
own, in turns.

samples/s   images, rows or tokens trained on in a second
MFU         FLOPs of the step over its time, over the device's measured matrix peak in that dtype
memory      bytes by which the steps raised the peak of the process, or of the GPU's pools
host        time until a step has been issued; on a CPU the step's time outside of the ops, at
            most: the profile's own time is in it

The losses of the first steps must agree, or the row is refused.
"""

import argparse
import contextlib
import importlib
import importlib.util
import json
import math
import os
import resource
import sys
import tempfile
import time

from bench import device as devices
from bench import peaks
from bench.run import append, provenance
from bench.timing import ArmProcess, Neighbours, alternate, in_turns, serve

FACTS = -1.0  # asked for in place of the seconds of a turn
STEPS = {  # name: {device: (batch, options)}; None where it does not fit
    "digits-mlp": {"cpu": (64, {}), "cuda": (1024, {})},
    "digits-cnn": {"cpu": (64, {}), "cuda": (1024, {})},
    "gpt2": {
        "cpu": (2, {"layers": 2, "width": 64, "heads": 4, "vocabulary": 256, "context": 64}),
        "cuda": (16, {"context": 1024}),
    },
    "resnet50": {
        "cpu": (4, {"width": 8, "depths": (1, 1, 1, 1), "classes": 10, "size": 32}),
        "cuda": (128, {"size": 224}),
    },
}
RATES = {"digits-mlp": 0.05, "digits-cnn": 0.05, "resnet50": 0.01, "gpt2": 1e-4}


def data_for(name, batch, options):
    """(inputs, labels): the digits where they are installed, else random numbers."""
    import numpy as np

    from bench.case import normal

    rng = np.random.default_rng(0)
    if name == "gpt2":
        context = options["context"]
        index = rng.integers(0, options.get("vocabulary", 50304), (batch, context + 1))
        position = np.broadcast_to(np.arange(context), (batch, context)).copy()
        return [index[:, :-1].copy(), position], index[:, 1:].reshape(-1).copy()
    if name == "resnet50":
        size = options["size"]
        labels = rng.integers(0, options.get("classes", 1000), batch)
        return [normal(batch, size, size, 3)], labels
    x = np.abs(normal(batch, 8, 8, 1))
    return [x if name == "digits-cnn" else x.reshape(batch, 64)], rng.integers(0, 10, batch)


def network_of(name, nn, F, options):
    from bench.train import networks

    options = {k: v for k, v in options.items() if k != "size"}
    if name == "gpt2":
        return networks.gpt2(nn, F, **options)
    return getattr(networks, name.replace("-", "_"))(nn, **options)


def missing(name):
    """Why pynn cannot run it yet, or "": attention is a part of the engine by its own name."""
    import pynn.functional as F

    if name == "gpt2" and not hasattr(F, "scaled_dot_product_attention"):
        return "pynn.functional has no scaled_dot_product_attention"
    return ""


# ------------------------------------------------------------------ what runs in a child


def child(name, library, device, dtype, path):
    """Be one arm: print the first losses, then take turns; the pynn arm leaves its initial
    parameters in a file for the other.
    """
    batch, options = STEPS[name][device]
    for module in (
        ("torch",) if library == "torch" else ("pynn.nn", "pynn.optim", "pynn.functional")
    ):
        importlib.import_module(module)
    base = _peak(library, device)
    make = _pynn_step if library == "pynn" else _torch_step
    step, wait = make(name, batch, options, device, dtype, path)
    losses = [float(step().item()) for _ in range(3)]
    wait()
    print(json.dumps(losses), flush=True)
    turn = in_turns(lambda: (step(), wait()))

    def answer(seconds):
        if seconds != FACTS:
            return turn(seconds)
        return {
            "memory": _peak(library, device) - base,
            "host": _host(step, wait, library, device),
            "flops": _flops(name, batch, options) if library == "pynn" else None,
        }

    serve(answer)


def _pynn_step(name, batch, options, device, dtype, path):
    import numpy as np

    import pynn
    import pynn.functional as F
    from pynn import backend, nn, optim

    devices.use_stream(device)
    pynn.manual_seed(0)
    model = network_of(name, nn, F, options)
    state = nn.to_torch_layout(model.state_dict(), model)
    np.savez(path, **state)
    model.to(dtype=dtype, device=device)
    optimizer = _optimizer(optim, name, model)
    inputs, labels = data_for(name, batch, options)
    inputs = [x if x.dtype.kind in "iu" else x.astype(pynn.dtypes.as_dtype(dtype)) for x in inputs]
    inputs = [pynn.Tensor(backend.to_device(x, device)) for x in inputs]
    labels = pynn.Tensor(backend.to_device(labels, device))

    def wait():
        if device == "cuda":
            backend.cupy().cuda.get_current_stream().synchronize()

    return _step_of(F, model, inputs, labels, optimizer), wait


def _torch_step(name, batch, options, device, dtype, path):
    import numpy as np
    import torch
    from torch import nn, optim
    from torch.nn import functional as F

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    torch.backends.cudnn.benchmark = True
    model = network_of(name, nn, F, options)
    with np.load(path) as saved:
        model.load_state_dict({k: torch.tensor(v) for k, v in saved.items()})
    kind = getattr(torch, dtype)
    model.to(device=device, dtype=kind)
    inputs, labels = data_for(name, batch, options)
    inputs = [torch.from_numpy(x).to(device) for x in inputs]
    inputs = [x if x.dtype == torch.int64 else x.to(kind) for x in inputs]
    if inputs[0].ndim == 4:
        model.to(memory_format=torch.channels_last)
        inputs = [x.permute(0, 3, 1, 2) for x in inputs]
    labels = torch.from_numpy(labels).to(device)
    optimizer = _optimizer(optim, name, model, fused=device == "cuda" or None)

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    return _step_of(F, model, inputs, labels, optimizer), wait


def _step_of(F, model, inputs, labels, optimizer):
    def step():
        loss = F.cross_entropy(model(*inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def _optimizer(optim, name, model, **options):
    if name == "gpt2":
        return optim.AdamW(model.parameters(), lr=RATES[name], weight_decay=0.1, **options)
    return optim.SGD(model.parameters(), lr=RATES[name], momentum=0.9, **options)


def _peak(library, device):
    if device == "cpu":
        with contextlib.suppress(OSError), open("/proc/self/status") as file:
            for line in file:
                if line.startswith("VmHWM"):  # ru_maxrss would count the parent's, too
                    return int(line.split()[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if library == "pynn":
        from pynn import backend

        return backend.cupy().get_default_memory_pool().total_bytes()
    import torch

    return torch.cuda.max_memory_reserved()


def _host(step, wait, library, device):
    """Seconds of the host for a step: until it is issued, or on a CPU outside the ops."""
    if device == "cpu":
        if library != "pynn":
            return None
        import pynn

        gaps = []
        for _ in range(5):
            with pynn.profile() as p:
                step()
            gaps.append(p.gaps)
        return sorted(gaps)[2]
    times = []
    for _ in range(5):
        wait()
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    wait()
    return sorted(times)[2]


def _flops(name, batch, options):
    """FLOPs of a training step: three times those of the forward's matrix products."""
    from bench.train import networks
    from pynn import nn

    if name == "gpt2":
        layers, width = options.get("layers", 12), options.get("width", 768)
        vocabulary, context = options.get("vocabulary", 50304), options["context"]
        return networks.gpt2_flops(layers, width, vocabulary, batch * context, context)
    import pynn.functional as F

    inputs, _ = data_for(name, 1, options)
    summary = nn.summary(network_of(name, nn, F, options), inputs[0].shape)
    matrix = sum(row.flops for row in summary.rows if row.layer in ("Linear", "Conv2d"))
    return 3 * batch * matrix


# ------------------------------------------------------------------ the parent


def row_of(name, arms, device, dtype, seconds, folder, threads):
    """The row of a training step; {"refused": why} if the losses of the arms differ."""
    row = provenance(device) | {"case": name, "dtype": dtype, "threads": threads}
    row["batch"], options = STEPS[name][device]
    why = missing(name)
    if why:
        return row | {"absent": {"pynn": why}}
    env = os.environ | dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), str(threads))
    path = os.path.join(folder, f"{name}.npz")
    running = {}
    try:
        for arm in arms:
            words = [sys.executable, "-m", "bench.train.run", "--child"]
            other = {} if arm == "pynn" else {"PYNN_MALLOC": "system"}
            running[arm] = ArmProcess([*words, name, arm, device, dtype, path], env | other)
        losses = {arm: process.greeting for arm, process in running.items()}
        bound = 2e-3 if dtype == "float32" else 0.1
        for firsts in zip(*losses.values(), strict=True):
            close = max(firsts) - min(firsts) <= bound * max(1.0, max(firsts))
            if not close or not all(map(math.isfinite, firsts)):
                return row | {"refused": f"expected equal losses of the first steps, got {losses}"}
        with Neighbours(process.process.pid for process in running.values()) as others:
            times = alternate({arm: process.turn for arm, process in running.items()}, seconds)
        facts = {arm: process.turn(FACTS) for arm, process in running.items()}
    finally:
        for process in running.values():
            process.__exit__()
    samples = row["batch"] * options.get("context", 1)
    limit = peaks.known(device).get("matrix", {}).get(dtype)
    flops = facts["pynn"]["flops"]
    row |= {"others": others.busy, "losses": losses, "flops": flops, "arms": {}}
    for arm, timing in times.items():
        row["arms"][arm] = {
            "ms": {"p10": 1e3 * timing.p10, "p50": 1e3 * timing.median, "p90": 1e3 * timing.p90},
            "fastest_ms": 1e3 * timing.fastest,
            "samples_s": samples / timing.median,
            "mfu": flops / timing.median / limit if limit else None,
            "memory": facts[arm]["memory"],
            "host_ms": None if facts[arm]["host"] is None else 1e3 * facts[arm]["host"],
        }
    return row


def line(row):
    """A row as text, a line for each arm."""
    start = f"{row['case']:<12}{row['dtype']:<10}{row['batch']:>5}"
    for why in ("refused", "absent"):
        if why in row:
            return f"{start}  {why}: {row[why]}"
    lines = []
    for arm, facts in row["arms"].items():
        mfu = "-" if facts["mfu"] is None else f"{100 * facts['mfu']:.0f}%"
        host = "-" if facts["host_ms"] is None else f"{facts['host_ms']:.2f}"
        lines.append(
            f"{start} {arm:<7}{facts['ms']['p50']:>10,.2f}{facts['fastest_ms']:>10,.2f}"
            f"{facts['samples_s']:>13,.0f}{mfu:>6}{facts['memory'] / 2**20:>10,.1f}{host:>9}"
        )
    return "\n".join(lines)


def main(argv) -> int:
    """`python -m bench train`; 1 if a row was refused."""
    from pynn import backend

    parser = argparse.ArgumentParser(prog="python -m bench train", description=__doc__)
    parser.add_argument("case", nargs="*", metavar="CASE", help=f"out of {', '.join(STEPS)}")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda if there is one")
    parser.add_argument("--dtype", help="default: float32 on the CPU, bfloat16 on a GPU")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each arm of a row")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (default: 1)")
    parser.add_argument("--json", metavar="FILE", help="append the rows as lines of JSON")
    args = parser.parse_args(argv)
    unknown = set(args.case) - set(STEPS)
    if unknown:
        raise ValueError(
            f"[bench] train: expected out of {', '.join(STEPS)}, got {sorted(unknown)}"
        )
    device = args.device or ("cuda" if backend.cuda_available() else "cpu")
    dtype = args.dtype or ("bfloat16" if device == "cuda" else "float32")
    arms = ["pynn"]
    if importlib.util.find_spec("torch"):
        arms.append("torch")
    else:
        print("no torch: PyTorch is not installed")
    print(
        f"{'case':<12}{'dtype':<10}{'batch':>5} {'arm':<7}{'ms':>10}{'fastest':>10}"
        f"{'samples/s':>13}{'MFU':>6}{'MiB':>10}{'host ms':>9}"
    )
    refused = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in args.case or STEPS:
            row = row_of(name, arms, device, dtype, args.seconds, folder, args.threads)
            print(line(row), flush=True)
            refused += "refused" in row
            if args.json:
                append(args.json, row)
    return 1 if refused else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        sys.exit(main(sys.argv[1:]))
