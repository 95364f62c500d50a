"""Writes like Python's manual, a character at a time, after reading it with a Transformer.

Learnt: how likely each character is to come next. From: the help topics of Python's standard
library, 470,000 characters of English; the last tenth is held out and looked at once, at the end.
How: a vector for each character, layers of masked self-attention with rotary positions, normalized
before each block, a linear layer; passages of 64 characters. What counts are bits per character;
n-grams of order 5 with back-off and gzip, which read the same text, are measured in the same run.

Radford, Narasimhan, Salimans, Sutskever 2018, "Improving language understanding by generative
pre-training" (GPT). Su et al. 2021, "RoFormer", arXiv:2104.09864 (rotary positions).
"""

from pynn import nn
from pynn.recipes._language import Language
from pynn.recipes._recipe import Option


class CharLmGpt(Language):
    """Embedding - layers of causal self-attention and two linears - layer norm - linear."""

    epochs = 3
    batch_size = 16
    lr = 3e-3
    width = Option(96, "of the vectors between layers", least=2)
    layers = Option(2, "of attention", least=1)
    heads = Option(4, "of attention in each layer", least=1)
    dropout = Option(0.05, "share of each block's outputs left out in training", least=0.0)

    quick = {"epochs": 2, "width": 32, "most": 40000, "sample": 100}

    def model(self):
        return _Gpt(len(self.text.vocabulary), self)


class _Gpt(nn.Module):
    def __init__(self, classes, options):
        super().__init__()
        C = options.width
        self.embedding = nn.Embedding(classes, C)
        layer = nn.TransformerEncoderLayer(
            C, options.heads, 4 * C, options.dropout, "gelu", norm_first=True, rotary=True
        )
        self.encoder = nn.TransformerEncoder(layer, options.layers, nn.LayerNorm(C))
        self.linear = nn.Linear(C, classes)
        nn.init.normal_(self.embedding.weight, std=0.3)

    def forward(self, ids):
        return self.linear(self.encoder(self.embedding(ids), is_causal=True))
