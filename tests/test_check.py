"""`pynn check`: the table, faults that are found, and what is said where something is missing."""

import json

import numpy as np
import pytest

from pynn import backend, cases, check
from pynn.functional.activation import Relu

has_sim = pytest.mark.skipif(backend.kernel_module("sim") is None, reason="pynn._sim was not built")

USER = """
import numpy as np
from pynn.functional.activation import {base}


class Mine({base}):
    def backward_native(self, dy):
        {wrong}


CASES = {{"mine": [(Mine, [(np.linspace(-2, 2, 40),)])]}}
"""


@has_sim
@pytest.mark.parametrize("family", cases.FAMILIES)
def test_every_family_is_right_under_two_schedules(family):
    """The first schedule, and the one with random threads and random timing."""
    plan = [check.schedules(True)[0], check.schedules(True)[-1]]
    asked = 0
    for op, inputs in cases.FAMILIES[family]():
        for dtype in check.TYPES:
            result = check.check_op(family, op, inputs, dtype, plan)
            assert not result.fault, f"{result.op} {dtype}: {result.fault}"
            asked += result.cases
    assert asked


@has_sim
def test_the_table_and_the_exit_code(capfd):
    assert check.run(["dropout"], every_schedule=True) == 0
    out = capfd.readouterr().out
    assert "dropout" in out
    assert " 9 " in out
    assert out.rstrip().endswith("0 faults")


@has_sim
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("return np.full_like(dy, 3)", "backward: expected"),
        ("self.n = getattr(type(self), 'n', 0); type(self).n = self.n + 1; return dy * self.n", ""),
        ("raise RuntimeError('launch failed')", "RuntimeError: launch failed"),
    ],
)
def test_a_wrong_kernel_of_ones_own_is_found(tmp_path, capfd, wrong, message):
    path = tmp_path / "mine.py"
    path.write_text(USER.format(base="Relu", wrong=wrong))
    assert check.run([str(path)], as_json=True) == 1
    found = json.loads(capfd.readouterr().out)
    assert message in found["faults"][0]


def test_a_wrong_name_is_refused():
    with pytest.raises(ValueError, match=r"\[check\] expected one of activation, .* got 'sofmax'"):
        check.run(["sofmax"])


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(check.shutil, "which", lambda tool, path=None: None)
    with pytest.raises(RuntimeError, match=r"expected cmake, c\+\+.* apt install g\+\+"):
        check.build_variant("race")
    monkeypatch.setitem(backend._modules, "sim", None)
    with pytest.raises(RuntimeError, match=r"\[check\] expected pynn._sim, got none: install a C"):
        check.run()


def test_the_sources_of_the_kernels_are_found():
    root = check.source_root()
    assert (root / "kernels" / "elementwise" / "activation.cu").exists()
    assert Relu.kernel in (root / "kernels" / "elementwise" / "activation.cu").read_text()
    assert np.all([len(check.schedules(every)) == n for every, n in ((False, 1), (True, 9))])
