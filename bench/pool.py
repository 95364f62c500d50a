"""Pooling of images, channels last.

bytes  (pixels in + pixels out) sizeof(T), forward and backward; max_pool2d a byte more for each
       pixel out, which says where it came from; avg_pool2d 4 a row for how many it is the mean of
FLOPs  1 for each pixel of a window                      bound: memory
"""

from bench.case import Case, named, normal

# op, image, kernel, stride, padding
SIZES = {
    "full": [
        ("max_pool2d", (256, 112, 112, 64), 3, 2, 1),
        ("max_pool2d", (256, 32, 32, 128), 2, 2, 0),
        ("avg_pool2d", (256, 56, 56, 256), 2, 2, 0),
        ("global_avg_pool2d", (256, 7, 7, 2048), 7, 7, 0),
    ],
    "quick": [
        ("max_pool2d", (32, 28, 28, 32), 2, 2, 0),
        ("avg_pool2d", (32, 28, 28, 32), 2, 2, 0),
        ("global_avg_pool2d", (32, 7, 7, 256), 7, 7, 0),
    ],
    "tiny": [("max_pool2d", (2, 8, 8, 32), 2, 2, 0), ("avg_pool2d", (2, 8, 8, 32), 2, 2, 0)],
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
            fixed=dict.fromkeys(passes, {"max_pool2d": results, "avg_pool2d": 4 * P}.get(op, 0)),
            flops=dict.fromkeys(passes, results * kernel * kernel),
        )


def _run(op, kernel, stride, padding):
    if op == "global_avg_pool2d":
        return lambda F, x: F.global_avg_pool2d(x)
    return lambda F, x: getattr(F, op)(x, kernel, stride, padding)


def _torch(op, kernel, stride, padding):
    if op == "global_avg_pool2d":
        return lambda F, x: x.mean((1, 2))
    return lambda F, x: getattr(F, op)(x.permute(0, 3, 1, 2), kernel, stride, padding).permute(
        0, 2, 3, 1
    )
