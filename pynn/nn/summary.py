"""summary: what a model is made of, its output shapes, parameters and FLOPs.

FLOPs are those of one forward, counted op by op as they run, with a multiply-add as two:

    linear, matmul, convolution    2 for each output element and term of its sum, 1 for a bias
    transposed convolution         2 for each input element and output that it adds to
    recurrent layer                2 for each step and number in its weights
    attention                      2 for each query, key and channel of either product; softmax
    normalization, softmax         5 for each element: mean, variance, difference, scale, shift
    pooling                        1 for each pixel of a window
    shapes, dtypes, look-ups       0
    everything else                1 for each element of the largest operand
"""

import math
from collections import namedtuple

import numpy as np

from pynn import autograd
from pynn.tensor import Tensor

Row = namedtuple("Row", ["name", "layer", "output_shape", "parameters", "flops"])

_SHAPES = {"Reshape", "Transpose", "Expand", "Flip", "Pad", "Cat"}
_FREE = _SHAPES | {"Index", "Where", "Gather", "Embedding", "Astype", "ToDevice"}
_NORMS = {"BatchNorm", "BatchNormEval", "LayerNorm", "RMSNorm", "GroupNorm", "InstanceNorm"}
_FIVE = _NORMS | {"Softmax", "LogSoftmax"}


class Summary:
    """The rows of a summary and their totals; `print` shows the table.

    rows        (name, layer, output_shape, parameters, flops) in the order the layers ran; a row
                counts what is the layer's own, without the layers inside it
    parameters  how many numbers the model trains or holds frozen; shared ones count once
    trainable   how many of them require a gradient
    flops       of one forward
    bytes       of the parameters
    """

    def __init__(self, rows, model):
        self.rows = rows
        own = list(model.parameters())
        self.parameters = sum(p.size for p in own)
        self.trainable = sum(p.size for p in own if p.requires_grad)
        self.bytes = sum(p.data.nbytes for p in own)
        self.flops = sum(row.flops for row in rows)

    def __str__(self):
        cells = [("layer", "", "output", "parameters", "FLOPs")]
        for row in self.rows:
            counts = (f"{count:,}" if count else "-" for count in (row.parameters, row.flops))
            cells.append((row.name, row.layer, _shapes(row.output_shape), *counts))
        cells.append(("total", "", "", f"{self.parameters:,}", f"{self.flops:,}"))
        widths = [max(len(row[i]) for row in cells) for i in range(5)]
        lines = [
            "  ".join(
                c.rjust(w) if i > 2 else c.ljust(w) for i, (c, w) in enumerate(pairs)
            ).rstrip()
            for pairs in (list(zip(row, widths, strict=True)) for row in cells)
        ]
        rule = "-" * max(map(len, lines))
        lines[1:1] = [rule]
        lines[-1:-1] = [rule]
        lines.append(f"trainable {self.trainable:,}, parameters take {self.bytes / 1e6:,.2f} MB")
        return "\n".join(lines)

    __repr__ = __str__


def summary(model, *inputs) -> Summary:
    """Run the model once, in evaluation mode and without a graph, and tell what its layers did.

    inputs  what the model is called with: tensors, or shapes (batch included) that become zeros of
            the parameters' dtype and device:  print(nn.summary(model, (1, 28, 28, 1)))

    Raises ValueError without inputs, and whatever the model raises.
    """
    if not inputs:
        raise ValueError("[summary] expected an input shape or input tensors, got none")
    first = next(model.parameters(), None)
    inputs = [x if isinstance(x, Tensor) else _zeros(x, first) for x in inputs]
    names = {id(module): name for name, module in model.named_modules()}
    modes = {module: module.training for module in model.modules()}
    counter = _Counter(names)
    handles = []
    try:
        for module in modes:
            handles.append(module.register_forward_pre_hook(counter.enter))
            handles.append(module.register_forward_hook(counter.leave))
        model.eval()
        with autograd.no_grad(), autograd.observe(counter):
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            object.__setattr__(module, "training", mode)
    return Summary(counter.rows, model)


class _Counter:
    """Gives each op's FLOPs to the innermost layer that is running."""

    def __init__(self, names):
        self.names = names
        self.rows = []
        self.running = []  # rows' numbers
        self.counted = set()  # parameters

    def enter(self, module, inputs):
        own = [p for p in module.parameters(recurse=False) if id(p) not in self.counted]
        self.counted.update(id(p) for p in own)
        self.running.append(len(self.rows))
        name = self.names[id(module)] or "(model)"
        self.rows.append(Row(name, type(module).__name__, None, sum(p.size for p in own), 0))

    def leave(self, module, inputs, output):
        number = self.running.pop()
        outputs = output if isinstance(output, (tuple, list)) else [output]
        shapes = [t.shape for t in outputs if isinstance(t, Tensor)]
        self.rows[number] = self.rows[number]._replace(
            output_shape=shapes[0] if len(shapes) == 1 else tuple(shapes)
        )

    def after_forward(self, op, arrays, outputs):
        if self.running:
            row = self.rows[self.running[-1]]
            self.rows[self.running[-1]] = row._replace(flops=row.flops + flops(op, arrays, outputs))

    def after_backward(self, op, dys, dxs):
        pass


def flops(op, arrays, outputs) -> int:
    """The FLOPs of an op's forward, by the formulae at the head of this file."""
    x, y = arrays[0], outputs[0]
    name = type(op).__name__
    bias = y.size if len(arrays) > 2 else 0
    if name == "Linear":
        return 2 * y.size * x.shape[-1] + bias
    if name == "Matmul":
        return 2 * y.size * x.shape[-1]
    if name.startswith(("Conv1d", "Conv2d")):
        return 2 * y.size * math.prod(arrays[1].shape[1:]) + bias
    if name in ("ConvTranspose1d", "ConvTranspose2d"):
        return 2 * x.size * math.prod(arrays[1].shape[1:]) + bias
    if name in ("MaxPool2d", "MaxPool1d", "AvgPool2d", "AvgPool1d"):
        return y.size * math.prod(op.kernel)
    if name in ("Rnn", "Gru", "Lstm"):
        w_ih, w_hh = arrays[1 + op.states : 3 + op.states]
        return 2 * math.prod(x.shape[:-1]) * (w_ih.size + w_hh.size)
    if name == "ScaledDotProductAttention":
        S = arrays[1].shape[-2]
        return S * (2 * (x.size + y.size) + 5 * math.prod(x.shape[:-1]))
    if name in _FREE:
        return 0
    return (5 if name in _FIVE else 1) * max(x.size, y.size)


def _zeros(shape, like):
    shape = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if not all(isinstance(n, (int, np.integer)) for n in shape):
        raise ValueError(f"[summary] expected a tensor or a shape, got {shape!r}")
    dtype, device = (np.float32, "cpu") if like is None else (like.dtype, like.device)
    return Tensor(np.zeros(shape, dtype), device=device)


def _shapes(shape):
    if shape and isinstance(shape[0], tuple):
        return ", ".join(map(str, shape))
    return str(shape)
