"""Which variant of a hand-written kernel runs, where a family has several.

    pynn.kernels.variants("gemm")          every name that may be preferred
    with pynn.kernels.prefer("gemm", "sm80_64x64"): ...

The choice itself is the kernel's: choose() in csrc/kernels/<family>. A preference overrides it
wherever the arrays fit that variant; where they do not, the next simpler one runs.
"""

# As csrc/kernels/gemm/variants.h numbers them: a rung alone leaves the tile to choose(), a tile
# alone whether K is cut.
_LADDER = {
    "simt": 10,
    "simt_128x128": 11,
    "simt_64x64": 12,
    "sm80": 20,
    "sm80_128x128": 21,
    "sm80_64x64": 22,
    "sm90": 30,
    "sm90_128x256": 31,
    "sm90_128x128": 32,
}
_VARIANTS = {
    "gemm": _LADDER
    | {"sm90_128x192": 33, "sm90_128x64": 34}
    | {"sm90_128x256_stream": 35, "sm90_128x128_stream": 36}
    | {"sm90_128x192_stream": 37, "sm90_128x64_stream": 38},
    "conv": _LADDER,
}

_preferred = dict.fromkeys(_VARIANTS, 0)
_tf32 = False


def variants(family) -> tuple[str, ...]:
    """The names of the family's variants, simplest first. Raises ValueError for no such family."""
    if family not in _VARIANTS:
        raise ValueError(f"[variants] family: expected one of {tuple(_VARIANTS)}, got {family!r}")
    return tuple(_VARIANTS[family])


class prefer:  # noqa: N801  (reads as a statement)
    """Prefer one variant of a family to choose()'s, or with None leave it to choose() again.

    Takes effect at once and for the whole process; used in a `with`, the former preference comes
    back at its end. Raises ValueError for another family or variant.
    """

    def __init__(self, family, variant):
        names = variants(family)
        if variant is not None and variant not in names:
            raise ValueError(f"[prefer] variant: expected one of {names} or None, got {variant!r}")
        self.family, self.former = family, _preferred[family]
        _preferred[family] = _VARIANTS[family].get(variant, 0)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        _preferred[self.family] = self.former


def preferred(family) -> int:
    """The number of the preferred variant, as the launchers take it; 0 without one."""
    return _preferred[family]


def set_float32_matmul_precision(precision):
    """How kernels multiply float32 matrices.

    precision  "highest", float32 throughout (the default); or "tf32", on tensor cores with
               operands rounded to 10 bits of mantissa and sums in float32

    Raises ValueError for another word.
    """
    global _tf32
    if precision not in ("highest", "tf32"):
        raise ValueError(
            "[set_float32_matmul_precision] precision: "
            f'expected "highest" or "tf32", got {precision!r}'
        )
    _tf32 = precision == "tf32"


def get_float32_matmul_precision() -> str:
    """ "highest" or "tf32"."""
    return "tf32" if _tf32 else "highest"
