"""Writes like Python's manual, a character at a time, after reading it with an LSTM.

Learnt: how likely each character is to come next. From: the help topics of Python's standard
library, 470,000 characters of English; the last tenth is held out and looked at once, at the end.
How: a vector for each character, one LSTM layer, a linear layer; passages of 64 characters, the
gradient clipped at norm 1. What counts are bits per character; n-grams of order 5 with back-off and
gzip, which read the same text, are measured in the same run.

Hochreiter, Schmidhuber 1997, "Long short-term memory".
Graves 2013, "Generating sequences with recurrent neural networks", arXiv:1308.0850.
"""

from pynn import nn
from pynn.recipes._language import RecurrentLanguage


class CharLmLstm(RecurrentLanguage):
    """Embedding - LSTM - linear."""

    layer = nn.LSTM
    epochs = 8
