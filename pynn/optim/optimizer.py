"""Optimizer: parameter groups, the state of each parameter, and the walk that every rule shares.

A rule (SGD, Adam, ...) states three things: the arrays it keeps for a parameter (`slots`), the
scalars of one step (`scalars`), and the update of a stretch of elements (`update`), as array text
for NumPy and CuPy alike; it may have the kernel of the update too, csrc/kernels/optim/.

On NumPy the walk hands out blocks of 16k elements, so that the parameter, its gradient, its slots
and the scratch of a block stay in the cache between the passes of an update; no temporary is as
large as a parameter. On CuPy a parameter is one block. Slots are float32 for float32 and narrower
parameters, float64 for float64. A float16 or bfloat16 parameter is updated through a float32 master
copy kept in its state, and rounded once a step (Micikevicius et al. 2018, arXiv:1710.03740).
"""

import numpy as np

from pynn import autograd, backend, dtypes
from pynn.tensor import Tensor

_BLOCK = 16384


class Optimizer:
    """Base of the rules: `step` updates every parameter that has a gradient.

    params  an iterable of parameters, or of dicts {"params": [...], "lr": ...}: groups with their
            own hyper-parameters, which `param_groups` holds and may be changed there between steps

    Raises TypeError or ValueError for what cannot be optimized.
    """

    slots = ()  # names of the arrays kept for each parameter
    scratch = 1  # temporaries that `update` needs, each as large as a block
    native_dtypes = ("float32", "float16", "bfloat16")
    forward_native = None  # the rule's kernel, see `update`

    def __init__(self, params, **defaults):
        self.defaults = defaults
        self.param_groups = []
        self.state = {}  # Parameter -> {"step": int, slot: array, ..., "master": array if 16 bits}
        self._seen = {}  # Parameter -> its array and stamp as the last step left them
        self._buffers = {}  # dtype -> scratch for one block on NumPy
        self._captured = []  # (group, parameters, their numbers on the device) of each launch
        if isinstance(params, Tensor):
            raise TypeError(
                f"[{self.name}] params: expected an iterable of parameters, "
                "got one tensor: write [p]"
            )
        params = list(params)
        if not params:
            raise ValueError(f"[{self.name}] params: expected at least one parameter, got none")
        for group in params if isinstance(params[0], dict) else [{"params": params}]:
            self.add_param_group(group)

    @property
    def name(self):
        return type(self).__name__

    def __repr__(self):
        rows = []
        for i, group in enumerate(self.param_groups):
            shown = ", ".join(f"{k}={v}" for k, v in sorted(group.items()) if k != "params")
            rows.append(f"  group {i}: {len(group['params'])} parameters, {shown}")
        return f"{self.name}(\n" + "\n".join(rows) + "\n)"

    # -------------------------------------------------------------- what a rule states

    def check(self, group):
        """Raise ValueError for hyper-parameters out of range."""

    def active_slots(self, group):
        """The slots that these hyper-parameters use."""
        return self.slots

    def scalars(self, group, step, first):
        """What `update` takes as `c`; step counts from 1, `first` says that the slots are new."""
        raise NotImplementedError(f"[{self.name}] expected `scalars` to be defined, got none")

    def update(self, xp, p, g, slots, t, c):
        """Change p and the slots in place by the gradient g (read only).

        t is the scratch, one array of p's shape each; c is what `scalars` gave. A rule's kernel,
        `forward_native(grads, state, numbers, c)`, does it to all parameters of a group in one
        launch: `state` lists all p (float32), then each slot of all, then all 16-bit parameters to
        be overwritten, if any; `numbers` is empty, or one array on the device that stands for c.
        """
        raise NotImplementedError(f"[{self.name}] expected `update` to be defined, got none")

    # -------------------------------------------------------------- groups

    def add_param_group(self, group):
        """Add a dict {"params": [...], ...}; what it leaves out takes the constructor's value."""
        if not isinstance(group, dict) or "params" not in group:
            raise TypeError(
                f'[{self.name}] group: expected a dict with "params", got {_what(group)}'
            )
        own = group["params"]
        own = [own] if isinstance(own, Tensor) else list(own)
        taken = {id(p) for g in self.param_groups for p in g["params"]}
        for p in own:
            if not isinstance(p, Tensor):
                raise TypeError(f"[{self.name}] params: expected tensors, got {_what(p)}")
            if not p.is_leaf or p.data.dtype not in dtypes.FLOATS:
                got = "an op's output" if not p.is_leaf else p.data.dtype
                raise ValueError(f"[{self.name}] params: expected float leaves, got {got}")
            if id(p) in taken:
                raise ValueError(
                    f"[{self.name}] params: expected each parameter once, "
                    f"got one of shape {p.shape} twice"
                )
            taken.add(id(p))
        unknown = set(group) - set(self.defaults) - {"params", "initial_lr"}
        if unknown:
            raise ValueError(
                f"[{self.name}] group: expected options out of {sorted(self.defaults)}, "
                f"got {sorted(unknown)}"
            )
        complete = {**self.defaults, **group, "params": own}
        self.check(complete)
        self.param_groups.append(complete)

    def zero_grad(self, set_to_none=True):
        """Forget all gradients, or with set_to_none=False fill them with zeros, where they lie."""
        params = [p for group in self.param_groups for p in group["params"]]
        if set_to_none:
            for p in params:
                p._grad = None
            return
        grads = [p._grad for p in params if p._grad is not None]
        if grads and backend.runs_native(_ZeroFill, grads):
            backend.native.zero_fill(grads)
        else:
            for grad in grads:
                grad.fill(0)

    # -------------------------------------------------------------- a step

    def step(self, closure=None):
        """Update every parameter that has a gradient.

        `closure`, if given, is called first; it computes the gradients and returns the loss.
        While a CUDA graph is captured, nothing is counted: see `advance`.
        """
        loss = None
        if closure is not None:
            with autograd.enable_grad():
                loss = closure()
        how = f"{self.name}.step"
        for group in self.param_groups:
            params = [p for p in group["params"] if p._grad is not None]
            if params and backend.runs_native(self, [p.data for p in params]):
                self._step_native(group, params)
            else:
                for p in params:
                    self._step_one(group, p)
            for p in params:
                autograd.touch(p, how)
                self._seen[p] = (p.data, p.changed)
        return loss

    def advance(self):
        """Count a step of each launch that a CUDA graph has captured, and hand the device its
        numbers (rates, corrections of the bias): to be called before each replay of the graph.
        """
        for group, params, numbers in self._captured:
            for p in params:
                self.state[p]["step"] += 1
            c = self.scalars(group, self.state[params[0]]["step"], first=False)
            device = backend.device_of(numbers)
            numbers[...] = backend.to_device(np.array(c, np.float64), device)

    def takes_native(self, arrays) -> bool:
        """Whether the kernel accepts these parameters; their dtypes may differ."""
        return all(a.dtype.name in self.native_dtypes and a.flags.c_contiguous for a in arrays)

    def _step_native(self, group, params):
        """One launch for all parameters of a dtype that share the scalars of the step."""
        capturing = backend.capturing(params[0].data)
        launches = {}
        for p in params:
            c, target, slots = self._prepare(group, p, capturing)
            (grad,) = backend.contiguous([p._grad.astype(p.data.dtype, copy=False)])
            copies = [] if target is p.data else [p.data]
            rows = launches.setdefault((p.data.dtype, len(slots), c), [])
            rows.append((p, grad, target, *slots, *copies))
        for (_, _, c), rows in launches.items():
            own, grads, *state = zip(*rows, strict=True)
            numbers = []
            if capturing:
                numbers = [backend.array_module(grads[0]).empty(len(c), np.float64)]
                self._captured.append((group, own, numbers[0]))
            arrays = [array for kind in state for array in kind]
            self.forward_native(list(grads), arrays, numbers, c)

    def _step_one(self, group, p):
        c, target, slots = self._prepare(group, p)
        narrow = target is not p.data
        arrays = [target, p._grad, *slots]
        if isinstance(target, np.ndarray) and target.flags.c_contiguous:
            self._update_blocks(
                [a if a.flags.c_contiguous else np.ascontiguousarray(a) for a in arrays], c
            )
        else:
            xp = backend.array_module(target)
            arrays[1] = arrays[1].astype(target.dtype, copy=False)
            self.update(
                xp, *arrays[:2], arrays[2:], [xp.empty_like(target) for _ in range(self.scratch)], c
            )
        if narrow:
            p.data[...] = target

    def _prepare(self, group, p, capturing=False):
        """The scalars of p's next step, the array it changes (the master copy of 16 bits), and the
        slots.
        """
        state = self.state.setdefault(p, {"step": 0})
        names = self.active_slots(group)
        missing = [name for name in names if name not in state]
        seen = self._seen.get(p)
        if missing or seen is None or seen[0] is not p.data or seen[1] != p.changed:
            if capturing:
                raise RuntimeError(
                    f"[{self.name}] step: expected a step before the capture, so that the state "
                    f"is there, got none for a parameter of shape {p.shape}"
                )
            self._refresh(group, p, state, missing)
        c = self.scalars(group, state["step"] + 1, first=bool(missing))
        state["step"] += not capturing
        target = state["master"] if p.data.dtype in dtypes.HALVES else p.data
        return c, target, [state[name] for name in names]

    def _update_blocks(self, arrays, c):
        dtype, size = arrays[0].dtype, arrays[0].size
        buffers = self._buffers.get(dtype)
        if buffers is None:
            buffers = self._buffers[dtype] = np.empty((self.scratch + 1, _BLOCK), dtype)
        arrays = [a.reshape(-1) for a in arrays]
        widens = arrays[1].dtype != dtype
        for start in range(0, size, _BLOCK):
            p, g, *slots = [a[start : start + _BLOCK] for a in arrays]
            t = list(buffers if p.size == _BLOCK else buffers[:, : p.size])
            if widens:
                t[-1][...] = g
                g = t[-1]
            self.update(np, p, g, slots, t, c)

    def _refresh(self, group, p, state, missing):
        """Fit the state to the parameter: new slots, another device or dtype, another value."""
        xp = backend.array_module(p.data)
        narrow = p.data.dtype in dtypes.HALVES
        wide = dtypes.float32 if narrow else p.data.dtype
        for name in missing:
            state[name] = self.new_slot(name, group, xp.empty(p.data.shape, wide))
        for name in state.keys() - {"step", "master"}:
            state[name] = _as_beside(state[name], wide, p)
        if not narrow:
            state.pop("master", None)
        elif "master" not in state:
            state["master"] = xp.ascontiguousarray(p.data.astype(wide))
        else:
            master = _as_beside(state["master"], wide, p)
            state["master"] = xp.where(
                master.astype(p.data.dtype) == p.data, master, p.data.astype(wide)
            )

    def new_slot(self, name, group, like):
        """The first value of a slot, written into the new array `like`."""
        like.fill(0)
        return like

    # -------------------------------------------------------------- saving

    def state_dict(self) -> dict:
        """{"state": {number: {...}}, "param_groups": [...]}, parameters by their number.

        Loaded into an optimizer over equal parameters it resumes to the bit. Its tensors share
        memory with the optimizer: `copy.deepcopy` makes a snapshot.
        """
        numbers = self._numbers()
        state = {
            numbers[p]: {k: v if isinstance(v, int) else Tensor.wrap(v) for k, v in own.items()}
            for p, own in self.state.items()
        }
        groups = [
            {
                **{k: v for k, v in g.items() if k != "params"},
                "params": [numbers[p] for p in g["params"]],
            }
            for g in self.param_groups
        ]
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict):
        """Take over what `state_dict` gave: hyper-parameters and a copy of the state.

        Raises ValueError if groups, their parameters, slots or shapes differ; then nothing changes.
        """
        saved = state_dict["param_groups"]
        counts, own_counts = (
            [len(g["params"]) for g in groups] for groups in (saved, self.param_groups)
        )
        if counts != own_counts:
            raise ValueError(
                f"[load_state_dict] expected groups of {own_counts} parameters, got {counts}"
            )
        by_number = {
            n: (p, group)
            for group, saved_group in zip(self.param_groups, saved, strict=True)
            for n, p in zip(saved_group["params"], group["params"], strict=True)
        }
        merged = [
            {**group, **{k: _retuple(v) for k, v in saved_group.items() if k != "params"}}
            for group, saved_group in zip(self.param_groups, saved, strict=True)
        ]
        for group in merged:
            # a schedule may have brought lr to 0, which is no rate to begin with
            self.check({**group, "lr": group.get("initial_lr", group["lr"])})
        state = {}
        for number, values in state_dict["state"].items():
            if int(number) not in by_number:
                raise ValueError(
                    f"[load_state_dict] expected parameters {sorted(by_number)}, "
                    f"got state for {number}"
                )
            p, _ = by_number[int(number)]
            state[p] = self._checked(p, int(number), values)
        for group, new in zip(self.param_groups, merged, strict=True):
            group.update(new)
        self.state = state
        self._seen = {}

    def _checked(self, p, number, values):
        known = {"step", "master", *self.slots}
        if not {"step"} <= set(values) <= known:
            raise ValueError(
                f"[load_state_dict] state {number}: expected keys out of {sorted(known)}, "
                f"got {sorted(values)}"
            )
        out = {}
        for name, value in values.items():
            if name == "step":
                out[name] = int(value)
                continue
            array = value.data if isinstance(value, Tensor) else np.asarray(value)
            if array.shape != p.shape:
                raise ValueError(
                    f"[load_state_dict] {name} {number}: expected shape {p.shape}, "
                    f"got {array.shape}"
                )
            out[name] = array.copy()
        return out

    def _numbers(self):
        return {p: i for i, p in enumerate(p for g in self.param_groups for p in g["params"])}


class _ZeroFill:
    """Zeros in all gradients by one launch: what `backend.runs_native` asks of an op."""

    name = "zero_grad"
    forward_native = staticmethod(backend.native.zero_fill)

    @staticmethod
    def takes_native(arrays):
        return all(a.flags.c_contiguous for a in arrays)


def _as_beside(array, dtype, p):
    """The array in that dtype on p's device, in C order."""
    array = backend.to_device(array, backend.device_of(p.data)).astype(dtype, copy=False)
    return backend.array_module(array).ascontiguousarray(array)


def _retuple(value):
    """Lists, which JSON makes of tuples, as tuples."""
    return tuple(value) if isinstance(value, list) else value


def _what(thing):
    return repr(thing) if isinstance(thing, (int, float, str)) else type(thing).__name__


def check_range(rule, **ranges):
    """Raise ValueError unless each is finite and passes its test: name=(value, test, words)."""
    for name, (value, test, words) in ranges.items():
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not number or not np.isfinite(value) or not test(value):
            raise ValueError(f"[{rule}] {name}: expected {words}, got {value!r}")


def positive(value):
    return value, lambda v: v > 0, "a number > 0"


def non_negative(value):
    return value, lambda v: v >= 0, "a number >= 0"


def fraction(value):
    return value, lambda v: 0 <= v < 1, "a number in [0, 1)"
