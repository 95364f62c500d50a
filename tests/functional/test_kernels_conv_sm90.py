"""Convolution on Hopper in the simulator: the windows as TMA's im2col mode takes them, its limits,
and the edges that only these kernels have: blocks of 64 channels, tiles that span taps, phases.
Bit for bit on small integers, whose sums are exact in any order.
"""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pynn import backend, kernels
from pynn.functional.conv import dgrad, fprop, wgrad
from pynn.functional.window import Geometry

_sim = backend.kernel_module("sim")
pytestmark = pytest.mark.skipif(_sim is None, reason="pynn was built without pynn._sim")

F16, BF16, F64 = np.float16, ml_dtypes.bfloat16, np.float64
STAGE = {"sm90_128x256": 64 << 10, "sm90_128x128": 32 << 10, "narrow": 24 << 10}  # read for one
TILES = ["sm90_128x256", "sm90_128x128"]  # of which the second is narrow up to 64 columns
GUARD = 64


@pytest.fixture(autouse=True)
def ordinary_schedule():
    yield
    if _sim is not None:
        _sim.set_schedule("ascending", "now", 1)


class Problem:
    """Arrays of small integers; a result is NaN before, and nothing around it may be written."""

    def __init__(self, N, H, W, C, K, kernel, stride=1, pad=0, dilation=1, groups=1, dtype=BF16):
        pairs = [(n, n) if isinstance(n, int) else n for n in (stride, pad, dilation)]
        self.numbers = pairs
        self.geometry = Geometry(pairs[0], tuple((n, n) for n in pairs[1]), pairs[2])
        self.size, self.groups = self.geometry.output_size((H, W), kernel), groups
        draw = np.random.default_rng(H + 7 * W + 31 * C + K)
        shapes = (N, H, W, C), (K, *kernel, C // groups), (N, *self.size, K), (K,)
        self.x, self.w, self.dy, self.b = (draw.integers(-2, 3, s).astype(dtype) for s in shapes)

    def wanted(self, a_pass):
        x, w, dy = (a.astype(F64) for a in (self.x, self.w, self.dy))
        if a_pass == "fprop":
            exact = fprop(x, w, self.size, self.geometry, self.groups) + self.b.astype(F64)
        elif a_pass == "dgrad":
            exact = dgrad(dy, w, x.shape, self.geometry, self.groups)
        else:
            exact = wgrad(x, dy, w.shape, self.geometry, self.groups)
        return exact.astype(self.x.dtype)

    def got(self, a_pass, variant, room=0, shift=0):
        """The result; `shift` elements from where it would be aligned, it does not leave by TMA."""
        inputs, like = {
            "fprop": ((self.x, self.w, self.b), self.dy),
            "dgrad": ((self.dy, self.w, np.empty(0, self.x.dtype)), self.x),
            "wgrad": ((self.x, self.dy), self.w),
        }[a_pass]
        around = np.full(like.size + 2 * GUARD, np.nan, like.dtype)
        begin, end = GUARD + shift, GUARD + shift + like.size
        out = around[begin:end].reshape(like.shape)
        number = kernels._VARIANTS["conv"][variant] if variant else 0
        workspace = np.full(room, np.nan, np.float32)
        launcher = getattr(_sim, f"conv_{a_pass}")
        launcher(*inputs, out, workspace, *self.numbers, number, False)
        assert np.isnan(np.r_[around[:begin], around[end:]].astype(np.float32)).all()
        return out

    def check(self, variant, room=0, passes=("fprop", "dgrad", "wgrad")):
        for a_pass in passes:
            got = self.got(a_pass, variant, room)
            np.testing.assert_array_equal(got, self.wanted(a_pass), f"{a_pass} {variant}")


CASES = {
    "channels off 64": (1, 9, 8, 72, 136, (3, 2), 2, 1),
    "columns beyond a wide tile": (1, 3, 3, 8, 264, (2, 2)),
    "a tile spans taps and is narrow": (2, 6, 5, 16, 24, (3, 3), 1, 1),
    "windows beyond a cluster": (1, 16, 17, 8, 8, (3, 3), 1, 1),
    "phases of unlike length": (2, 7, 9, 64, 64, (3, 3), 2, 1),
    "phases without a tap": (1, 7, 7, 24, 40, (1, 1), 2),
    "stride with dilation": (1, 11, 10, 16, 16, (5, 3), (3, 2), (2, 0), (1, 2)),
    "stride 8": (1, 17, 16, 8, 16, (3, 3), 8, 1),
    "a line, dilated": (1, 1, 40, 24, 16, (1, 7), 1, (0, 9), (1, 3)),
    "negative padding of dgrad": (1, 3, 3, 8, 8, (2, 2), 1, 3),
    "columns beyond the last tap, far apart": (1, 130, 1, 8, 8, (2, 1), 1, 0, (120, 1)),
    "groups of 64": (1, 6, 6, 128, 128, (3, 3), (1, 2), (2, 1), (2, 1), 2),
}


@pytest.mark.parametrize("variant", TILES)
@pytest.mark.parametrize("name", CASES)
def test_exact_on_integers(name, variant):
    Problem(*CASES[name]).check(variant)


@pytest.mark.parametrize("variant", TILES)
def test_results_that_are_not_aligned(variant):
    for name in ("channels off 64", "a tile spans taps and is narrow", "groups of 64"):
        problem = Problem(*CASES[name])
        for a_pass in ("fprop", "dgrad"):
            got = problem.got(a_pass, variant, shift=1)
            np.testing.assert_array_equal(got, problem.wanted(a_pass))


@pytest.mark.parametrize("schedule", [("descending", "late"), ("random", "random")])
def test_every_schedule(schedule):
    _sim.set_schedule(*schedule, 3)
    for name in ("a tile spans taps and is narrow", "phases of unlike length", "groups of 64"):
        for variant in TILES:
            Problem(*CASES[name], dtype=F16).check(variant)


def test_split_k():
    """A second launch adds the parts, whose stages begin at any tap and any block of channels."""
    problem = Problem(2, 24, 23, 120, 120, (3, 3), 1, 1)
    _sim.reset_counters()
    problem.check("sm90_128x128", room=1 << 19)
    assert _sim.counters()["launches"] == 6
    problem.check("sm90_128x256", room=1 << 19, passes=("wgrad",))


def moved(problem, a_pass, variant):
    """Bytes that were loaded by TMA."""
    _sim.reset_counters()
    problem.got(a_pass, variant, shift=1)
    return _sim.counters()["async_bytes"]


def test_stages():
    """A stage for each tap and 64 channels, or 64 windows; two CTAs of wide tiles share B."""
    problem = Problem(1, 10, 9, 72, 136, (3, 2), 1, 1)  # 100 windows of 6 taps
    for a_pass, tiles, steps in (("fprop", 2, 12), ("dgrad", 1, 18), ("wgrad", 2 * 6, 2)):
        assert moved(problem, a_pass, "sm90_128x128") == tiles * steps * STAGE["sm90_128x128"]
    for a_pass, tiles, steps in (("fprop", 1, 12), ("dgrad", 1, 18), ("wgrad", 3, 2)):
        assert moved(problem, a_pass, "sm90_128x256") == tiles * steps * STAGE["sm90_128x256"]
    assert moved(Problem(1, 4, 4, 64, 64, (3, 3)), "fprop", "sm90") == 9 * STAGE["narrow"]


def test_no_stage_multiplies_a_tap_that_a_phase_lacks():
    """3 x 3 with stride 2 has phases of 4, 2, 2 and 1 taps: 9 in all, as many as without stride."""
    problem = Problem(1, 8, 8, 64, 128, (3, 3), 2, 1)
    assert moved(problem, "dgrad", "sm90_128x128") == 9 * 2 * STAGE["narrow"]


def test_what_im2col_does_not_take_runs_on_sm80():
    beyond = [
        Problem(1, 1, 300, 8, 8, (1, 3), 1, 0, (1, 130)),  # taps further than 255 pixels
        Problem(1, 1, 9, 8, 8, (1, 1), 1, (0, 129)),  # windows further than 128 outside
        Problem(1, 20, 20, 8, 8, (3, 3), 9, 1),  # a stride beyond 8
        Problem(1, 6, 6, 96, 96, (3, 3), 1, 1, 1, 2),  # 48 channels of a group; wgrad can
    ]
    for problem in beyond:
        problem.check("sm90")
        for a_pass in ("fprop", "dgrad"):
            assert moved(problem, a_pass, "sm90") == moved(problem, a_pass, "sm80")
    assert moved(beyond[3], "wgrad", "sm90") > moved(beyond[3], "wgrad", "sm80")


def test_unasked_from_half_a_wave_on():
    large = Problem(1, 183, 183, 64, 72, (1, 1), 2)  # 92 x 92 windows: 67 tiles
    assert moved(large, "fprop", None) == 67 * STAGE["sm90_128x128"]
    np.testing.assert_array_equal(large.got("fprop", None), large.wanted("fprop"))
    small = Problem(1, 64, 64, 64, 72, (1, 1), 2)
    assert moved(small, "fprop", None) == moved(small, "fprop", "sm80")
    zeros = Problem(1, 183, 183, 32, 72, (1, 1), 2)  # half of each stage would be
    assert moved(zeros, "fprop", None) == moved(zeros, "fprop", "sm80")


def test_a_group_sees_nothing_of_its_neighbours():
    problem = Problem(1, 4, 4, 128, 128, (3, 3), 1, 1, 1, 2)
    first = {"fprop": np.s_[..., :64], "dgrad": np.s_[..., :64], "wgrad": np.s_[:64]}
    wanted = {a_pass: problem.wanted(a_pass)[group] for a_pass, group in first.items()}
    problem.x[..., 64:], problem.w[64:], problem.dy[..., 64:] = np.nan, np.inf, np.nan
    for a_pass, group in first.items():
        np.testing.assert_array_equal(problem.got(a_pass, "sm90")[group], wanted[a_pass])


@st.composite
def problems(draw):
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 4)))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    pad = draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    least = [max((k - 1) * d + 1 - 2 * p, 1) for k, d, p in zip(kernel, dilation, pad, strict=True)]
    H, W = (n + draw(st.integers(0, 8)) for n in least)
    C, K = draw(st.integers(1, 10)) * 8, draw(st.integers(1, 10)) * 8
    return Problem(draw(st.integers(1, 2)), H, W, C, K, kernel, stride, pad, dilation)


@given(problems(), st.sampled_from(TILES))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_any_convolution(problem, variant):
    problem.check(variant)
