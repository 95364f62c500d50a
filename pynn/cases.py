"""The cases of `pynn check`: for each family of kernels, its ops and the inputs they are run on.

Sizes sit on both sides of a warp, a vector and a tile; the simulator runs them in seconds.
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
    return [(op, cases) for op in makers]


FAMILIES = {
    "activation": activation,
}
