"""Products and sums named by letters, written with permute, reshape and matmul."""

from pynn.functional.linear import matmul
from pynn.functional.reduce import sum as sum_of
from pynn.functional.shape import permute, reshape


def einsum(equation, *tensors):
    """Einstein's summation: a letter for each axis; letters that are not in the result are summed.

    equation  "ik,kj->ij" (a matrix product), "bhqd,bhkd->bhqk", "ii->i" is not taken
              without "->" the result has the letters that stand once, in alphabetical order
    tensors   one for each term, multiplied from left to right, each pair as one batched matmul

    Raises ValueError if the equation does not fit the shapes or repeats a letter within a term.
    """
    terms, result = _parse(equation, tensors)
    lengths = _lengths(terms, tensors)
    missing = [letter for letter in result if letter not in lengths]
    if missing:
        raise ValueError(
            f"[einsum] expected result letters out of the terms, got {missing[0]!r} in {equation!r}"
        )
    left, x = terms[0], tensors[0]
    for i, (right, y) in enumerate(zip(terms[1:], tensors[1:], strict=True), 1):
        wanted = set(result).union(*terms[i + 1 :])
        left, x = _multiply(left, x, right, y, wanted, lengths)
    return _arranged(*_summed(left, x, set(result)), result)


def _parse(equation, tensors):
    inputs, arrow, result = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    letters = "".join(terms)
    if not arrow:
        result = "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    if len(terms) != len(tensors):
        raise ValueError(
            f"[einsum] expected {len(terms)} tensors for {equation!r}, got {len(tensors)}"
        )
    for term in (*terms, result):
        if len(set(term)) != len(term) or not (term.isalpha() or not term):
            raise ValueError(
                f"[einsum] expected letters that differ within a term, got {term!r} in {equation!r}"
            )
    return terms, result


def _lengths(terms, tensors):
    lengths = {}
    for term, x in zip(terms, tensors, strict=True):
        if len(term) != x.ndim:
            raise ValueError(f"[einsum] {term!r}: expected {len(term)} axes, got shape {x.shape}")
        for letter, n in zip(term, x.shape, strict=True):
            if lengths.setdefault(letter, n) != n:
                raise ValueError(
                    f"[einsum] {letter!r}: expected length {lengths[letter]}, got {n} in {x.shape}"
                )
    return lengths


def _multiply(left, x, right, y, wanted, lengths):
    """The product of two terms, over (shared and kept, only left, only right)."""
    left, x = _summed(left, x, wanted | set(right))
    right, y = _summed(right, y, wanted | set(left))
    batch = [c for c in left if c in right and c in wanted]
    inner = [c for c in left if c in right and c not in wanted]
    rows = [c for c in left if c not in right]
    columns = [c for c in right if c not in left]

    def matrices(term, z, *axes):
        z = _arranged(term, z, [c for group in axes for c in group])
        return reshape(z, *(_size(group, lengths) for group in axes))

    product = matmul(
        matrices(left, x, batch, rows, inner), matrices(right, y, batch, inner, columns)
    )
    letters = batch + rows + columns
    return letters, reshape(product, *(lengths[c] for c in letters))


def _size(letters, lengths):
    size = 1
    for letter in letters:
        size *= lengths[letter]
    return size


def _summed(letters, x, wanted):
    """Without the axes that nobody wants."""
    gone = tuple(i for i, c in enumerate(letters) if c not in wanted)
    return [c for c in letters if c in wanted], sum_of(x, axis=gone) if gone else x


def _arranged(letters, x, order):
    letters = list(letters)
    order = [letters.index(c) for c in order]
    return x if order == list(range(len(order))) else permute(x, *order)
