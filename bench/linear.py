"""Matrix products: the linear layers of GPT-2 and Llama, squares, skinny and odd ones.

y (M, N) = x (M, K) W^T (N, K): forward NT, dgrad dx = dy W (NN), wgrad dW = dy^T x (TN)
bytes  (M K + N K + M N) sizeof(T) in each of the three
       linear_gelu, with a bias: forward N more; backward dy, z, x, W in, dx, dW, db out; the
       kernels' own: dz = dy gelu'(z) out and in twice
       feed_forward, K to N to K: forward x, W1, b1, W2, b2, y, and h out and in; backward dy, z, h,
       x, W1, W2 in, dx and the weights' gradients out; the kernels' own: dz out and in twice, and
       dy again
FLOPs  2 M N K in each product                           bound: compute where M, N, K are large
"""

from bench.case import Case, normal

TOKENS = 8192
LAYERS = {  # (N, K)
    "gpt2": [(2304, 768), (768, 768), (3072, 768), (768, 3072), (50304, 768)],
    "gpt2-xl": [(4800, 1600), (1600, 1600), (6400, 1600), (1600, 6400)],
    "llama-7b": [(12288, 4096), (4096, 4096), (22016, 4096), (4096, 11008)],
}
SHAPES = {  # M, N, K
    "quick": [(128, 512, 784), (1024, 768, 768), (512, 2304, 768)],
    "tiny": [(64, 64, 64)],
    "full": [(TOKENS, N, K) for layers in LAYERS.values() for N, K in layers]
    + [(16, 4096, 4096), (1, 4096, 11008), (8192, 64, 8192), (1023, 1025, 1027), (4097, 127, 63)],
}
SQUARES = {"full": [512, 1024, 2048, 4096, 8192, 16384], "quick": [256, 512, 1024], "tiny": [64]}


def cases(scale):
    for M, N, K in SHAPES[scale]:
        yield _case("linear", lambda F, x, w: F.linear(x, w), M, N, K, (N, K))
        yield _linear_gelu(M, N, K)
        yield _feed_forward(M, N, K)
    for n in SQUARES[scale]:
        yield _case("matmul", lambda F, a, b: a @ b, n, n, n, (n, n), {"n": n})


def _case(op, run, M, N, K, second, labels=None):
    passes = ("forward", "dgrad", "wgrad") if op == "linear" else ("forward",)
    return Case(
        op=op,
        shape=f"{M}x{N}x{K}",
        run=run,
        inputs=lambda: [normal(M, K), normal(*second, scale=K**-0.5, start=11)],
        elements=dict.fromkeys(passes, M * K + N * K + M * N),
        flops=dict.fromkeys(passes, 2 * M * N * K),
        matrix=True,
        labels=labels or {},
    )


def _linear_gelu(M, N, K):
    products, outer = M * K + N * K, M * N
    return Case(
        op="linear_gelu",
        shape=f"{M}x{N}x{K}",
        run=lambda F, x, w, b: F.linear(x, w, b, activation="gelu"),
        torch=lambda F, x, w, b: F.gelu(F.linear(x, w, b)),
        inputs=lambda: [normal(M, K), normal(N, K, scale=K**-0.5, start=11), normal(N, start=5)],
        elements={"forward": products + outer + N, "backward": 2 * products + 2 * outer + N},
        extra={"backward": (3 * outer, 0)},
        flops={"forward": 2 * M * N * K, "backward": 4 * M * N * K},
        matrix=True,
    )


def _feed_forward(M, N, K):
    weights = 2 * N * K + N + K
    return Case(
        op="feed_forward",
        shape=f"{M}x{K}x{N}x{K}",
        run=lambda F, x, *weights: F.feed_forward(x, *weights, activation="gelu"),
        torch=lambda F, x, w, b, v, c: F.linear(F.gelu(F.linear(x, w, b)), v, c),
        inputs=lambda: [
            normal(M, K),
            normal(N, K, scale=K**-0.5, start=11),
            normal(N, start=5),
            normal(K, N, scale=N**-0.5, start=13),
            normal(K, start=7),
        ],
        elements={
            "forward": 2 * M * K + weights + 2 * M * N,
            "backward": 3 * M * K + 2 * weights - N - K + 2 * M * N,
        },
        extra={"backward": (M * K + 3 * M * N, 0)},
        flops={"forward": 4 * M * N * K, "backward": 8 * M * N * K},
        matrix=True,
    )
