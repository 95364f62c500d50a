"""Random numbers whose whole state is two integers, the same bits on every backend.

Philox 4x32-10 is a counter-based generator: the n-th number is a function of (seed, n), so a kernel
needs no state and a backward can draw its forward's numbers again instead of storing them. Salmon
et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", SC11.
"""

import numpy as np

_seed, _offset = 0, 0

_M0, _M1 = 0xD2511F53, 0xCD9E8D57  # multipliers
_W0, _W1 = 0x9E3779B9, 0xBB67AE85  # Weyl constants, added to the key each round
_CHUNK = 1 << 15  # blocks drawn at a time on the CPU, so that ten rounds stay in the cache


def manual_seed(seed):
    """Start the stream of random numbers at `seed`, 0 to 2^64 - 1."""
    global _seed, _offset
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"[manual_seed] expected 0 <= seed < 2^64, got {seed}")
    _seed, _offset = int(seed), 0


def get_state() -> tuple[int, int]:
    """(seed, offset): all there is to keep."""
    return _seed, _offset


def set_state(state):
    """Go on from what `get_state` returned."""
    global _seed, _offset
    _seed, _offset = (int(part) for part in state)


def reserve(count) -> tuple[int, int]:
    """(seed, offset) of the next `count` 32-bit numbers, which nobody else will be given.

    An offset counts blocks of four.
    """
    global _offset
    start = _offset
    _offset += -(-int(count) // 4)
    return _seed, start


def generator() -> "np.random.Generator":
    """A NumPy generator of its own, keyed by the stream's next block: for initial weights and
    shuffles on the host.
    """
    seed, offset = reserve(4)
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, offset, 1]))


def philox(seed, offset, count, xp=np):
    """`count` uint32 numbers of the stream `seed` from block `offset` on: Philox 4x32-10.

    Counter words are (block low, block high, 0, 0), the key is (seed low, seed high); number i is
    word i % 4 of block i // 4.
    """
    words = xp.empty((-(-count // 4), 4), xp.uint32)
    step = _CHUNK if xp is np else max(1, len(words))  # a GPU wants all at once
    for start in range(0, len(words), step):
        part = words[start : start + step]
        blocks = xp.arange(start, start + len(part), dtype=xp.uint64) + xp.uint64(offset)
        part[:, 0], part[:, 1], part[:, 2], part[:, 3] = _rounds(seed, blocks, xp)
    return words.reshape(-1)[:count]


def _rounds(seed, blocks, xp):
    """The four words of each block, as uint64."""
    mask, half = xp.uint64(0xFFFFFFFF), xp.uint64(32)
    c0, c1 = blocks & mask, blocks >> half
    c2, c3 = xp.zeros_like(blocks), xp.zeros_like(blocks)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0, p1 = c0 * xp.uint64(_M0), c2 * xp.uint64(_M1)
        c0 = p1 >> half
        c0 ^= c1
        c0 ^= xp.uint64(k0)
        c2 = p0 >> half
        c2 ^= c3
        c2 ^= xp.uint64(k1)
        p0 &= mask
        p1 &= mask
        c1, c3 = p1, p0
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniform(seed, offset, count, xp=np):
    """`count` float32 numbers in [0, 1): the upper 24 bits of each Philox word."""
    return (philox(seed, offset, count, xp) >> xp.uint32(8)).astype(xp.float32) * xp.float32(
        2.0**-24
    )
