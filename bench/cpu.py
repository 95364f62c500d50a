"""The CPU path against PyTorch: training steps, the cost of one op, start-up, memory.

    python -m bench.cpu             about two minutes; --quick about half a minute
    python -m bench.cpu --json F    append each row to F as a line of JSON

A row runs pynn and PyTorch (eager, float32, its default layout NCHW) on the same numbers, in turns,
each in a process of its own with one or two threads; the losses of the first steps must agree.
A ratio is pynn's median over PyTorch's, so below 1 pynn is faster; the target is on this ratio, or
on pynn's seconds. "fastest" is the ratio of the fastest steps. "others" is how many CPUs other
processes kept busy meanwhile: much more than 0 makes a row worthless, those of two threads first.

Over 400 lines: it stands alone, since its arms start before anything heavy is imported.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time

from bench.timing import ArmProcess, Neighbours, Timing, alternate, in_turns, serve

TARGETS = {  # pynn / PyTorch, or seconds
    "MLP 784-512-256-10, batch 128, SGD": 1.0,
    "MLP 784-512-256-10, batch 128, Adam": 1.1,
    "CNN 28x28, batch 64, SGD": 1.4,
    "CNN 8x8, batch 64, SGD": 1.4,
    "add of 16 floats": 1.0,
    "add of 16 floats and backward": 1.0,
    "CNN 28x28, peak memory": 1.0,
    "digits MLP to 97 %, whole process": 0.5,
}
MLP = ["linear 784 512", "relu", "linear 512 256", "relu", "linear 256 10"]
CNN_28 = [
    *("conv 1 32", "relu", "pool 2", "conv 32 64", "relu", "pool 2", "flatten"),
    *("linear 3136 128", "relu", "linear 128 10"),
]
CNN_8 = [
    *("conv 1 16", "relu", "conv 16 32", "relu", "pool 2", "flatten"),
    *("linear 512 64", "relu", "linear 64 10"),
]
STEPS = {  # layers, batch, shape of x, (C, H, W) at the flatten, optimizer
    "MLP 784-512-256-10, batch 128, SGD": (MLP, (128, 784), None, "SGD"),
    "MLP 784-512-256-10, batch 128, Adam": (MLP, (128, 784), None, "Adam"),
    "CNN 28x28, batch 64, SGD": (CNN_28, (64, 28, 28, 1), (64, 7, 7), "SGD"),
    "CNN 8x8, batch 64, SGD": (CNN_8, (64, 8, 8, 1), (32, 4, 4), "SGD"),
}
CASES = [*STEPS, "add of 16 floats", "add of 16 floats and backward"]
RATES = {"SGD": 1e-2, "Adam": 1e-3}


def layers_of(nn, description):
    """The layers described, in pynn's or PyTorch's `nn`; both have the same names."""
    kinds = {"linear": nn.Linear, "relu": nn.ReLU, "pool": nn.MaxPool2d, "flatten": nn.Flatten}
    for line in description:
        kind, *sizes = line.split()
        sizes = map(int, sizes)
        yield nn.Conv2d(*sizes, 3, padding=1) if kind == "conv" else kinds[kind](*sizes)


def batch_for(shape):
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.standard_normal(shape, np.float32), rng.integers(0, 10, shape[0])


def pynn_step(description, shape, rule):
    """(model, function that trains one step and returns the loss)."""
    import pynn
    import pynn.functional as F
    from pynn import nn, optim

    pynn.manual_seed(0)
    model = nn.Sequential(*layers_of(nn, description))
    optimizer = getattr(optim, rule)(model.parameters(), lr=RATES[rule])
    x, labels = map(pynn.Tensor, batch_for(shape))

    def step():
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return model, step


def torch_step(torch, description, shape, rule, state=None, channels_last=False):
    """As pynn_step, from the same numbers; `state` holds pynn's parameters in PyTorch's layout."""
    model = torch.nn.Sequential(*layers_of(torch.nn, description))
    if state is not None:
        model.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    x, labels = map(torch.from_numpy, batch_for(shape))
    if x.ndim == 4:
        x = x.permute(0, 3, 1, 2).contiguous()
        if channels_last:
            model, x = (t.to(memory_format=torch.channels_last) for t in (model, x))
    optimizer = getattr(torch.optim, rule)(model.parameters(), lr=RATES[rule])

    def step():
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return model, step


# ------------------------------------------------------------------ what runs in a child


def arm(case, library, threads):
    """Be one arm of a case: print the first losses, or null, then run when asked to."""
    if library == "pynn":
        torch = None
    else:
        import torch

        torch.set_num_threads(int(threads))
    if case in STEPS:
        description, shape, flat, rule = STEPS[case]
        model, step = pynn_step(description, shape, rule)
        if torch:
            from pynn.nn import to_torch_layout

            flatten = {f"{description.index('flatten') + 1}.weight": flat} if flat else None
            state = to_torch_layout(model.state_dict(), model, flatten)
            _, step = torch_step(
                torch, description, shape, rule, state, channels_last=library == "channels_last"
            )
        print(json.dumps([float(step().item()) for _ in range(3)]), flush=True)
        serve(in_turns(step))
    else:
        print("null", flush=True)
        serve(in_turns(small_op(torch, backward="backward" in case), calls=500))


def small_op(torch, backward):
    """An op so small that its time is the engine's own."""
    import numpy as np

    import pynn

    tensor = torch.tensor if torch else pynn.Tensor
    a, b = np.random.default_rng(0).standard_normal((2, 16), np.float32)
    x, y, dy = tensor(a), tensor(b), tensor(np.ones(16, np.float32))
    x.requires_grad_()
    y.requires_grad_()

    def forward():
        return x + y

    def both():
        x.grad = y.grad = None
        (x + y).backward(dy)

    return both if backward else forward


def memory(library):
    """Bytes by which three CNN steps raise the peak of this process above what imports took."""
    description, shape, _, rule = STEPS["CNN 28x28, batch 64, SGD"]
    if library == "torch":
        import torch

        torch.set_num_threads(2)
        base = peak()
        _, step = torch_step(torch, description, shape, rule)
    else:
        import pynn  # noqa: F401
        from pynn import nn, optim  # noqa: F401

        base = peak()
        _, step = pynn_step(description, shape, rule)
    for _ in range(3):
        step()
    return {"bytes": peak() - base}


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def digits(library, path):
    """Train 64-64-10 on the digits in a file until 97 % of the held-out ones are right."""
    import numpy as np

    data = np.load(path)
    x, labels, x_test, labels_test = (data[k] for k in ("x", "labels", "x_test", "labels_test"))
    description = ["linear 64 64", "relu", "linear 64 10"]
    rng = np.random.default_rng(0)
    if library == "torch":
        import torch as lib
        from torch import nn, optim
        from torch.nn.functional import cross_entropy

        lib.manual_seed(0)
        make = lib.from_numpy
    else:
        import pynn as lib
        from pynn import nn, optim
        from pynn.functional import cross_entropy

        lib.manual_seed(0)
        make = lib.Tensor
    model = nn.Sequential(*layers_of(nn, description))
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    test = make(x_test)
    for epoch in range(1, 101):
        order = rng.permutation(len(x))
        for start in range(0, len(x), 64):
            part = order[start : start + 64]
            optimizer.zero_grad()
            cross_entropy(model(make(x[part])), make(labels[part])).backward()
            optimizer.step()
        with lib.no_grad():
            right = (model(test).numpy().argmax(1) == labels_test).mean()
        if right >= 0.97:
            return {"epochs": epoch, "accuracy": float(right)}
    raise RuntimeError(f"[bench.cpu] digits: expected 97 % within 100 epochs, got {right:.1%}")


# ------------------------------------------------------------------ the parent


def command_of(task, *arguments, threads):
    """The command and environment of a child. PyTorch's gets the system's allocator settings."""
    command = [sys.executable, "-m", "bench.cpu", "--child", task, *map(str, arguments)]
    blas = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    env = os.environ | dict.fromkeys(blas, str(threads))
    if "pynn" not in arguments:
        env["PYNN_MALLOC"] = "system"
    return command, env


def answer(task, *arguments, threads):
    """What a child that does one task prints."""
    command, env = command_of(task, *arguments, threads=threads)
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def side_by_side(case, arms, threads, seconds):
    """The row of a training step or an op, its arms in turns."""
    if case in STEPS and STEPS[case][2] and "torch" in arms:
        arms = [*arms, "channels_last"]
    with contextlib.ExitStack() as stack:
        running = {
            name: stack.enter_context(
                ArmProcess(*command_of("arm", case, name, threads, threads=threads))
            )
            for name in arms
        }
        losses = {name: process.greeting for name, process in running.items()}
        for firsts in zip(*losses.values(), strict=True) if case in STEPS else ():
            if max(firsts) - min(firsts) > 1e-3:
                raise RuntimeError(f"[bench.cpu] {case}: expected equal losses, got {losses}")
        with Neighbours(process.process.pid for process in running.values()) as others:
            times = alternate({name: process.turn for name, process in running.items()}, seconds)
    row = {"case": case, "threads": threads, "others": others.busy}
    return row | {name: vars(timing) for name, timing in times.items()}


def libraries():
    """The versions of the libraries; None for PyTorch if it is not installed."""
    import numpy as np

    import pynn

    found = {"pynn": pynn.__version__, "numpy": np.__version__, "torch": None}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        found["torch"] = importlib.metadata.version("torch")
    return found


def whole_processes(arms, quick):
    """The rows that need processes of their own: start-up with training, memory."""
    yield {
        "case": "CNN 28x28, peak memory",
        "threads": 2,
        **{arm: answer("memory", arm, threads=2) for arm in arms},
    }
    from pynn.data.bundled import digits as load

    try:
        train, test = load()
    except ImportError:  # scikit-learn, which has the images, is not installed
        return
    with tempfile.TemporaryDirectory() as folder, Neighbours() as others:
        import numpy as np

        path = os.path.join(folder, "digits.npz")
        (x, labels), (x_test, labels_test) = train[:], test[:]
        np.savez(
            path,
            x=x.reshape(len(x), -1),
            labels=labels,
            x_test=x_test.reshape(len(x_test), -1),
            labels_test=labels_test,
        )
        seconds, epochs = {arm: [] for arm in arms}, {}
        for _ in range(2 if quick else 5):
            for arm in arms:
                start = time.perf_counter()
                epochs[arm] = answer("digits", arm, path, threads=1)["epochs"]
                seconds[arm].append(time.perf_counter() - start)
    yield {
        "case": "digits MLP to 97 %, whole process",
        "threads": 1,
        "others": others.busy,
        **{
            arm: {**vars(Timing.of(taken)), "epochs": epochs[arm]} for arm, taken in seconds.items()
        },
    }


def judged(row):
    """The row with its ratio, target and whether it was met; None where there is no PyTorch."""
    for key, name in (("median", "ratio"), ("bytes", "ratio"), ("fastest", "ratio_of_fastest")):
        if key in row["pynn"] and "torch" in row:
            row[name] = row["pynn"][key] / row["torch"][key]
    row["target"] = TARGETS[row["case"]]
    figure = row["pynn"]["median"] if "whole process" in row["case"] else row.get("ratio")
    row["met"] = None if figure is None else figure <= row["target"]
    return row


def shown(row):
    """The row as a line of the table."""

    def figure(arm):
        if arm not in row:
            return "-"
        if "bytes" in row[arm]:
            return f"{row[arm]['bytes'] / 2**20:.1f} MiB"
        seconds = row[arm]["median"]
        for unit, factor in (("s", 1), ("ms", 1e3)):
            if seconds * factor >= 1:
                return f"{seconds * factor:.3g} {unit}"
        return f"{seconds * 1e6:.3g} us"

    ratio = f"{row['ratio']:.2f}" if "ratio" in row else "-"
    target = f"<= {row['target']}" + (" s" if "whole process" in row["case"] else "")
    verdict = {True: "met", False: "missed", None: "-"}[row["met"]]
    others = "-" if row.get("others") is None else f"{row['others']:.1f}"
    best = f"{row['ratio_of_fastest']:.2f}" if "ratio_of_fastest" in row else "-"
    arms = "".join(f"{figure(arm):>11}" for arm in ("pynn", "torch", "channels_last"))
    return (
        f"{row['case']:<38}{row['threads']:>3}{arms}{ratio:>7}{target:>10}{verdict:>8}"
        f"{best:>9}{others:>8}"
    )


def main():
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.cpu", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the time")
    parser.add_argument("--json", metavar="FILE", help="append the rows as lines of JSON")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2], help="default: 1 2")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        task, *arguments = options.child
        if task == "arm":
            arm(*arguments)
        else:
            print(json.dumps({"memory": memory, "digits": digits}[task](*arguments)))
        return
    versions = libraries()
    about = {"cpu": platform.processor() or platform.machine(), "cpus": os.cpu_count(), **versions}
    about["openblas"] = os.environ.get("OPENBLAS_CORETYPE")
    torch = f"PyTorch {versions['torch']}" if versions["torch"] else "PyTorch: not installed"
    print(f"pynn {versions['pynn']}, NumPy {versions['numpy']}, {torch}; {about['cpus']} CPUs")
    if about["openblas"]:
        print(
            f"OPENBLAS_CORETYPE={about['openblas']} holds NumPy's matrix products to that CPU's "
            "instructions; PyTorch's are not held. Without it: env -u OPENBLAS_CORETYPE ..."
        )
    print(
        f"{'case':<38}{'thr':>3}{'pynn':>11}{'PyTorch':>11}{'ch. last':>11}{'ratio':>7}"
        f"{'target':>10}{'':>8}{'fastest':>9}{'others':>8}"
    )
    arms = ["pynn", "torch"] if versions["torch"] else ["pynn"]
    seconds = 0.6 if options.quick else 2.5

    def rows():
        for threads in options.threads:
            for case in CASES:
                yield side_by_side(case, arms, threads, seconds)
        yield from whole_processes(arms, options.quick)

    for row in map(judged, rows()):
        print(shown(row), flush=True)
        if options.json:
            with open(options.json, "a") as file:
                file.write(json.dumps({**row, **about}) + "\n")


if __name__ == "__main__":
    main()
