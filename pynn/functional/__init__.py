"""Every op as a function of tensors: `import pynn.functional as F`. One file for each family."""

from pynn.functional import methods as _methods  # noqa: E402  (binds these to Tensor)
from pynn.functional.activation import (
    arctan,
    elu,
    gelu,
    hardswish,
    hardtanh,
    leaky_relu,
    mish,
    prelu,
    relu,
    selu,
    sigmoid,
    silu,
    softplus,
    step,
    tanh,
)
from pynn.functional.arithmetic import (
    abs,
    add,
    astype,
    clip,
    clone,
    cos,
    div,
    exp,
    log,
    log1p,
    maximum,
    minimum,
    mul,
    neg,
    pow,
    rsqrt,
    sin,
    sqrt,
    square,
    sub,
    to,
)
from pynn.functional.attention import (
    rotary_embedding,
    scaled_dot_product_attention,
    sinusoidal_positions,
)
from pynn.functional.compare import (
    ceil,
    equal,
    floor,
    floor_divide,
    greater,
    greater_equal,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    not_equal,
    remainder,
    round,
    sign,
)
from pynn.functional.contrastive import contrastive_loss
from pynn.functional.conv import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from pynn.functional.conv_norm import conv1d_batch_norm, conv2d_batch_norm
from pynn.functional.cross_entropy import cross_entropy, multi_margin_loss, nll_loss
from pynn.functional.ctc import ctc_greedy_decode, ctc_loss
from pynn.functional.distance import (
    cosine_embedding_loss,
    cosine_similarity,
    pairwise_distance,
    triplet_margin_loss,
)
from pynn.functional.dropout import alpha_dropout, dropout, dropout2d
from pynn.functional.einsum import einsum
from pynn.functional.embedding import embedding, one_hot
from pynn.functional.fp8 import fp8_linear
from pynn.functional.linear import feed_forward, linear, matmul
from pynn.functional.loss import (
    arctan_loss,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    hinge_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    rmse_loss,
    smooth_l1_loss,
)
from pynn.functional.norm import (
    add_layer_norm,
    add_rms_norm,
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    rms_norm,
)
from pynn.functional.order import argsort, sort, topk
from pynn.functional.pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    global_avg_pool2d,
    max_pool1d,
    max_pool2d,
)
from pynn.functional.recurrent import gru, lstm, rnn
from pynn.functional.reduce import (
    all,
    any,
    argmax,
    argmin,
    cumsum,
    logsumexp,
    max,
    mean,
    min,
    norm,
    std,
    sum,
    var,
)
from pynn.functional.reversal import gradient_reversal
from pynn.functional.shape import (
    assign,
    cat,
    chunk,
    concatenate,
    contiguous,
    expand,
    flatten,
    flip,
    gather,
    index,
    masked_fill,
    pad,
    permute,
    reshape,
    roll,
    split,
    squeeze,
    stack,
    take,
    tile,
    transpose,
    tril,
    triu,
    unbind,
    unsqueeze,
    where,
)
from pynn.functional.softmax import log_softmax, softmax
from pynn.functional.upsample import interpolate, pixel_shuffle, pixel_unshuffle
from pynn.functional.weight_norm import weight_norm
