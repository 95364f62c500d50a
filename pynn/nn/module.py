"""Module: what layers and models are made of.

A parameter, buffer or submodule is an ordinary attribute; `_kinds` says which is which, in the
order they were first assigned. So `self.weight` in a forward costs no more than any attribute.
"""

from collections import namedtuple

from pynn import autograd, backend, dtypes
from pynn.nn.parameter import Parameter
from pynn.nn.torch_layout import array_of, convolution_weights, looks_like_torch
from pynn.tensor import Tensor

LoadResult = namedtuple("LoadResult", ["missing_keys", "unexpected_keys"])


class Module:
    """Base of layers and models: assign parameters and modules to attributes, define `forward`.

    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, width)

        def forward(self, x):
            return x + self.linear(self.norm(x))
    """

    training = True
    wide = ()  # names of buffers that stay float32 when the module goes to a 16-bit dtype
    shown = ()  # names of attributes that `repr` shows
    convolves = False  # whether `weight` is a convolution's, laid out unlike PyTorch's

    _hooks = None  # key -> (before, hook)

    def __new__(cls, *args, **options):
        self = super().__new__(cls)
        self.__dict__["_kinds"] = {}  # name -> "parameter", "buffer", "transient" or "module"
        return self

    def __call__(self, *inputs, **options):
        if self._hooks:
            return self._call_with_hooks(inputs, options)
        return self.forward(*inputs, **options)

    def forward(self, *inputs):
        """The output for these inputs: what a subclass defines."""
        raise NotImplementedError(
            f"[{type(self).__name__}] expected `forward` to be defined, got none"
        )

    # -------------------------------------------------------------- registration

    def __setattr__(self, name, value):
        kind = _kind_of(value)
        kinds = self._kinds
        if kind is not None:
            if name in kinds and kinds[name] != kind:
                del kinds[name]
            kinds[name] = kind
        elif name in kinds and value is not None:
            held = kinds[name]
            if held in ("parameter", "module"):
                raise TypeError(
                    f"[{type(self).__name__}] {name}: expected a {held} or None, "
                    f"got {type(value).__name__}"
                )
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"[{type(self).__name__}] {name}: expected a tensor or None, "
                    f"got {type(value).__name__}"
                )
        object.__setattr__(self, name, value)

    def __delattr__(self, name):
        object.__delattr__(self, name)
        self._kinds.pop(name, None)

    def register_parameter(self, name, parameter):
        """Assign a parameter, or None to hold its place: `state_dict` leaves None out."""
        if parameter is not None and not isinstance(parameter, Parameter):
            raise TypeError(
                f"[register_parameter] {name}: expected a Parameter or None, "
                f"got {type(parameter).__name__}"
            )
        self._register(name, parameter, "parameter")

    def register_buffer(self, name, tensor, persistent=True):
        """Assign a tensor that is part of the state but not trained; saved only if `persistent`."""
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"[register_buffer] {name}: expected a tensor or None, got {type(tensor).__name__}"
            )
        self._register(name, tensor, "buffer" if persistent else "transient")

    def add_module(self, name, module):
        """Assign a submodule by name, or None to hold its place."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(
                f"[add_module] {name}: expected a Module or None, got {type(module).__name__}"
            )
        self._register(name, module, "module")

    def _register(self, name, value, kind):
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"[register] expected a name without a dot, got {name!r}")
        if hasattr(self, name) and name not in self._kinds:
            raise ValueError(f"[register] expected a name not in use, got {name!r}")
        self._kinds[name] = kind
        object.__setattr__(self, name, value)

    # -------------------------------------------------------------- walks

    def _own(self, *kinds):
        values = self.__dict__
        for name, kind in self._kinds.items():
            if kind in kinds and values[name] is not None:
                yield name, values[name]

    def named_children(self):
        """(name, module) of the direct submodules; one that is held twice counts once."""
        yield from _once(self._own("module"))

    def children(self):
        return (module for _, module in self.named_children())

    def named_modules(self, prefix="", remove_duplicate=True, _met=None):
        """(dotted name, module) of this module, "", and all below it."""
        met = set() if _met is None else _met
        if remove_duplicate and id(self) in met:
            return
        met.add(id(self))
        yield prefix, self
        for name, module in self._own("module"):
            yield from module.named_modules(_join(prefix, name), remove_duplicate, met)

    def modules(self):
        return (module for _, module in self.named_modules())

    def _named(self, kinds, prefix, recurse, remove_duplicate=True):
        modules = self.named_modules(prefix, remove_duplicate) if recurse else [(prefix, self)]
        found = (
            (_join(path, name), value)
            for path, module in modules
            for name, value in module._own(*kinds)
        )
        return _once(found) if remove_duplicate else found

    def named_parameters(self, prefix="", recurse=True, remove_duplicate=True):
        """(dotted name, parameter); a shared parameter counts once, under its first name."""
        return self._named(("parameter",), prefix, recurse, remove_duplicate)

    def parameters(self, recurse=True):
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix="", recurse=True, remove_duplicate=True):
        """(dotted name, tensor) of the buffers."""
        return self._named(("buffer", "transient"), prefix, recurse, remove_duplicate)

    def buffers(self, recurse=True):
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, path):
        """The module at a dotted path; "" is this one. Raises AttributeError if there is none."""
        module = self
        for name in path.split(".") if path else ():
            if module._kinds.get(name) != "module":
                raise AttributeError(
                    f"[get_submodule] expected a module at {path!r}, "
                    f"got none in {type(module).__name__} at {name!r}"
                )
            module = getattr(module, name)
        return module

    def apply(self, fn):
        """Call fn(module) on every module, children first; returns self."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # -------------------------------------------------------------- modes

    def train(self, mode=True):
        """Training mode for all modules: dropout drops, batch norm uses the batch; returns self."""
        for module in self.modules():
            object.__setattr__(module, "training", bool(mode))
        return self

    def eval(self):
        """Evaluation mode for all modules; returns self."""
        return self.train(False)

    def requires_grad_(self, requires_grad=True):
        """Train all parameters, or freeze them; returns self."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self):
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter._grad = None

    # -------------------------------------------------------------- dtype and device

    def to(self, *args, dtype=None, device=None):
        """Move parameters and buffers to a device ("cuda"), a float dtype, or both; returns self.

        Integer buffers keep their dtype, and so do running statistics, which stay float32.
        Parameters stay the same objects. Raises TypeError for a dtype that is not a float.
        """
        for arg in args:
            if isinstance(arg, str) and arg.partition(":")[0] in ("cpu", "cuda"):
                device = arg
            else:
                dtype = arg
        if dtype is not None:
            dtype = dtypes.as_dtype(dtype)
            if dtype not in dtypes.FLOATS:
                raise TypeError(f"[to] expected a float dtype for a module, got {dtype}")
        met = set()
        for module in self.modules():
            for name, tensor in module._own("parameter", "buffer", "transient"):
                if id(tensor) not in met:
                    met.add(id(tensor))
                    widest = dtypes.float32 if name in module.wide else None
                    _convert(tensor, widest if dtype in dtypes.HALVES and widest else dtype, device)
        return self

    def float(self):
        """All floats to float32; returns self."""
        return self.to(dtype=dtypes.float32)

    def double(self):
        """All floats to float64; returns self."""
        return self.to(dtype=dtypes.float64)

    def half(self):
        """All floats to float16; returns self."""
        return self.to(dtype=dtypes.float16)

    def bfloat16(self):
        """All floats to bfloat16; returns self."""
        return self.to(dtype=dtypes.bfloat16)

    def cuda(self, device="cuda"):
        """All parameters and buffers to a GPU; returns self."""
        return self.to(device=device)

    def cpu(self):
        """All parameters and buffers to the CPU; returns self."""
        return self.to(device="cpu")

    # -------------------------------------------------------------- state

    def state_dict(self, prefix="") -> dict:
        """{dotted name: tensor} of parameters and persistent buffers, in PyTorch's names and order.

        The tensors share memory with the module: `copy.deepcopy` makes a snapshot.
        """
        return {name: tensor.detach() for name, tensor in self._state(prefix)}

    def _state(self, prefix=""):
        for kind in ("parameter", "buffer"):
            for name, tensor in self._own(kind):
                yield _join(prefix, name), tensor
        for name, module in self._own("module"):
            yield from module._state(_join(prefix, name))

    def load_state_dict(self, state_dict, strict=True):
        """Copy the values of a `state_dict` into parameters and buffers, converted to their dtype.

        Values are tensors or arrays of any kind. Returns (missing_keys, unexpected_keys).
        Raises ValueError, before anything is copied, if a shape differs or, when strict, a key.
        """
        own = dict(self._state())
        arrays = {name: array_of(state_dict[name]) for name in own if name in state_dict}
        missing = [name for name in own if name not in arrays]
        unexpected = [name for name in state_dict if name not in own]
        faults = []
        if strict and missing:
            faults.append(f"missing: {', '.join(missing)}")
        if strict and unexpected:
            faults.append(f"unexpected: {', '.join(unexpected)}")
        for name, array in arrays.items():
            faults += _misfit(name, own[name], array)
        for name in convolution_weights(self):
            if type(state_dict.get(name)).__module__.partition(".")[0] == "torch":
                faults.append(f"{name}: expected channels last, got PyTorch's: use nn.from_torch")
        if faults:
            raise ValueError(
                f"[load_state_dict] expected the keys and shapes of {type(self).__name__}, got\n  "
                + "\n  ".join(faults)
            )
        for name, array in arrays.items():
            target = own[name]
            target.data[...] = backend.to_device(array, target.device)
            autograd.touch(target, "load_state_dict")
        return LoadResult(missing, unexpected)

    # -------------------------------------------------------------- hooks

    def register_forward_pre_hook(self, hook):
        """Call hook(module, inputs) before each forward; a result other than None replaces them.

        Returns a handle with `remove()`.
        """
        return self._hook(True, hook)

    def register_forward_hook(self, hook):
        """Call hook(module, inputs, output) after each forward; a result, if any, replaces it.

        Returns a handle with `remove()`.
        """
        return self._hook(False, hook)

    def _hook(self, before, hook):
        if self._hooks is None:
            object.__setattr__(self, "_hooks", {})
        key = object()
        self._hooks[key] = (before, hook)
        return autograd.Handle(self._hooks, key)

    def _call_with_hooks(self, inputs, options):
        for before, hook in list(self._hooks.values()):
            changed = hook(self, inputs) if before else None
            if changed is not None:
                inputs = changed if isinstance(changed, tuple) else (changed,)
        output = self.forward(*inputs, **options)
        for before, hook in list(self._hooks.values()):
            changed = None if before else hook(self, inputs, output)
            if changed is not None:
                output = changed
        return output

    # -------------------------------------------------------------- showing

    def summary(self, *inputs):
        """The layers with their output shapes, parameters and FLOPs: see `nn.summary`."""
        from pynn.nn.summary import summary

        return summary(self, *inputs)

    def extra_repr(self):
        """What `repr` shows in the brackets."""
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.shown)

    def __repr__(self):
        rows = [f"({name}): {module!r}" for name, module in self._own("module")]
        extra = self.extra_repr()
        if not rows:
            return f"{type(self).__name__}({extra})"
        body = "\n".join(([extra] if extra else []) + rows).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {body}\n)"


def _kind_of(value):
    if isinstance(value, Parameter):
        return "parameter"
    return "module" if isinstance(value, Module) else None


def _join(prefix, name):
    return f"{prefix}.{name}" if prefix else name


def _once(pairs):
    met = set()
    for name, value in pairs:
        if id(value) not in met:
            met.add(id(value))
            yield name, value


def _convert(tensor, dtype, device):
    """Change a tensor's array, and its gradient's, keeping the tensor."""
    for held in ("data", "_grad"):
        array = getattr(tensor, held)
        if array is None:
            continue
        if dtype is not None and array.dtype in dtypes.FLOATS:
            array = array.astype(dtype, copy=False)
        setattr(tensor, held, array if device is None else backend.to_device(array, device))
    autograd.touch(tensor, "to")


def _misfit(name, target, array):
    """What is wrong with an array for a target, as a list of at most one line."""
    if array.shape != target.shape:
        fault = f"{name}: expected shape {target.shape}, got {array.shape}"
        if looks_like_torch(array.shape, target.shape):
            fault += ": PyTorch's layout, which nn.from_torch converts"
        return [fault]
    if (array.dtype in dtypes.FLOATS) != (target.dtype in dtypes.FLOATS):
        return [f"{name}: expected a dtype like {target.dtype}, got {array.dtype}"]
    return []
