"""How many threads matrix products on the CPU use."""

import contextlib
import ctypes

import numpy as np

_PREFIXES, _SUFFIXES = ("scipy_openblas", "openblas"), ("64_", "")  # of NumPy's wheels and others


@contextlib.contextmanager
def blas_threads(count: int | None):
    """In this block OpenBLAS, which NumPy's wheels bring, uses `count` threads; None: no change.

    Small networks want one: a product of 64 x 64 is done before a second thread has woken, and
    where other programs are busy the two wait for each other. Yields whether the library was
    found; NumPy over another BLAS goes by that library's own settings.
    """
    get, set_ = (None, None) if count is None else _functions()
    if get is None:
        yield False
        return
    former = get()
    set_(count)
    try:
        yield True
    finally:
        set_(former)


def _functions():
    """OpenBLAS's reader and setter of its number of threads, (None, None) without OpenBLAS."""
    try:
        library = ctypes.CDLL(np._core._multiarray_umath.__file__)  # and what it is linked to
    except (AttributeError, OSError):
        return None, None
    for prefix in _PREFIXES:
        for suffix in _SUFFIXES:
            get = getattr(library, f"{prefix}_get_num_threads{suffix}", None)
            set_ = getattr(library, f"{prefix}_set_num_threads{suffix}", None)
            if get is not None and set_ is not None:
                return get, set_
    return None, None
