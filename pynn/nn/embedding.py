"""Embedding: rows of a trained table."""

import pynn.functional as F
from pynn.nn import init
from pynn.nn.linear import check_sizes, empty
from pynn.nn.module import Module


class Embedding(Module):
    """The rows of `weight` that integers name: (...) to (..., embedding_dim).

    weight       (num_embeddings, embedding_dim), normal with mean 0 and variance 1
    padding_idx  a row that is 0 at first and gets no gradient, or None
    """

    shown = ("num_embeddings", "embedding_dim", "padding_idx")

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None):
        super().__init__()
        check_sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(
                f"[Embedding] padding_idx: expected a row of {num_embeddings}, got {padding_idx}"
            )
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_idx
        self.weight = empty(num_embeddings, embedding_dim)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw initial values again."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, index):
        return F.embedding(index, self.weight, self.padding_idx)
