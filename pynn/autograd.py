"""Reverse-mode differentiation. An op instance is the graph node that made its output; there is no
tape.

    y = Gelu()(x)          y.creator is the Gelu, its `inputs` are (x,), its `id` says when it ran
    y.backward()           nodes are visited from the newest to the oldest, each once all its
                           consumers have been

Over 400 lines with its comments: one walk of the graph, and what it must refuse. A node knows its
inputs and never its outputs, so a graph holds no cycle and is freed by reference counting alone.
"""

import contextlib
import heapq
import itertools
import re
import sys
import threading

import numpy as np

from pynn import backend
from pynn.tensor import Tensor

_clock = itertools.count(1)  # one tick for each node made and each change in place
_wrap = Tensor.wrap
_new = Tensor.__new__
_ndarray = np.ndarray


class _State(threading.local):
    recording = True


_state = _State()
_observers = ()  # see `observe`


class Function:
    """An op: forward and backward, as array text (the reference) and, where there are, by kernels.

    Subclasses define `forward` and `backward`, and for kernels `forward_native` and
    `backward_native`.

    - All take and return raw arrays; hyper-parameters go to the constructor.
    - The reference accepts any float dtype, accumulates in float32 (float64 stays float64), rounds
      once and returns x's dtype.
    - The native pair has the same signatures and leaves the same attributes, so that any backward
      may follow any forward. Its arrays come C-contiguous, unless `strided = True` says that it
      takes any strides; it allocates the outputs and calls `backend.native`.
    - `backward` returns one gradient for each input (a tuple if several), None where `self.needs`
      says it is not wanted. With several outputs `forward` returns a tuple and `backward` takes as
      many gradients, zeros where none came.
    - A gradient may be `dy` itself or a view of it; never change `dy` or a saved array in place.
    - Arrays set as attributes are what the backward needs: a change of them in place is noticed.
    - `no_kernel` says why an op has no native pair, where there is a reason.
    - `view = True` says that the output may share the first input's memory.
    """

    inputs = None  # tensors; None once the graph has been freed
    needs = ()  # for each input, whether its gradient is wanted
    id = 0
    native = False  # whether the kernels ran
    outputs = 1
    view = False
    strided = False
    no_kernel = ""  # why an op has none
    hooks = None
    spoiled = None  # which in-place op changed a saved output
    made_at = None  # where in the user's program, in anomaly mode
    native_dtypes = ("float32", "float16", "bfloat16")
    forward_native = backward_native = None

    @property
    def name(self):
        """The op's name in messages: the class's in snake case."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()

    def takes_native(self, arrays) -> bool:
        """Whether the kernels accept these arrays; by default all of one dtype out of
        `native_dtypes`.
        """
        return arrays[0].dtype.name in self.native_dtypes and all(
            a.dtype == arrays[0].dtype for a in arrays
        )

    def for_native(self, arrays):
        """The arrays as the native pair takes them."""
        return arrays if self.strided else backend.contiguous(arrays)

    def __call__(self, *inputs):
        arrays = [t.data for t in inputs]
        if _state.recording:
            self.needs = needs = [t.requires_grad for t in inputs]
            record = True in needs
        else:
            record = False
        try:
            if backend.runs_native(self, arrays):
                self.native = True
                y = self.forward_native(*self.for_native(arrays))
            else:
                y = self.forward(*arrays)
        except (TypeError, ValueError) as error:
            plain = self._in_words(error, arrays)
            if plain is None:
                raise
            raise plain from error
        if record:
            self.inputs = inputs
            self.id = next(_clock)
        if y.__class__ is _ndarray or y.__class__ is not tuple:
            out = _new(Tensor)
            out.data = y if y.__class__ is _ndarray else _as_array(y)
            if record:
                out.creator = self
                out.requires_grad = True
            if self.view:
                x = inputs[0]
                out.base = x if x.base is None else x.base
        else:
            out = self._several(y, record)
        if _observers:
            for observer in _observers:
                observer.after_forward(self, arrays, out if self.outputs > 1 else (out,))
        return out

    def _several(self, ys, record):
        """Tensors for a tuple of outputs, and what the backward of an unused one will look like."""
        self.outputs = max(2, len(ys))
        self.output_likes = [(y.shape, y.dtype) for y in ys]
        outs = tuple(_wrap(y) for y in ys)
        for i, out in enumerate(outs):
            out.index = i
            if record:
                out.creator = self
                out.requires_grad = True
        return outs

    def _in_words(self, error, arrays):
        """The array library's error in the user's words, where we know them."""
        devices = {backend.device_of(a) for a in arrays}
        if len(devices) > 1:
            return ValueError(
                f"[{self.name}] expected all inputs on one device, got {sorted(devices)}"
            )
        if "broadcast" in str(error) and not str(error).startswith("["):
            shapes = " and ".join(str(a.shape) for a in arrays)
            return ValueError(f"[{self.name}] expected shapes that broadcast, got {shapes}")
        return None


def _as_array(y):
    """NumPy reductions return scalars where CuPy returns 0-d arrays: make them arrays."""
    return np.asarray(y) if isinstance(y, np.generic) else y


# ------------------------------------------------------------------ recording


class no_grad(contextlib.ContextDecorator):  # noqa: N801  (PyTorch's name)
    """Compute without recording a graph, as a context or a decorator.

    Holds for the calling thread.
    """

    on = False

    def __enter__(self):
        self.formers = getattr(self, "formers", [])
        self.formers.append(_state.recording)
        _state.recording = self.on

    def __exit__(self, *exc):
        _state.recording = self.formers.pop()


class enable_grad(no_grad):  # noqa: N801
    """Record a graph again inside `no_grad`."""

    on = True


def is_grad_enabled() -> bool:
    """Whether ops of this thread record a graph."""
    return _state.recording


@contextlib.contextmanager
def observe(observer):
    """Show every op to `observer`, by after_forward(op, arrays, outputs) and
    after_backward(op, dys, dxs).
    """
    global _observers
    _observers = (*_observers, observer)
    try:
        yield observer
    finally:
        _observers = tuple(o for o in _observers if o is not observer)


# ------------------------------------------------------------------ backward


def backward(tensor, grad=None, retain_graph=False):
    """Add the gradient of `tensor` to the `grad` of every leaf it was computed from.

    grad          dL/dtensor, same shape; may be left out if the tensor has one element
    retain_graph  keep the graph for a second backward; else it is freed while it is walked

    Raises RuntimeError without a graph, after the graph was freed, or if a saved array was changed
    in place.
    """
    run_backward([tensor], [_seed(tensor, grad)], retain_graph)


def grad(outputs, inputs, grad_outputs=None, retain_graph=False, allow_unused=False):
    """The gradients of sum(outputs) with respect to `inputs` (leaves or not), as tensors; no `grad`
    is touched.

    Raises RuntimeError if an input takes no part in the outputs, unless `allow_unused` (then None).
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    single, inputs = (
        isinstance(inputs, Tensor),
        [inputs] if isinstance(inputs, Tensor) else list(inputs),
    )
    if grad_outputs is None or isinstance(grad_outputs, Tensor):
        grad_outputs = [grad_outputs] * len(outputs)
    for x in inputs:
        if not x.requires_grad:
            raise RuntimeError(
                "[grad] expected inputs that require a gradient, got one that does not"
            )
    found = run_backward(
        outputs,
        [_seed(t, g) for t, g in zip(outputs, grad_outputs, strict=True)],
        retain_graph,
        inputs,
    )
    if not allow_unused and any(g is None for g in found):
        where = [i for i, g in enumerate(found) if g is None]
        raise RuntimeError(
            f"[grad] expected inputs that the outputs depend on, got none from inputs {where}"
        )
    found = tuple(None if g is None else _wrap(g) for g in found)
    return found[0] if single else found


def _seed(tensor, grad):
    if not tensor.requires_grad:
        raise RuntimeError(
            "[backward] expected a tensor that requires a gradient, got one without a graph"
        )
    data = tensor.data
    if grad is None:
        if data.size != 1:
            raise RuntimeError(
                f"[backward] expected a gradient or a tensor of one element, got shape {data.shape}"
            )
        return backend.array_module(data).ones_like(data)
    grad = grad.data if isinstance(grad, Tensor) else grad
    if grad.shape != data.shape:
        raise ValueError(f"[backward] expected a gradient of shape {data.shape}, got {grad.shape}")
    return grad.astype(data.dtype, copy=False)


def run_backward(roots, seeds, retain_graph, wanted=None):
    """Walk the graph from tensors `roots` with raw gradients `seeds`: leaves get theirs added, or,
    with `wanted`, the raw gradients of those tensors are returned.
    """
    pending = {}  # node -> gradient of its output, or a list of them
    heap = []  # the newest node first: by then all its consumers have run
    leaves = None if wanted is None else {id(x): None for x in wanted if x.creator is None}
    captured = (
        None
        if wanted is None
        else {(x.creator, x.index): None for x in wanted if x.creator is not None}
    )
    observers = _observers

    def give(x, dx):
        node = x.creator
        if node is None:
            if leaves is None:
                _accumulate(x, dx)
            elif id(x) in leaves:
                leaves[id(x)] = dx if leaves[id(x)] is None else leaves[id(x)] + dx
        elif node.outputs == 1:
            if node in pending:
                pending[node] = pending[node] + dx
            else:
                pending[node] = dx
                heapq.heappush(heap, (-node.id, node))
        else:
            if node not in pending:
                pending[node] = [None] * node.outputs
                heapq.heappush(heap, (-node.id, node))
            slots = pending[node]
            slots[x.index] = dx if slots[x.index] is None else slots[x.index] + dx

    for root, seed in zip(roots, seeds, strict=True):
        give(root, seed)
    while heap:
        node = heapq.heappop(heap)[1]
        dy = pending.pop(node)
        inputs = node.inputs
        if inputs is None:
            raise RuntimeError(
                f"[{node.name}] backward: expected a graph, got one that a backward has freed: "
                "pass retain_graph=True to the earlier one"
            )
        dys = (dy,) if node.outputs == 1 else tuple(dy)
        if node.hooks or captured or node.outputs > 1:
            dys = _finish_outputs(node, dys, captured)
        _check_unchanged(node, inputs)
        dxs = node.backward_native(*node.for_native(dys)) if node.native else node.backward(*dys)
        if dxs.__class__ is not tuple:
            dxs = (dxs,)
        if observers:
            for observer in observers:
                observer.after_backward(node, dys, dxs)
        for x, dx, need in zip(inputs, dxs, node.needs, strict=True):
            if need and dx is not None:
                give(x, dx)
        if not retain_graph:
            node.__dict__.clear()  # drops inputs and saved arrays; the class default says "freed"
    if wanted is not None:
        return [
            leaves[id(x)] if x.creator is None else captured[x.creator, x.index] for x in wanted
        ]
    return None


def _finish_outputs(node, dys, captured):
    """Hooks, captured gradients, and zeros for outputs that nothing used."""
    dys = list(dys)
    for i, dy in enumerate(dys):
        if dy is None:
            shape, dtype = node.output_likes[i]
            dys[i] = backend.array_module(next(d for d in dys if d is not None)).zeros(shape, dtype)
        for hook in (node.hooks or {}).get(i, {}).values():
            dys[i] = _run_hook(hook, dys[i])
        if captured and (node, i) in captured:
            captured[node, i] = dys[i]
    return tuple(dys)


def _run_hook(hook, dx):
    changed = hook(_wrap(dx))
    if changed is None:
        return dx
    changed = changed.data if isinstance(changed, Tensor) else changed
    if changed.shape != dx.shape:
        raise ValueError(f"[hook] expected a gradient of shape {dx.shape}, got {changed.shape}")
    return changed


def _accumulate(leaf, dx):
    """Add to a leaf's gradient; the array that stays belongs to the leaf alone."""
    if dx.shape != leaf.data.shape:
        raise RuntimeError(
            f"[backward] expected a gradient of shape {leaf.data.shape}, got {dx.shape}"
        )
    if leaf.hooks:
        for hook in leaf.hooks.values():
            dx = _run_hook(hook, dx)
    if leaf._grad is not None:
        leaf._grad = leaf._grad + dx
    else:
        # Somebody else holds it (an op that returned dy itself, or a view): a copy.
        shared = dx.base is not None or sys.getrefcount(dx) > _alone
        leaf._grad = dx.copy() if shared else dx
    if leaf._grad.dtype != leaf.data.dtype:
        leaf._grad = leaf._grad.astype(leaf.data.dtype)


# ------------------------------------------------------------------ changes in place


def touch(tensor, how):
    """Note that `how` changed the tensor's memory in place, so that a backward that needs the old
    values can refuse.
    """
    root = tensor if tensor.base is None else tensor.base
    root.changed = next(_clock)
    root.changed_by = how
    node = root.creator
    if node is not None and _saved_name(node, root.data):
        node.spoiled = how


def _check_unchanged(node, inputs):
    if node.spoiled:
        raise RuntimeError(
            f"[{node.name}] backward: expected its saved output as it was computed, "
            f"got one changed in place by {node.spoiled}"
        )
    for x in inputs:
        root = x if x.base is None else x.base
        if root.changed > node.id:
            saved = _saved_name(node, root.data)
            if saved:
                raise RuntimeError(
                    f"[{node.name}] backward: expected the saved array `{saved}` of {x.shape} "
                    f"as it was in the forward, got one changed in place by {root.changed_by}"
                )


def _saved_name(node, array):
    """The attribute of the node that shares memory with the array, if any."""
    for name, value in vars(node).items():
        if backend.is_array(value) and backend.array_module(value).may_share_memory(value, array):
            return name
    return None


# ------------------------------------------------------------------ hooks


class Handle:
    """What registering a hook returns: `remove()` takes the hook away again."""

    def __init__(self, table, key):
        self.table, self.key = table, key

    def remove(self):
        self.table.pop(self.key, None)


def register_hook(tensor, hook):
    """Call `hook(grad)` when the tensor's gradient is known; what it returns, unless None, takes
    the gradient's place.

    Returns a handle with `remove()`. Raises RuntimeError if the tensor requires no gradient.
    """
    if not tensor.requires_grad:
        raise RuntimeError(
            "[register_hook] expected a tensor that requires a gradient, got one that does not"
        )
    node = tensor.creator
    if node is None:
        tensor.hooks = table = tensor.hooks or {}
    else:
        node.hooks = node.hooks or {}
        table = node.hooks.setdefault(tensor.index, {})
    key = next(_clock)
    table[key] = hook
    return Handle(table, key)


# ------------------------------------------------------------------ who holds a gradient


class _Copy(Function):
    def forward(self, x):
        return x.copy()

    def backward(self, dy):
        dx = dy.copy()
        self.inputs[0].given = id(dx)
        return dx


def _references_alone():
    """What getrefcount says in `_accumulate` of a gradient that nobody else holds: it is found by
    trial, since Python's versions differ in how many references a call keeps.
    """
    global _alone
    leaf = Tensor(np.zeros(1), requires_grad=True)
    for _alone in range(1, 20):
        leaf._grad = None
        backward(_Copy()(leaf))
        if id(leaf._grad) == leaf.given:
            return _alone
    return 0  # then every gradient is copied


_alone = _references_alone()
