"""Where the time of a program goes, op by op and layer by layer.

    with pynn.profile() as p:
        train_some_steps()
    print(p)                    the table
    p.trace("trace.json")       for chrome://tracing or ui.perfetto.dev

While it is on, the calls of ops, layers and optimizers go through a clock: of the CPU for arrays
on the CPU, CUDA events for arrays on a GPU. While it is off, nothing of it is there.

    bytes   what an op must move at least: its inputs, outputs and saved arrays, each once;
            none for views
    FLOPs   nn.summary's formulae; a backward computes as much as the forward for each gradient
            wanted of a matrix product or convolution, else as much as the forward
    gap     time between the end of one op and the start of the next: the engine, the layers' own
            Python, the loader; on a GPU, what the device waited for the host
    peak    least time by bytes and FLOPs on this device over the time taken, if
            `python -m bench peaks` has measured the device

PYNN_NVTX=1 puts NVTX ranges around ops and layers, for Nsight Systems.
"""

import contextlib
import functools
import importlib
import json
import os
import platform
import re
import runpy
import sys
import threading
import time
import weakref
from pathlib import Path

from pynn import backend
from pynn.autograd import Function

_MATRIX = {"Linear", "Matmul", "ConvTranspose1d", "ConvTranspose2d"}
_MATRIX |= {f"Conv{dims}d{more}" for dims in (1, 2) for more in ("", "Activation", "Moments")}
_MATRIX |= {"Rnn", "Gru", "Lstm", "ScaledDotProductAttention"}


class Event:
    """One op's forward, backward, or an optimizer's step; times in seconds from the start."""

    __slots__ = (
        *("op", "phase", "layer", "path", "dtype", "bytes", "flops", "matrix"),
        *("start", "stop", "host_start", "host_stop"),
    )


class profile:  # noqa: N801  (reads as a statement: `with pynn.profile() as p:`)
    """Time every op, layer and optimizer step inside a `with`.

    events   Event of each, in the order they ended
    seconds  from the start to the end of the `with`
    gaps     how much of that lay between ops
    """

    def __init__(self):
        self.events = []
        self.seconds = self.gaps = 0.0
        self._layers = []  # names of the layers that are running
        self._names = {}  # id of a module -> dotted name
        self._layer_spans = []
        self._ranges = _nvtx() if os.environ.get("PYNN_NVTX") == "1" else None

    # -------------------------------------------------------------- on and off

    def __enter__(self):
        self._thread = threading.get_ident()
        self._device = None  # once a GPU is in use: a moment of the host, and the event of it
        self._undo = contextlib.ExitStack()
        self._wrap(Function, "__call__", self._forward)
        module = sys.modules.get("pynn.nn.module") or importlib.import_module("pynn.nn.module")
        self._wrap(module.Module, "__call__", self._layer)
        optimizer = importlib.import_module("pynn.optim.optimizer")
        self._wrap(optimizer.Optimizer, "step", self._step)
        self._origin = self._now()
        return self

    def __exit__(self, *exc):
        self._undo.close()
        end = self._now()
        self._settle(end)

    def _wrap(self, owner, name, around):
        former = owner.__dict__[name]

        @functools.wraps(former)
        def wrapper(*args, **options):
            if threading.get_ident() != self._thread:
                return former(*args, **options)
            return around(former, *args, **options)

        setattr(owner, name, wrapper)
        self._undo.callback(setattr, owner, name, former)

    # -------------------------------------------------------------- what is wrapped

    def _forward(self, call, op, *inputs):
        arrays = [t.data for t in inputs]
        out, event = self._timed(call, op, "forward", self._layers, op, *inputs)
        outputs = out if isinstance(out, tuple) else (out,)
        event.path = "native" if op.native else "reference"
        event.dtype = arrays[0].dtype.name
        event.matrix = type(op).__name__ in _MATRIX
        event.flops = _flops(op, arrays, outputs)
        event.bytes = 0 if op.view else _size(arrays) + _size(t.data for t in outputs)
        if op.inputs is not None:  # recorded: its backward may run
            name = "backward_native" if op.native else "backward"
            inner = vars(op).get(name)  # another profile's
            around = functools.partial(self._backward, weakref.ref(op), name, inner, event)
            setattr(op, name, around)
        return out

    def _backward(self, node, name, inner, forward, *dys):
        op = node()  # weak, or the node would hold itself
        call = inner or functools.partial(getattr(type(op), name), op)
        saved = [] if op.view else [a for a in vars(op).values() if backend.is_array(a)]
        wanted = sum(op.needs)
        dxs, event = self._timed(call, op, "backward", [forward.layer], *dys)
        gradients = [a for a in (dxs if isinstance(dxs, tuple) else (dxs,)) if a is not None]
        event.path, event.dtype, event.matrix = forward.path, forward.dtype, forward.matrix
        event.flops = forward.flops * (min(2, wanted) if event.matrix else 1)
        event.bytes = 0 if op.view else _size(dys) + _size(saved) + _size(gradients)
        return dxs

    def _step(self, call, optimizer, *args, **options):
        result, event = self._timed(call, optimizer, "step", (), optimizer, *args, **options)
        event.path, event.matrix = "", False
        event.bytes = event.flops = 0
        for p, state in optimizer.state.items():
            event.dtype = p.data.dtype.name
            arrays = [v for v in state.values() if backend.is_array(v)]
            event.bytes += 2 * (p.data.nbytes + _size(arrays))
            event.bytes += 0 if p._grad is None else p._grad.nbytes
        return result

    def _layer(self, call, module, *inputs, **options):
        if not self._layers:
            root = type(module).__name__
            for name, inner in module.named_modules():
                self._names[id(inner)] = f"{root}.{name}" if name else root
        name = self._names.get(id(module), type(module).__name__)
        self._layers.append(name)
        start = time.perf_counter()
        try:
            with self._range(name):
                return call(module, *inputs, **options)
        finally:
            self._layers.pop()
            self._layer_spans.append((name, start, time.perf_counter()))

    def _timed(self, call, op, phase, layers, *args, **options):
        event = Event()
        event.op, event.phase = _name_of(op), phase
        event.layer = layers[-1] if layers else ""
        event.dtype = ""
        with self._range(f"{event.op} {phase}"):
            event.host_start = time.perf_counter()
            event.start = self._now()
            result = call(*args, **options)
            event.stop = self._now()
            event.host_stop = time.perf_counter()
        self.events.append(event)
        return result, event

    # -------------------------------------------------------------- clocks

    def _now(self):
        """A moment: of the CPU in seconds, or an event on the current stream of the GPU once the
        process uses one.
        """
        if backend._cupy is None or (self._device is None and not backend.cuda_available()):
            return time.perf_counter()
        event = backend.cupy().cuda.Event()
        event.record()
        if self._device is None:
            event.synchronize()
            self._device = time.perf_counter(), event
        return event

    def _settle(self, end):
        """All moments as seconds from the start; the time between ops."""
        if self._device is not None:
            end.synchronize()

        def since(moment):
            if isinstance(moment, float):
                return moment - self._origin
            host, event = self._device
            return host - self._origin + 1e-3 * backend.cupy().cuda.get_elapsed_time(event, moment)

        if not isinstance(self._origin, float):
            self._origin = self._device[0]
        self.seconds = since(end)
        for event in self.events:
            event.start, event.stop = since(event.start), since(event.stop)
        self.gaps = _uncovered(((e.start, e.stop) for e in self.events), self.seconds)

    def _range(self, name):
        return contextlib.nullcontext() if self._ranges is None else self._ranges(name)

    # -------------------------------------------------------------- what came out

    def rows(self, by="op"):
        """Sums as dicts, the largest time first; by "op" (op, pass and path) or "layer"."""
        peaks, found = _peaks(self._device is not None), {}
        for event in self.events:
            if by == "op":
                key = (event.op, event.phase, event.path)
            else:
                key = (event.layer or "(outside layers)", event.phase, "")
            row = found.setdefault(
                key,
                dict(zip((by, "pass", "path"), key, strict=True))
                | {"calls": 0, "seconds": 0.0, "bytes": 0, "flops": 0, "least": 0.0},
            )
            row["calls"] += 1
            row["seconds"] += event.stop - event.start
            row["bytes"] += event.bytes
            row["flops"] += event.flops
            row["least"] += _least(event, peaks)
        for row in found.values():
            least = row.pop("least")
            row["of_peak"] = least / row["seconds"] if least and row["seconds"] else None
        return sorted(found.values(), key=lambda row: -row["seconds"])

    def __str__(self):
        lines = []
        for by in ("op", "layer"):
            head = f"{by:<34}{'pass':<10}{'path':<11}{'calls':>7}{'ms':>10}{'%':>6}"
            lines.append(f"{head}{'GB/s':>9}{'GFLOP/s':>10}{'peak':>7}")
            lines += [self._line(row, by) for row in self.rows(by)]
            lines.append("")
        where = "the device waited" if self._device else "between ops"
        lines.append(
            f"{1e3 * self.seconds:,.2f} ms in all, of which {1e3 * self.gaps:,.2f} ms "
            f"({self._percent(self.gaps):.0f} %) {where}"
        )
        return "\n".join(lines)

    def _line(self, row, by):
        seconds = max(row["seconds"], 1e-12)
        share = "-" if row["of_peak"] is None else f"{100 * row['of_peak']:.0f}%"
        return (
            f"{row[by][:33]:<34}{row['pass']:<10}{row['path']:<11}{row['calls']:>7}"
            f"{1e3 * row['seconds']:>10,.2f}{self._percent(row['seconds']):>6.1f}"
            f"{row['bytes'] / seconds / 1e9:>9,.1f}{row['flops'] / seconds / 1e9:>10,.1f}{share:>7}"
        )

    def _percent(self, seconds):
        return 100 * seconds / max(self.seconds, 1e-12)

    def trace(self, path):
        """Write the events as a Chrome trace: ops, and on a GPU the launches, on lines of their
        own; layers on another.
        """
        first = min(
            [e.host_start for e in self.events] + [s for _, s, _ in self._layer_spans], default=0.0
        )
        entries = []
        for e in self.events:
            about = {"layer": e.layer, "path": e.path, "dtype": e.dtype}
            about |= {"bytes": e.bytes, "flops": e.flops}
            entries.append(_entry(f"{e.op} {e.phase}", e.phase, "ops", e.start, e.stop, about))
            if self._device:
                span = e.host_start - first, e.host_stop - first
                entries.append(_entry(f"{e.op} {e.phase}", "launch", "host", *span, {}))
        for name, start, stop in self._layer_spans:
            entries.append(_entry(name, "layer", "layers", start - first, stop - first, {}))
        Path(path).write_text(json.dumps({"traceEvents": entries, "displayTimeUnit": "ms"}))


def _entry(name, kind, line, start, stop, about):
    return {
        **{"name": name, "cat": kind, "ph": "X", "pid": "pynn", "tid": line},
        **{"ts": 1e6 * start, "dur": 1e6 * (stop - start), "args": about},
    }


def _uncovered(spans, end):
    """How much of [0, end] no span covers; an op inside another counts once."""
    total, reached = 0.0, 0.0
    for start, stop in sorted(spans):
        total += max(0.0, start - reached)
        reached = max(reached, stop)
    return total + max(0.0, end - reached)


def _name_of(thing):
    return thing.name if isinstance(thing, Function) else type(thing).__name__


def _size(arrays):
    return sum(a.nbytes for a in arrays)


def _flops(op, arrays, outputs):
    from pynn.nn.summary import flops

    return flops(op, arrays, outputs)


def _nvtx():
    """A context manager that makes an NVTX range, by the package nvtx or by CuPy; None if there is
    neither.
    """
    for name in ("nvtx", "cupy.cuda.nvtx"):
        with contextlib.suppress(ImportError):
            nvtx = importlib.import_module(name)
            push, pop = (
                (nvtx.push_range, nvtx.pop_range)
                if name == "nvtx"
                else (nvtx.RangePush, nvtx.RangePop)
            )

            @contextlib.contextmanager
            def range_of(text, push=push, pop=pop):
                push(text)
                try:
                    yield
                finally:
                    pop()

            return range_of
    return None


# ------------------------------------------------------------------ limits of the device


def peaks_file(device) -> Path:
    """Where the measured peaks of a device of that name are kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pynn"
    return cache / f"peaks-{re.sub(r'[^A-Za-z0-9]+', '-', device).strip('-')}.json"


def device_name(cuda) -> str:
    """The name of the GPU, or of the processor."""
    if cuda:
        return backend.cupy().cuda.runtime.getDeviceProperties(0)["name"].decode()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _peaks(cuda):
    with contextlib.suppress(OSError, ValueError):
        return json.loads(peaks_file(device_name(cuda)).read_text())
    return {}


def _least(event, peaks):
    """The least seconds that the event's bytes and FLOPs take on this device; 0 if not known."""
    if not peaks:
        return 0.0
    rate = peaks.get("matrix", {}).get(event.dtype)
    by_flops = event.flops / rate if event.matrix and rate else 0.0
    return max(event.bytes / peaks["memory"], by_flops)


# ------------------------------------------------------------------ the command


def roofline_arguments(parser):
    """The arguments of `pynn roofline`."""
    parser.add_argument("--trace", metavar="FILE", help="write a Chrome trace, too")
    parser.add_argument("script", metavar="SCRIPT", help="a Python file")
    parser.add_argument("arguments", nargs="...", metavar="ARGUMENT", help="of the script")


def roofline(args):
    """Run a script and show where its time went, op by op and layer by layer."""
    former = sys.argv, sys.path[:]
    sys.argv = [args.script, *args.arguments]
    sys.path.insert(0, str(Path(args.script).resolve().parent))
    try:
        with profile() as p:
            runpy.run_path(args.script, run_name="__main__")
    finally:
        sys.argv, sys.path[:] = former
        print(p)
        if args.trace:
            p.trace(args.trace)
    return 0
