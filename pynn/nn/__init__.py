"""Layers, in PyTorch's names and meaning. Channels are last: images are NHWC, convolution weights
KRSC, and **sequences (N, T, C): batch_first is True** in every layer that has it, unlike PyTorch's.

    from pynn import nn

    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))

One file for each family; the mathematics stands in pynn/functional.
"""

from pynn.nn import init
from pynn.nn.activation import (
    ELU,
    GELU,
    SELU,
    Arctan,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Step,
    Tanh,
)
from pynn.nn.attention import LearnedPositions, MultiheadAttention, SinusoidalPositions
from pynn.nn.clip import clip_grad_norm_, clip_grad_value_
from pynn.nn.container import ModuleDict, ModuleList, Sequential
from pynn.nn.conv import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from pynn.nn.distance import CosineSimilarity, PairwiseDistance
from pynn.nn.dropout import AlphaDropout, Dropout, Dropout2d
from pynn.nn.embedding import Embedding
from pynn.nn.fusion import ConvBatchNorm1d, ConvBatchNorm2d, fuse_conv_bn_eval
from pynn.nn.linear import Bilinear, Flatten, Identity, Linear, Unflatten
from pynn.nn.loss import (
    ArctanLoss,
    BCELoss,
    BCEWithLogitsLoss,
    ContrastiveLoss,
    CosineEmbeddingLoss,
    CrossEntropyLoss,
    CTCLoss,
    HingeLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    MultiMarginLoss,
    NLLLoss,
    RMSELoss,
    SmoothL1Loss,
    TripletMarginLoss,
)
from pynn.nn.module import Module
from pynn.nn.norm import BatchNorm1d, BatchNorm2d, GroupNorm, InstanceNorm2d, LayerNorm, RMSNorm
from pynn.nn.parameter import Parameter
from pynn.nn.pool import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AvgPool1d,
    AvgPool2d,
    GlobalAvgPool2d,
    MaxPool1d,
    MaxPool2d,
)
from pynn.nn.rbm import RBM
from pynn.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from pynn.nn.reversal import GradientReversal
from pynn.nn.summary import summary
from pynn.nn.torch_layout import from_torch, to_torch_layout
from pynn.nn.transformer import (
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from pynn.nn.tree import ChildSumTreeLSTMCell, NaryTreeLSTMCell, TreeLSTM
from pynn.nn.upsample import PixelShuffle, PixelUnshuffle, Upsample
from pynn.nn.weight_norm import (
    remove_spectral_norm,
    remove_weight_norm,
    spectral_norm,
    weight_norm,
)
