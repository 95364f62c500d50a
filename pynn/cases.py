"""The cases of `pynn check`: for each family of kernels, its ops and the inputs they are run on.

Sizes sit on both sides of a warp, a vector and a tile; the simulator runs them in seconds.

Over 400 lines: the cases of all families, one function for each.
"""

import numpy as np

SIZES = (0, 1, 7, 31, 32, 33, 127, 1025, 4099)


def _normal(*shapes, scale=2.0, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(scale * rng.standard_normal(shape) for shape in shapes)


def activation():
    """Elementwise, of one array."""
    from pynn.functional import activation as ops

    makers = [
        ops.Relu,
        lambda: ops.LeakyRelu(0.1),
        lambda: ops.Elu(1.5),
        ops.Selu,
        ops.Gelu,
        ops.GeluTanh,
        ops.Silu,
        ops.Mish,
        lambda: ops.Softplus(2.0, 20.0),
        ops.Sigmoid,
        ops.Tanh,
        ops.Arctan,
        lambda: ops.Hardtanh(-1.0, 1.5),
        ops.Hardswish,
    ]
    cases = [_normal(n) for n in SIZES] + [_normal((3, 5, 7))]
    slopes = [_normal(shape, (1,)) for shape in [(3, 5), (33, 40), (4099,)]]
    slopes += [_normal(shape, shape[-1:]) for shape in [(3, 5), (700, 40), (2, 3, 33)]]
    return [(op, cases) for op in makers] + [(ops.Prelu, slopes)]


def arithmetic():
    """Two arrays that broadcast, whose gradients are summed back; one array; a choice of two;
    comparisons.
    """
    from pynn.functional import arithmetic as ops
    from pynn.functional import compare, shape

    meeting = [
        ((3, 4), (4,)),
        ((3, 1), (1, 5)),
        ((), (2, 3)),
        ((2, 0, 3), (3,)),
        ((33, 40), (33, 1)),
    ]
    two = [_normal(n, n) for n in SIZES] + [_normal(*shapes) for shapes in meeting]
    one = [case[:1] for case in two]
    positive = [tuple(np.abs(a) + 0.25 for a in case) for case in two]
    binary = [ops.Add, ops.Sub, ops.Mul, ops.Maximum, ops.Minimum]
    unary = [ops.Neg, ops.Exp, ops.Square, ops.Sin, ops.Cos, ops.Abs, lambda: ops.Clip(-0.5, 0.75)]
    of_positive = [ops.Log, ops.Log1p, ops.Sqrt, ops.Rsqrt]
    mask = np.arange(20).reshape(4, 5) % 3 == 0
    return (
        [(op, two) for op in binary]
        + [(op, positive) for op in (ops.Div, ops.Pow)]
        + [(op, one) for op in unary]
        + [(op, [case[:1] for case in positive]) for op in of_positive]
        + [(lambda: shape.Where(mask), [_normal((4, 5), (4, 5)), _normal((5,), (4, 1))])]
        + [(lambda: shape.Expand((33, 4, 5)), [_normal((4, 5)), _normal((33, 1, 1))])]
        + [(lambda: compare.Compare("less"), two), (lambda: compare.Classify("isnan"), one)]
        + [(lambda: compare.Rounded("rint"), one)]
    )


def reduce():
    """Rows, columns and all of it; sums in one launch and in two."""
    from pynn.functional import reduce as ops
    from pynn.functional.distance import Length

    shapes = [(3, 5), (1, 1), (33, 31), (7, 127), (2, 1025), (1025, 2), (0, 4)]
    cases = [_normal(shape) for shape in shapes]
    full = [case for case in cases if case[0].size]
    found = []
    for axes in ((0,), (1,), (0, 1)):
        found += [(lambda axes=axes: ops.Sum(axes, False), cases)]
        found += [(lambda axes=axes: ops.Mean(axes, True), full)]
        found += [(lambda axes=axes: ops.Extreme(axes, False, "max"), full)]
        found += [(lambda axes=axes: ops.Extreme(axes, True, "min"), full)]
        found += [(lambda axes=axes: ops.Logsumexp(axes, False), full)]
        found += [(lambda axes=axes: ops.Cumsum(axes[0]), cases)]
    found += [(lambda: ops.Cumsum(0), [_normal((40_000,))])]
    found += [(lambda: ops.Sum((0, 2), False), [_normal((3, 33, 5))])]
    found += [(lambda: ops.Extreme((0, 2), False, "max"), [_normal((3, 33, 5))])]
    longest = [_normal((1, 262_144))]
    found += [(lambda: ops.Sum((1,), False), longest)]
    found += [(lambda: ops.Extreme((1,), False, "max"), longest)]
    return found + [(Length, full)]


def softmax():
    """Rows within a warp, a block and a cluster, to the longest; cross entropy with all that it
    takes.
    """
    from pynn.functional.cross_entropy import CrossEntropy, SoftCrossEntropy
    from pynn.functional.softmax import LogSoftmax, Softmax

    shapes = [(3, 5), (1, 1), (9, 31), (9, 33), (5, 127), (2, 1025), (2, 4099), (0, 4)]
    cases = [_normal(shape) for shape in shapes]
    longest = [_normal((1, 262_144))]
    found = [(lambda: Softmax(-1), cases + longest), (lambda: LogSoftmax(-1), cases)]
    found += [(lambda: CrossEntropy(np.array([7]), None, -100, 0.0, "mean"), longest)]
    rng = np.random.default_rng(1)
    for rows, classes in [(5, 3), (33, 10), (7, 129), (2, 1030), (2, 33_000)]:
        labels = rng.integers(0, classes, rows)
        labels[0] = -100
        weight = rng.uniform(0.5, 2, classes).astype(np.float32)
        found += [
            (
                lambda labels=labels, weight=w, smoothing=s: CrossEntropy(
                    labels, weight, -100, smoothing, "mean"
                ),
                [_normal((rows, classes))],
            )
            for w, s in ((None, 0.0), (weight, 0.1))
        ]
    for shape in [(5, 3), (7, 129), (2, 1030), (1, 8200)]:
        t = rng.dirichlet(np.ones(shape[1]), shape[0])
        weight = rng.uniform(0.5, 2, shape[1]).astype(np.float32)
        found += [
            (lambda w=w, s=s: SoftCrossEntropy(w, s, "mean"), [(*_normal(shape), t)])
            for w, s in ((None, 0.0), (weight, 0.1))
        ]
    return found


def norm():
    """Rows on chip, and columns by several CTAs; a mean far from zero beside a small spread."""
    from pynn.functional.channel_norm import BatchNorm, BatchNormEval, GroupNorm
    from pynn.functional.row_norm import AddLayerNorm, AddRMSNorm, LayerNorm, RMSNorm

    rows = [(5, 31), (3, 33), (9, 128), (2, 1025), (1, 16_640)]
    longest = _normal((1, 131_076), (131_076,), (131_076,))  # for a CTA alone, twice over the row
    images = [(3, 4, 5, 6), (2, 3, 3, 32)]
    found = [(lambda: LayerNorm(1, 1e-5, True, True), [longest])]
    for shape in rows:
        x, w, b = _normal(shape, shape[-1:], shape[-1:])
        cases = [(x, w, b), (1e4 + 1e-2 * x, w, b)] if shape[1] > 31 else [(x, w, b)]
        found.append((lambda: LayerNorm(1, 1e-5, True, True), cases))
        found.append((lambda: RMSNorm(1, 1e-5, True), [(x, w)]))
        if shape[1] in (33, 128):
            found.append((lambda: LayerNorm(1, 1e-5, True, True, "gelu"), cases[:1]))
        sums = [(x, x[::-1] / 2, w, b)]
        found.append((lambda: AddLayerNorm(True, 1, 1e-5, True, True), sums))
        found.append((lambda: AddRMSNorm(False, 1, 1e-5, True), [sums[0][:3]]))
    for shape in images:
        C = shape[-1]
        cases = [_normal(shape, (C,), (C,))]
        found.append((lambda C=C: BatchNorm(C, 1e-5, True, True), cases))
        found.append((lambda: GroupNorm(2, 1e-5, True, True), cases))
        found.append((lambda: GroupNorm(2, 1e-5, True, True, "gelu"), cases))
        kept = np.linspace(-1, 1, C), np.linspace(0.5, 2, C)
        for f in (None, "relu"):
            found.append((lambda kept=kept, f=f: BatchNormEval(kept, 1e-5, True, True, f), cases))
            adds = [(*case, case[0][::-1] / 2) for case in cases]
            how = 1e-5, True, True, None, 0.1, f, True
            found.append((lambda C=C, how=how: BatchNorm(C, *how), adds))
        found.append((lambda C=C: BatchNorm(C, 1e-5, True, True, activation="relu"), cases))
    return found


def dropout():
    """The mask drawn by the kernel is the reference's."""
    from pynn.functional.dropout import Dropout

    shapes = [(n,) for n in SIZES] + [(5, 7, 9)]
    return [(lambda shape=s: Dropout(0.3, 7, 11, shape), [_normal(s)]) for s in shapes]


def loss():
    """Losses of two arrays: values, totals in one part and in several; the likelihood of labels."""
    from pynn.functional import loss as ops
    from pynn.functional.cross_entropy import MultiMarginLoss, NllLoss
    from pynn.functional.ctc import Ctc

    makers = [
        ops.MseLoss,
        ops.L1Loss,
        lambda how: ops.HuberLoss(0.7, 1.5, how),
        ops.ArctanLoss,
        lambda how: ops.RmseLoss(),
    ]
    two = [_normal(n, n) for n in SIZES] + [_normal((3, 5), (3, 5))]
    chances = [tuple(1 / (1 + np.exp(-a)) for a in case) for case in two]
    logs = [(np.log(x), t) for x, t in chances]
    signs = [(x, np.where(t > 0, 1.0, -1.0)) for x, t in two]
    weight = np.arange(1.0, 6)
    found = [(lambda make=make: make("mean"), two) for make in makers]
    found += [(lambda: ops.MseLoss("none"), two), (lambda: ops.L1Loss("sum"), two)]
    found += [(lambda: ops.BinaryCrossEntropy("mean"), chances)]
    found += [(lambda: ops.BinaryCrossEntropy("none", weight), chances[-1:])]
    of_logits = [(x, t) for (x, _), (_, t) in zip(two, chances, strict=True)]
    found += [(lambda: ops.BinaryCrossEntropyWithLogits("mean"), of_logits)]
    weighted = [(lambda: ops.BinaryCrossEntropyWithLogits("sum", weight, 2 * weight))]
    found += [(op, of_logits[-1:]) for op in weighted]
    found += [(lambda: ops.KlDiv("sum"), logs), (lambda: ops.HingeLoss("mean"), signs)]
    label = np.array([4, 0, -1, 2, 4])
    found += [
        (lambda how=how, w=w: NllLoss(label, w, -1, how), [_normal((5, 7))])
        for how, w in (("mean", None), ("sum", np.arange(7.0)), ("none", np.arange(7.0)))
    ]
    for shape in [(5, 3), (7, 129), (2, 1030), (1, 8200)]:
        t, w = np.arange(shape[0]) * 7 % shape[1], np.linspace(0.5, 2, shape[1])
        found += [
            (lambda p=p, t=t, w=w: MultiMarginLoss(t, p, 1.0, w, "mean"), [_normal(shape)])
            for p, w in ((1, None), (2, w))
        ]
    labels, lengths = np.array([[1, 1, 2], [3, 0, 0]]), np.array([3, 1])
    steps = np.array([7, 5])
    spoken = [(np.log(np.random.default_rng(1).dirichlet(np.ones(5), (7, 2))),)]
    found += [(lambda: Ctc(labels, steps, lengths, 0, False), spoken)]
    found += [(lambda: ops.KlDivLog("sum"), [(x, np.log(t)) for x, t in logs])]
    return found


def copy():
    """Elements moved: axes in another order, flips, slices, borders, joints, keys of integers."""
    from pynn.functional import pick, shape

    rng = np.random.default_rng(1)
    x = _normal((6, 40, 72))[0]
    views = [x.T, x.transpose(0, 2, 1), x[:, ::-1, 1:70:3], x[1:3], x[:, :39, 1:], x[:0], x[:1]]
    views += [x.reshape(6, 5, 8, 72).transpose(0, 3, 1, 2)]
    rows = rng.integers(0, 6, (4, 5))
    keys = [rows, (slice(None, None, 2), rows[0]), (rows, slice(2, 9), rows), x > 1]
    found = [(shape.Contiguous, [(view,) for view in views])]
    found += [(lambda: shape.Cat(1), [(x[:, :7], x, x[:, 3:4])])]
    found += [(lambda: shape.Pad(((0, 0), (1, 2), (8, 0)), 0.5), [(x,)])]
    found += [(lambda: pick.Index((slice(1, 4), 3, slice(None, None, -2))), [(x,)])]
    found += [(lambda key=key: pick.Index(key), [(x,)]) for key in keys]
    for axis in range(3):
        index = rng.integers(
            0, x.shape[axis], [5 if i == axis else n for i, n in enumerate(x.shape)]
        )
        found += [(lambda axis=axis, index=index: pick.Gather(index, axis), [(x,)])]
    return found


def embedding():
    """Rows of a table, some of them often, and the sum of their gradients."""
    from pynn.functional.embedding import Embedding, OneHot

    rng = np.random.default_rng(1)
    found = []
    for count, rows, width in [(1, 1, 1), (33, 7, 31), (40, 100, 33), (129, 5, 64), (0, 3, 4)]:
        index = rng.integers(0, rows, count)
        found.append((lambda index=index: Embedding(index), [_normal((rows, width))]))
        found.append((lambda rows=rows: OneHot(rows, np.dtype("float32")), [(index,)]))
    return found


def pool():
    """Windows that overlap, that do not, and that reach over the edge; images of another size."""
    from pynn.functional import pool as ops
    from pynn.functional.upsample import Interpolate, _linear, _nearest

    found = []
    for kernel, stride, pad in [((2, 2), (2, 2), 0), ((3, 3), (2, 2), 1), ((3, 2), (1, 1), 0)]:
        padding = ((pad, pad), (pad, pad))
        for shape in [(2, 6, 6, 3), (1, 7, 5, 33)]:
            size = tuple(
                (n + 2 * pad - k) // s + 1
                for n, k, s in zip(shape[1:3], kernel, stride, strict=True)
            )
            how = (size, kernel, stride, padding)
            found.append((lambda how=how: ops.MaxPool2d(*how, (1, 1)), [_normal(shape)]))
            counts = [[k] * n for k, n in zip(kernel, size, strict=True)]
            average = (*how, counts)
            found.append((lambda how=average: ops.AvgPool2d(*how), [_normal(shape)]))
    cut = [_normal((2, 7, 5, 9)), _normal((1, 6, 9, 16))]
    found += [(lambda: ops.AdaptiveAvgPool2d((3, 2)), cut)]
    found += [(lambda: ops.AdaptiveMaxPool2d((3, 2)), cut)]
    nearest = {1: _nearest(7, 4, None), 2: _nearest(5, 11, None)}
    linear = {1: _linear(7, 12, None, False), 2: _linear(5, 3, None, True)}
    found += [(lambda taps=taps: Interpolate(taps), cut[:1]) for taps in (nearest, linear)]
    return found


def gemm():
    """Matrix products around the edges of tiles and of the ring's stages, in all three layouts."""
    from pynn.functional.linear import FeedForward, Linear, LinearActivation, Matmul

    sizes = [(1, 1, 1), (31, 33, 32), (65, 64, 63), (129, 72, 40), (8, 200, 136), (3, 0, 2)]
    affine = [_normal((M, K), (N, K), (N,), scale=1) for M, K, N in sizes]
    product = [_normal((2, M, K), (K, N), scale=1) for M, K, N in sizes[:4]]
    fused = [lambda name=name: LinearActivation(name) for name in LinearActivation.functions]
    two = [_normal((9, 24), (40, 24), (16, 40), (40,), (16,), scale=0.3)]
    two += [_normal((33, 7), (31, 7), (5, 31), scale=0.3)]
    return (
        [(Linear, affine), (Matmul, product)]
        + [(_by("gemm", rung, Linear), affine[1:5]) for rung in ("sm80", "sm90")]
        + [(op, affine[:3]) for op in fused]
        + [(lambda name=name: FeedForward(name), two) for name in ("relu", "gelu")]
    )


def attention():
    """Products, softmax and dropout in turn: every key seen, the past alone, with a bias, with
    dropout.
    """
    from pynn.functional.attention import RotaryEmbedding, ScaledDotProductAttention

    def case(N, T, S, D, *more):
        return _normal((N, 2, T, D), (N, 2, S, D), (N, 2, S, D + 1), *more, scale=1.0)

    cases = [case(1, 7, 9, 8), case(2, 33, 31, 4), case(1, 1, 1, 1), case(0, 3, 3, 2)]
    angles = np.arange(33)[:, None] * 100.0 ** -np.linspace(0, 1, 8)
    turned = [_normal((2, 5, 33, 16)), _normal((33, 16))]
    return [(lambda how=how: RotaryEmbedding(angles, how), turned) for how in (False, True)] + [
        (lambda: ScaledDotProductAttention(0.5), cases),
        (lambda: ScaledDotProductAttention(0.5, None, True), cases),
        (lambda: ScaledDotProductAttention(0.5), [case(2, 5, 9, 8, (5, 9))]),
        (lambda: ScaledDotProductAttention(0.5, None, False, (0.25, 7, 0)), cases),
    ]


def recurrent():
    """A layer by its steps: units in fours and not, both directions, samples that end early."""
    from pynn.functional.recurrent import Gru, Lstm, Rnn

    def cases(gates, states):
        return [
            _normal(
                (T, N, I), *[(N, H)] * states, (gates * H, I), (gates * H, H),
                *[(gates * H,)] * 2, scale=0.5,
            )
            for T, N, I, H in [(3, 5, 6, 8), (4, 3, 2, 33), (1, 1, 1, 1), (0, 2, 3, 4)]
        ]  # fmt: skip

    ended = np.array([3, 0, 1, 2, 3])
    kinds = [(Rnn, 1, 1), (lambda: Rnn(True), 1, 1), (Gru, 3, 1), (Lstm, 4, 2)]
    found = [(op, cases(gates, states)) for op, gates, states in kinds]
    for op, gates, states in ((Gru, 3, 1), (Lstm, 4, 2)):
        found.append((lambda op=op: op(ended, True), cases(gates, states)[:1]))
    return found


def conv():
    """Convolutions and their adjoints: strides and phases, groups, channels off a vector's 8."""
    from pynn.functional.conv import (
        Conv1dMoments,
        Conv2d,
        Conv2dActivation,
        Conv2dMoments,
        ConvTranspose2d,
    )
    from pynn.functional.window import Geometry

    found = []
    for shape, w, stride, pad, dilation, groups in [
        ((2, 6, 5, 8), (16, 3, 3, 8), (1, 1), 1, (1, 1), 1),
        ((1, 9, 8, 16), (24, 3, 2, 16), (2, 1), 1, (1, 2), 1),
        ((2, 5, 7, 3), (5, 3, 3, 3), (2, 3), 1, (1, 1), 1),
        ((1, 4, 5, 32), (16, 2, 3, 16), (2, 2), 0, (1, 1), 2),
        ((2, 7, 6, 16), (16, 3, 3, 1), (1, 1), 1, (1, 1), 16),
        ((1, 8, 7, 6), (6, 5, 5, 1), (2, 2), 2, (1, 1), 6),
        ((2, 3, 4, 72), (136, 1, 1, 72), (1, 1), 0, (1, 1), 1),
        ((3, 4, 4, 8), (8, 1, 1, 8), (2, 2), 0, (1, 1), 1),
        ((1, 6, 5, 12), (20, 3, 3, 12), (1, 2), 1, (1, 1), 1),
    ]:
        how = Geometry(stride, ((pad, pad), (pad, pad)), dilation)
        x, kernels, b = _normal(shape, w, w[:1], scale=1)
        found.append((lambda how=how, g=groups: Conv2d(*how, g), [(x, kernels), (x, kernels, b)]))
        y, c = _normal((shape[0], *how.output_size(shape[1:3], w[1:3]), w[0]), shape[-1:], scale=1)
        size = shape[1:3]
        found.append(
            (lambda how=how, g=groups, s=size: ConvTranspose2d(s, *how, g), [(y, kernels, c)])
        )
    line = Geometry((1, 2), ((0, 0), (1, 1)), (1, 2))
    found.append((lambda: Conv1dMoments(*line, 1), [_normal((2, 11, 5), (6, 3, 5), scale=1)]))
    for shape, w, stride, groups in [
        ((1, 9, 9, 8), (24, 3, 3, 8), 1, 1),
        ((1, 9, 8, 3), (8, 3, 3, 3), 2, 1),
        ((1, 5, 5, 128), (128, 1, 1, 64), 1, 2),
    ]:
        how = Geometry((stride, stride), ((1, 1), (1, 1)), (1, 1))
        x, kernels, b = _normal(shape, w, w[:1], scale=1)
        y = _normal((shape[0], *how.output_size(shape[1:3], w[1:3]), w[0]))
        fused = lambda how=how, g=groups: Conv2dActivation("relu", True, *how, g)  # noqa: E731
        found.append((fused, [(x, kernels, b, *y)]))
        for variant in ("simt", "sm80", "sm90"):
            op = lambda how=how, g=groups: Conv2dMoments(*how, g)  # noqa: E731
            found.append((_by("conv", variant, op), [(x, kernels)]))
    return found


def _by(family, variant, make):
    """The op with its kernels' choice overridden (pynn.kernels.prefer)."""
    from pynn import kernels

    def preferring(method):
        def run(*arrays):
            with kernels.prefer(family, variant):
                return method(*arrays)

        return run

    def made():
        op = make()
        op.forward_native = preferring(op.forward_native)
        op.backward_native = preferring(op.backward_native)
        return op

    return made


FAMILIES = {
    "activation": activation,
    "arithmetic": arithmetic,
    "reduce": reduce,
    "softmax": softmax,
    "norm": norm,
    "loss": loss,
    "copy": copy,
    "dropout": dropout,
    "embedding": embedding,
    "pool": pool,
    "gemm": gemm,
    "attention": attention,
    "recurrent": recurrent,
    "conv": conv,
}
