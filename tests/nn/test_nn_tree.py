"""Tree LSTMs: cells by their definition, forests against recursion, chains against the LSTM."""

import numpy as np
import pytest

import pynn
from pynn import nn
from pynn.nn.tree import heights_of
from pynn.testing import gradcheck

NAMES = ("weight_ih", "weight_hh", "bias")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def child_sum(cell, x, states):
    """One node by the definition."""
    w, u, b = (p.numpy() for p in (cell.weight_ih, cell.weight_hh, cell.bias))
    (wi, wf, wg, wo), (ui, uf, ug, uo), (bi, bf, bg, bo) = (np.split(a, 4) for a in (w, u, b))
    h = sum((h for h, _ in states), np.zeros(cell.hidden_size))
    i, g, o = sigmoid(wi @ x + ui @ h + bi), np.tanh(wg @ x + ug @ h + bg), 0
    o = sigmoid(wo @ x + uo @ h + bo)
    c = i * g + sum(sigmoid(wf @ x + uf @ h_k + bf) * c_k for h_k, c_k in states)
    return o * np.tanh(c), c


def nary(cell, x, states):
    w, u, b = (p.numpy() for p in (cell.weight_ih, cell.weight_hh, cell.bias))
    H, K = cell.hidden_size, cell.arity
    zero = np.zeros(H)
    states = states + [(zero, zero)] * (K - len(states))
    (zi, zf, zg, zo), past = np.split(w @ x + b, 4), u @ np.concatenate([h for h, _ in states])
    i, *f, g, o = np.split(past, K + 3)
    c = sigmoid(zi + i) * np.tanh(zg + g)
    c = c + sum(sigmoid(zf + f_k) * c_k for f_k, (_, c_k) in zip(f, states, strict=True))
    return sigmoid(zo + o) * np.tanh(c), c


def forest(M, K, seed):
    """Children of lower number than their parents, each with one parent, then shuffled."""
    rng = np.random.default_rng(seed)
    children, free = np.full((M, K), -1), []
    for node in range(M):
        for k in range(min(K, len(free), rng.integers(0, K + 1))):
            children[node, k] = free.pop(rng.integers(len(free)))
        free.append(node)
    names = rng.permutation(M)
    moved = np.full((M, K), -1)
    moved[names] = np.where(children < 0, -1, names[children])
    return moved


@pytest.mark.parametrize("kind", ["child_sum", "binary", "ternary"])
def test_a_forest_is_its_recursion(kind):
    cell = nn.ChildSumTreeLSTMCell(3, 4)
    if kind != "child_sum":
        cell = nn.NaryTreeLSTMCell(3, 4, 2 if kind == "binary" else 3)
    node = child_sum if kind == "child_sum" else nary
    tree = nn.TreeLSTM(cell).double()
    for M in (1, 2, 40):
        children = forest(M, cell.children or 3, seed=M)
        x = np.random.default_rng(M).standard_normal((M, 3))

        def state(i, x=x, children=children):
            return node(cell, x[i], [state(k) for k in children[i] if k >= 0])

        h, c = tree(pynn.tensor(x), children)
        wanted = [state(i) for i in range(M)]
        np.testing.assert_allclose(h.numpy(), [s[0] for s in wanted], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(c.numpy(), [s[1] for s in wanted], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", [nn.ChildSumTreeLSTMCell(2, 2), nn.NaryTreeLSTMCell(2, 2)])
def test_gradients(cell):
    tree = nn.TreeLSTM(cell.double())
    children = np.array([[1, 2], [-1, -1], [3, -1], [-1, -1]])
    x = pynn.randn(4, 2, dtype="float64")
    gradcheck(lambda x: tree(x, children)[0], x)
    weights = [p.detach() for p in cell.parameters()]

    def with_weights(*values):
        for name, value in zip(dict(cell.named_parameters()), values, strict=True):
            object.__setattr__(cell, name, value)
        return tree(x, children)

    gradcheck(with_weights, *weights)


def test_a_chain_is_an_lstm():
    lstm, cell = nn.LSTM(3, 4).double(), nn.ChildSumTreeLSTMCell(3, 4).double()
    cell.weight_ih.data, cell.weight_hh.data = lstm.weight_ih_l0.data, lstm.weight_hh_l0.data
    cell.bias.data = lstm.bias_ih_l0.data + lstm.bias_hh_l0.data
    x = pynn.randn(6, 3, dtype="float64")
    h, _ = nn.TreeLSTM(cell)(x, np.arange(-1, 5)[:, None])
    np.testing.assert_allclose(h.numpy(), lstm(x)[0].numpy(), rtol=1e-12)


def test_an_empty_forest_and_leaves_alone():
    tree = nn.TreeLSTM(nn.NaryTreeLSTMCell(3, 4))
    assert tree(pynn.zeros(0, 3), np.zeros((0, 2), int))[0].shape == (0, 4)
    x = pynn.randn(5, 3)
    h, c = tree(x, np.full((5, 2), -1))
    one, _ = tree.cell(x[:1], pynn.zeros(1, 2, 4), pynn.zeros(1, 2, 4))
    np.testing.assert_allclose(h.numpy()[:1], one.numpy(), atol=1e-6)
    assert heights_of(np.array([[1, 2], [-1, -1], [3, -1], [-1, -1]])).tolist() == [2, 0, 1, 0]


def test_errors_name_what_was_expected_and_got():
    tree, x = nn.TreeLSTM(nn.NaryTreeLSTMCell(3, 4)), pynn.zeros(2, 3)
    cases = [
        (ValueError, r"children: expected shape \(2, 2\), got \(2, 1\)", [[1], [-1]]),
        (ValueError, r"expected trees, got a node that is its own descendant", [[1, -1], [0, -1]]),
        (IndexError, r"expected numbers in \[-1, 2\), got 2", [[2, -1], [-1, -1]]),
        (TypeError, r"children: expected integers, got float64", [[0.5, 1], [1, 1]]),
    ]
    for error, text, children in cases:
        with pytest.raises(error, match=text):
            tree(x, children)
    with pytest.raises(ValueError, match=r"h: expected shape \(2, 2, 4\), got \(2, 3, 4\)"):
        tree.cell(x, pynn.zeros(2, 3, 4), pynn.zeros(2, 2, 4))
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 3\), got \(2, 4\)"):
        tree.cell(pynn.zeros(2, 4), pynn.zeros(2, 2, 4), pynn.zeros(2, 2, 4))


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["child_sum", "binary", "ternary"])
def test_agrees_with_the_recursion_in_pytorch(torch, kind):
    """Forward and gradients, of the inputs and of all weights."""
    cell = nn.ChildSumTreeLSTMCell(3, 4)
    if kind != "child_sum":
        cell = nn.NaryTreeLSTMCell(3, 4, 2 if kind == "binary" else 3)
    tree, K = nn.TreeLSTM(cell).double(), cell.children or 3
    children = forest(17, K, seed=3)
    x = pynn.randn(17, 3, dtype="float64")
    ours = [x.requires_grad_(), *cell.parameters()]
    theirs = [torch.tensor(a.numpy(), requires_grad=True) for a in ours]
    inputs, *weights = theirs
    w, u, b = (dict(zip(dict(cell.named_parameters()), weights, strict=True))[n] for n in NAMES)

    def state(node):
        zi, zf, zg, zo = (w @ inputs[node] + b).chunk(4)
        below = [state(k) for k in children[node] if k >= 0]
        none = torch.zeros(4, dtype=torch.float64)
        hs, cs = ([s[j] for s in below] + [none] * (K - len(below)) for j in (0, 1))
        if kind == "child_sum":
            ui, uf, ug, uo = u.chunk(4)
            i, g, o = ui @ sum(hs), ug @ sum(hs), uo @ sum(hs)
            f = [uf @ h for h in hs]
        else:
            i, *f, g, o = (u @ torch.cat(hs)).chunk(K + 3)
        c = torch.sigmoid(zi + i) * torch.tanh(zg + g)
        c = c + sum(torch.sigmoid(zf + f_k) * c_k for f_k, c_k in zip(f, cs, strict=True))
        return torch.sigmoid(zo + o) * torch.tanh(c), c

    wanted = torch.stack([state(i)[0] for i in range(17)])
    got, _ = tree(x, children)
    np.testing.assert_allclose(got.numpy(), wanted.detach().numpy(), rtol=1e-10, atol=1e-12)
    dy = np.random.default_rng(0).standard_normal(got.shape)
    got.backward(pynn.tensor(dy))
    wanted.backward(torch.tensor(dy))
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our.grad.numpy(), their.grad.numpy(), rtol=1e-9, atol=1e-12)
