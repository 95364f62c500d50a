"""Pooling of images, channels last, and images of another size.

bytes  (pixels in + pixels out) sizeof(T), forward and backward; max_pool2d a byte more for each
       pixel out, which says where it came from, adaptive_max_pool2d 4; avg_pool2d 4 a row for how
       many it is the mean of; interpolate 8 a row, column and tap for where it lies and its weight
FLOPs  1 for each pixel of a window                      bound: memory
"""

import math

from bench.case import Case, named, normal

# op, image, kernel, stride, padding
SIZES = {
    "full": [
        ("max_pool2d", (256, 112, 112, 64), 3, 2, 1),
        ("max_pool2d", (256, 32, 32, 128), 2, 2, 0),
        ("avg_pool2d", (256, 56, 56, 256), 2, 2, 0),
        ("global_avg_pool2d", (256, 7, 7, 2048), 7, 7, 0),
        ("adaptive_avg_pool2d", (256, 14, 14, 512), 2, 2, 0),
        ("adaptive_max_pool2d", (256, 14, 14, 512), 2, 2, 0),
    ],
    "quick": [
        ("max_pool2d", (32, 28, 28, 32), 2, 2, 0),
        ("avg_pool2d", (32, 28, 28, 32), 2, 2, 0),
        ("global_avg_pool2d", (32, 7, 7, 256), 7, 7, 0),
    ],
    "tiny": [
        ("max_pool2d", (2, 8, 8, 32), 2, 2, 0),
        ("avg_pool2d", (2, 8, 8, 32), 2, 2, 0),
        ("adaptive_avg_pool2d", (2, 8, 8, 32), 2, 2, 0),
        ("adaptive_max_pool2d", (2, 8, 8, 32), 2, 2, 0),
    ],
}
# image, scale, mode
SCALED = {
    "full": [((32, 64, 64, 320), 2, "nearest"), ((16, 128, 128, 64), 2, "bilinear")],
    "quick": [((4, 28, 28, 32), 2, "nearest")],
    "tiny": [((2, 8, 8, 32), 2, "nearest"), ((2, 8, 8, 32), 2, "bilinear")],
}


def cases(scale):
    for op, image, kernel, stride, padding in SIZES[scale]:
        N, H, W, C = image
        P, Q = ((n + 2 * padding - kernel) // stride + 1 for n in (H, W))
        passes = ("forward",) if op == "global_avg_pool2d" else ("forward", "backward")
        pixels, results = N * H * W * C, N * P * Q * C
        yield Case(
            op=op,
            shape=f"{named(*image)} k{kernel} s{stride}",
            run=_run(op, kernel, stride, padding),
            torch=_torch(op, kernel, stride, padding),
            inputs=lambda image=image: [normal(*image)],
            elements=dict.fromkeys(passes, pixels + results),
            fixed=dict.fromkeys(passes, _BESIDE.get(op, lambda results, P: 0)(results, P)),
            flops=dict.fromkeys(passes, results * kernel * kernel),
        )
    for image, by, mode in SCALED[scale]:
        yield _interpolate(image, by, mode)


_BESIDE = {  # bytes of other types
    "max_pool2d": lambda results, P: results,
    "adaptive_max_pool2d": lambda results, P: 4 * results,
    "avg_pool2d": lambda results, P: 4 * P,
}


def _interpolate(image, by, mode):
    N, H, W, C = image
    pixels = math.prod(image)
    taps = 2 if mode == "bilinear" else 1
    tables = taps * 8 * (H + W) * by
    first = taps * 4 * (H + W + 2)
    return Case(
        op=f"interpolate_{mode}",
        shape=f"{named(*image)} x{by}",
        run=lambda F, x: F.interpolate(x, scale_factor=by, mode=mode),
        torch=lambda F, x: F.interpolate(
            x.permute(0, 3, 1, 2), scale_factor=float(by), mode=mode
        ).permute(0, 2, 3, 1),
        inputs=lambda: [normal(*image)],
        elements=dict.fromkeys(("forward", "backward"), pixels * (1 + by * by)),
        fixed={"forward": tables, "backward": tables // 2 + first},
        flops=dict.fromkeys(("forward", "backward"), pixels * by * by * taps * taps),
    )


def _run(op, kernel, stride, padding):
    if op == "global_avg_pool2d":
        return lambda F, x: F.global_avg_pool2d(x)
    if op.startswith("adaptive"):
        return lambda F, x: getattr(F, op)(x, [n // kernel for n in x.shape[1:3]])
    return lambda F, x: getattr(F, op)(x, kernel, stride, padding)


def _torch(op, kernel, stride, padding):
    if op == "global_avg_pool2d":
        return lambda F, x: x.mean((1, 2))
    if op.startswith("adaptive"):
        return lambda F, x: getattr(F, op)(
            x.permute(0, 3, 1, 2), [n // kernel for n in x.shape[1:3]]
        ).permute(0, 2, 3, 1)
    return lambda F, x: getattr(F, op)(x.permute(0, 3, 1, 2), kernel, stride, padding).permute(
        0, 2, 3, 1
    )
