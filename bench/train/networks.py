"""Networks in words that pynn.nn and torch.nn share: `nn` is either, so parameters have the same
names in both and the values of one can be loaded into the other.
"""


def digits_mlp(nn):
    """64-128-64-10, for the 8x8 digits."""
    layers = [nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)]
    return nn.Sequential(*layers)


def digits_cnn(nn):
    """Two convolutions and a pooling, for the 8x8 digits as images."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )


def resnet50(nn, width=64, depths=(3, 4, 6, 3), classes=1000):
    """ResNet-50, the stride in the 3x3; other widths and depths for a CPU. Where `nn` has a layer
    of convolution, batch norm, residual and ReLU, it is that.

    He et al. 2015, arXiv:1512.03385.
    """

    class ConvBatchNorm2d(nn.Module):
        def __init__(self, C, K, R, stride=1, padding=0, activation=None):
            super().__init__()
            self.conv = nn.Conv2d(C, K, R, stride=stride, padding=padding, bias=False)
            self.norm = nn.BatchNorm2d(K)
            self.f = nn.ReLU() if activation else nn.Sequential()

        def forward(self, x, residual=None):
            y = self.norm(self.conv(x))
            return self.f(y if residual is None else y + residual)

    Layer = getattr(nn, "ConvBatchNorm2d", ConvBatchNorm2d)

    def conv(C, K, R, stride=1, activation="relu"):
        return Layer(C, K, R, stride=stride, padding=R // 2, activation=activation)

    class Bottleneck(nn.Module):
        def __init__(self, C, inner, stride):
            super().__init__()
            self.body = nn.Sequential(conv(C, inner, 1), conv(inner, inner, 3, stride))
            self.last = conv(inner, 4 * inner, 1)
            same = 4 * inner == C and stride == 1
            self.skip = nn.Sequential() if same else conv(C, 4 * inner, 1, stride, None)

        def forward(self, x):
            return self.last(self.body(x), self.skip(x))

    layers = [conv(3, width, 7, 2), nn.MaxPool2d(3, stride=2, padding=1)]
    C = width
    for stage, depth in enumerate(depths):
        inner = width << stage
        for i in range(depth):
            layers.append(Bottleneck(C, inner, 2 if stage and not i else 1))
            C = 4 * inner
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(C, classes)]
    return nn.Sequential(*layers)


def gpt2(nn, F, layers=12, width=768, heads=12, vocabulary=50304, context=1024):
    """GPT-2: pre-norm blocks of causal attention and a GELU MLP, the output tied to the embedding.

    F is either library's functional, with scaled_dot_product_attention. Takes tokens and their
    positions. Radford et al. 2019.
    """
    size = width // heads

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            N, T, _ = x.shape
            qkv = self.qkv(self.norm_1(x)).reshape(N, T, 3, heads, size).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal=True)
            x = x + self.out(y.permute(0, 2, 1, 3).reshape(N, T, width))
            return x + self.down(F.gelu(self.up(self.norm_2(x)), approximate="tanh"))

    class Gpt2(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(vocabulary, width)
            self.positions = nn.Embedding(context, width)
            self.blocks = nn.Sequential(*(Block() for _ in range(layers)))
            self.norm = nn.LayerNorm(width)

        def forward(self, index, position):
            x = self.norm(self.blocks(self.tokens(index) + self.positions(position)))
            return F.linear(x, self.tokens.weight).reshape(-1, vocabulary)

    return Gpt2()


def gpt2_flops(layers, width, vocabulary, tokens, context):
    """FLOPs of a training step: 6 for each weight of a matrix product and token, and the scores.

    The scores count 2 products of 2 context^2 width a sequence, half of them masked, three times
    (forward and the two gradients).
    """
    weights = layers * 12 * width * width + vocabulary * width
    return 6 * weights * tokens + 3 * layers * 2 * context * width * tokens
