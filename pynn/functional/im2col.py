"""Convolution and its gradients in array text: the reference of conv.py.

fprop is a matrix product (N P Q, R S C) times (R S C, K), whose left matrix has a window of x in
each row. It is R S times as large as x, so it is made and used in blocks that stay in the cache and
is never kept: wgrad makes it again. dgrad multiplies dy by one tap of the weight at a time and adds
the product to the pixels that the tap reads.
Chellapilla, Puri, Simard 2006, "High performance convolutional neural networks for document
processing".
"""

from pynn.backend import array_module
from pynn.functional.linear import as_rows, column_sums
from pynn.functional.window import add_taps, blocks, padded, windows

_FEW_CHANNELS = (
    4  # up to which the matrix is made tap by tap: a window's rows are too short to copy
)


def fprop(x, w, size, geometry, groups=1):
    """y (N, P, Q, K) of that size, (P, Q), from x (N, H, W, C) and w (K, R, S, C / groups)."""
    xp = array_module(x)
    K, R, S, C = w.shape
    if groups > 1 and C != 1:
        parts = zip(xp.split(x, groups, 3), xp.split(w, groups, 0), strict=True)
        return xp.concatenate(
            [fprop(part, kernels, size, geometry) for part, kernels in parts], axis=3
        )
    N, (P, Q) = x.shape[0], size
    y = xp.empty((N, P, Q, K), x.dtype)
    view = windows(padded(x, geometry.padding), (P, Q), (R, S), geometry)
    if groups == 1:
        matrix, out = w.reshape(K, R * S * C).T, as_rows(y)
        for outputs, columns in _columns(xp, view):
            xp.matmul(columns, matrix, out=out[outputs])
        return y
    taps = _depthwise_taps(w, groups)
    split = y.reshape(N, P, Q, groups, K // groups)
    for n, p, _ in blocks(xp, N, P, Q, K):
        out = split[n, p]
        for i, tap in enumerate(taps):
            product = xp.multiply(
                view[n, p, :, *divmod(i, S), :, None], tap, out=None if i else out
            )
            if i:
                out += product
    return y


def dgrad(dy, w, shape, geometry, groups=1):
    """dx of that shape, (N, H, W, C), from dy (N, P, Q, K) and w (K, R, S, C / groups)."""
    xp = array_module(dy)
    K, R, S, C = w.shape
    N, H, W, _ = shape
    P, Q = dy.shape[1:3]
    if groups > 1 and C != 1:
        parts = zip(xp.split(dy, groups, 3), xp.split(w, groups, 0), strict=True)
        of_part = N, H, W, C
        return xp.concatenate(
            [dgrad(d, kernels, of_part, geometry) for d, kernels in parts], axis=3
        )
    if R == S == 1 and groups == 1 and (P, Q) == (H, W) and geometry.padding == ((0, 0), (0, 0)):
        return (as_rows(dy) @ w.reshape(K, C)).reshape(shape)
    dx = xp.zeros(shape, dy.dtype)
    if groups == 1:
        taps = xp.ascontiguousarray(w.transpose(1, 2, 0, 3)).reshape(R * S, K, C)
        drows = as_rows(dy)
        for n, p, outputs in blocks(xp, N, P, Q, C):
            d = drows[outputs]
            space = xp.empty((n.stop - n.start, p.stop - p.start, Q, C), dy.dtype)
            product = as_rows(space)
            products = (xp.matmul(d, tap, out=product).reshape(space.shape) for tap in taps)
            add_taps(dx, n, p, products, (R, S), geometry)
        return dx
    taps = _depthwise_taps(w, groups)
    split = dy.reshape(N, P, Q, groups, K // groups)
    for n, p, _ in blocks(xp, N, P, Q, K):
        d = split[n, p]
        add_taps(dx, n, p, ((d * tap).sum(axis=-1) for tap in taps), (R, S), geometry)
    return dx


def wgrad(x, dy, shape, geometry, groups=1):
    """dw of that shape, (K, R, S, C / groups), from x (N, H, W, C) and dy (N, P, Q, K)."""
    xp = array_module(x)
    K, R, S, C = shape
    N, P, Q, _ = dy.shape
    if groups > 1 and C != 1:
        parts = zip(xp.split(x, groups, 3), xp.split(dy, groups, 3), strict=True)
        of_part = K // groups, R, S, C
        return xp.concatenate([wgrad(part, d, of_part, geometry) for part, d in parts], axis=0)
    dw = xp.zeros(shape, x.dtype)
    view = windows(padded(x, geometry.padding), (P, Q), (R, S), geometry)
    if groups == 1:
        drows, out = as_rows(dy), dw.reshape(K, R * S * C)
        for outputs, columns in _columns(xp, view):
            if outputs.start:
                out += drows[outputs].T @ columns
            else:
                xp.matmul(drows[outputs].T, columns, out=out)
        return dw
    split = dy.reshape(N, P, Q, groups, K // groups)
    for n, p, _ in blocks(xp, N, P, Q, K):
        for r in range(R):
            for s in range(S):
                product = view[n, p, :, r, s, :, None] * split[n, p]
                dw[:, r, s, 0] += column_sums(product.reshape(-1, K))
    return dw


def _columns(xp, view):
    """The windows (N, P, Q, R, S, C) as a matrix (N P Q, R S C), block by block: the slice of the
    outputs, and their rows, in a buffer that the next block overwrites.
    """
    N, P, Q, R, S, C = view.shape
    buffer = None
    for n, p, outputs in blocks(xp, N, P, Q, R * S * C):
        block = view[n, p]
        shape = outputs.stop - outputs.start, R * S * C
        if R == S == 1:
            yield outputs, block.reshape(shape)
            continue
        if buffer is None:
            buffer = xp.empty(block.size, view.dtype)
        space = buffer[: block.size]
        if C > _FEW_CHANNELS:
            space.reshape(block.shape)[...] = block
            yield outputs, space.reshape(shape)
        else:
            block = block.transpose(3, 4, 5, 0, 1, 2)
            space.reshape(block.shape)[...] = block
            yield outputs, space.reshape(shape[::-1]).T


def _depthwise_taps(w, groups):
    """w (K, R, S, 1) as (R S, groups, K / groups): for each tap, the factors of each channel."""
    K, R, S, _ = w.shape
    return w.reshape(groups, K // groups, R * S).transpose(2, 0, 1)
