"""Convolutions: every distinct one of ResNet-50, and the depthwise ones of EfficientNet-B0.

x (N, H, W, C), w (K, R, S, C / groups), y (N, P, Q, K): forward (fprop), dgrad, wgrad
bytes  (x + w + y) sizeof(T) in each of the three, of x in fprop and wgrad what windows cover, a
       quarter where they are 1x1 with a stride of 2; the kernels' own: a strided dgrad runs once
       for each place of a pixel in the stride, and reads dy every time; a depthwise wgrad leaves
       sums in f32 for a second launch, 8 |w| of one split
       conv2d_relu, with a bias: forward alone, K more
       conv2d_batch_norm_add_relu, in training: forward y as convolved, once out and once in, the
       residual and the result; backward first y, dy, the residual, dz out and in, y again and the
       convolution's dy out, then dgrad and wgrad; mean and rstd 16 K. The kernels' own: forward 32
       for each channel and 64 rows of y, statistics again 16 K; backward as in bench/norm.py
FLOPs  2 N P Q K R S C / groups in each; batch norm 5 of y forward, 8 backward
bound  compute; memory where 1x1 or depthwise
"""

import dataclasses
import math

from bench.case import Case, normal

BATCH = 128
# H = W, C, K, R = S, stride
RESNET50 = [
    *[(224, 3, 64, 7, 2), (56, 64, 64, 1, 1), (56, 64, 64, 3, 1), (56, 64, 256, 1, 1)],
    *[(56, 256, 64, 1, 1), (56, 256, 128, 1, 1), (56, 128, 128, 3, 2), (28, 128, 512, 1, 1)],
    *[(56, 256, 512, 1, 2), (28, 512, 128, 1, 1), (28, 128, 128, 3, 1), (28, 512, 256, 1, 1)],
    *[(28, 256, 256, 3, 2), (14, 256, 1024, 1, 1), (28, 512, 1024, 1, 2), (14, 1024, 256, 1, 1)],
    *[(14, 256, 256, 3, 1), (14, 1024, 512, 1, 1), (14, 512, 512, 3, 2), (7, 512, 2048, 1, 1)],
    *[(14, 1024, 2048, 1, 2), (7, 2048, 512, 1, 1), (7, 512, 512, 3, 1)],
]
EFFICIENTNET = [  # H = W, C, R = S, stride
    *[(112, 32, 3, 1), (112, 96, 3, 2), (56, 144, 3, 1), (56, 144, 5, 2), (28, 240, 5, 1)],
    *[(28, 240, 3, 2), (14, 480, 3, 1), (14, 480, 5, 1), (14, 672, 5, 1), (14, 672, 5, 2)],
    *[(7, 1152, 5, 1), (7, 1152, 3, 1)],
]
QUICK = [(28, 1, 32, 3, 1), (28, 32, 64, 3, 1), (14, 64, 128, 1, 1)]
TINY = [(8, 16, 16, 3, 1), (8, 16, 32, 1, 1), (9, 8, 16, 3, 2), (8, 16, 8, 1, 2)]
DEPTHWISE = {"full": EFFICIENTNET, "quick": [(14, 64, 3, 1)], "tiny": [(8, 16, 3, 1), (9, 8, 5, 2)]}


def cases(scale):
    batch = {"full": BATCH, "quick": 16, "tiny": 1}[scale]
    for H, C, K, R, stride in {"full": RESNET50, "quick": QUICK, "tiny": TINY}[scale]:
        yield _case("conv2d", batch, H, C, K, R, stride, 1)
        yield _relu(batch, H, C, K, R, stride)
        if C > 3 and R < 7:
            yield _batch_norm(batch, H, C, K, R, stride)
    for H, C, R, stride in DEPTHWISE[scale]:
        yield _case("conv2d_depthwise", batch, H, C, C, R, stride, C)


def _relu(N, H, C, K, R, stride):
    plain = _case("conv2d_relu", N, H, C, K, R, stride, 1)
    padding = R // 2

    def torch(F, x, w, b):
        x, w = x.permute(0, 3, 1, 2), w.permute(0, 3, 1, 2)
        return F.relu(F.conv2d(x, w, b, stride=stride, padding=padding)).permute(0, 2, 3, 1)

    return dataclasses.replace(
        plain,
        run=lambda F, x, w, b: F.conv2d(x, w, b, stride=stride, padding=padding, activation="relu"),
        torch=torch,
        inputs=lambda: [*plain.inputs(), normal(K, start=5)],
        elements={"forward": plain.elements["forward"] + K},
        extra={},
        flops={"forward": plain.flops["forward"]},
    )


def _batch_norm(N, H, C, K, R, stride):
    plain = _case("conv2d_batch_norm_add_relu", N, H, C, K, R, stride, 1)
    padding = R // 2
    P = (H + 2 * padding - R) // stride + 1
    y = N * P * P * K
    gradients = plain.elements["dgrad"] + plain.elements["wgrad"]
    numbers, _ = plain.extra["dgrad"]

    def run(F, x, w, gamma, beta, residual):
        numbers = dict(stride=stride, padding=padding)
        how = dict(training=True, activation="relu", residual=residual)
        return F.conv2d_batch_norm(x, w, None, None, gamma, beta, **numbers, **how)

    def torch(F, x, w, gamma, beta, residual):
        x, w, residual = (a.permute(0, 3, 1, 2) for a in (x, w, residual))
        y = F.conv2d(x, w, stride=stride, padding=padding)
        y = F.batch_norm(y, None, None, gamma, beta, training=True)
        return F.relu(y + residual).permute(0, 2, 3, 1)

    return dataclasses.replace(
        plain,
        run=run,
        torch=torch,
        inputs=lambda: [
            *plain.inputs(),
            1 + normal(K, scale=0.1),
            normal(K, scale=0.1, start=3),
            normal(N, P, P, K, start=5),
        ],
        elements={
            "forward": plain.elements["forward"] + 3 * y + 2 * K,
            "backward": gradients + 7 * y + 3 * K,
        },
        fixed={"forward": 16 * K, "backward": 16 * K},
        extra={
            "forward": (0, 32 * K * -(-N * P * P // 64) + 16 * K),
            "backward": (numbers + 3 * K, 32 * K + 48 * K),
        },
        flops={
            "forward": plain.flops["forward"] + 5 * y,
            "backward": 2 * plain.flops["forward"] + 8 * y,
        },
    )


def _case(op, N, H, C, K, R, stride, groups):
    padding = R // 2
    P = (H + 2 * padding - R) // stride + 1
    image, weight = (N, H, H, C), (K, R, R, C // groups)
    others = math.prod(weight) + N * P * P * K
    covered = N * min(H, P * R) ** 2 * C  # windows do not overlap where R < stride
    elements = {
        "forward": covered + others,
        "dgrad": math.prod(image) + others,
        "wgrad": covered + others,
    }
    if C <= 3:  # pictures, which want no gradient
        del elements["dgrad"]

    def run(F, x, w):
        return F.conv2d(x, w, stride=stride, padding=padding, groups=groups)

    def torch(F, x, w):
        x, w = x.permute(0, 3, 1, 2), w.permute(0, 3, 1, 2)  # channels_last, nothing moves
        y = F.conv2d(x, w, stride=stride, padding=padding, groups=groups)
        return y.permute(0, 2, 3, 1)

    return Case(
        op=op,
        shape=f"{N}x{H}x{H}x{C} k{K} {R}x{R} s{stride}",
        run=run,
        torch=torch,
        inputs=lambda: [normal(*image), normal(*weight, scale=(C // groups * R * R) ** -0.5)],
        elements=elements,
        extra={
            "dgrad": ((min(stride, R) ** 2 - 1) * N * P * P * K, 0),
            "wgrad": (0, 8 * math.prod(weight) if groups > 1 else 0),
        },
        flops=dict.fromkeys(elements, 2 * N * P * P * math.prod(weight)),
        matrix=groups == 1,
    )
