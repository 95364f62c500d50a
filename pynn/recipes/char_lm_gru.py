"""Writes like Python's manual, a character at a time, after reading it with a GRU.

Learnt: how likely each character is to come next. From: the help topics of Python's standard
library, 470,000 characters of English; the last tenth is held out and looked at once, at the end.
How: a vector for each character, one GRU layer, a linear layer; passages of 64 characters, the
gradient clipped at norm 1. What counts are bits per character; n-grams of order 5 with back-off and
gzip, which read the same text, are measured in the same run.

Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder", arXiv:1406.1078.
Graves 2013, "Generating sequences with recurrent neural networks", arXiv:1308.0850.
"""

from pynn import nn
from pynn.recipes._language import RecurrentLanguage


class CharLmGru(RecurrentLanguage):
    """Embedding - GRU - linear."""

    layer = nn.GRU
    epochs = 5
