"""The harness: wrong results are refused, absent peers are named, formulae are right."""

import json
import math
import re
import time

import numpy as np
import pytest

from bench import case as cases
from bench import libraries, run, small_shapes, table, verify
from bench.__main__ import _variants, main
from pynn import backend, kernels

FAST = run.Plan(peers=(), seconds=0.002)


def row_of(case, plan=FAST, direction="forward", peers=None, absent=None, dtype="float32"):
    return run._row(
        case, direction, dtype, plan.variants[0], plan, peers or {}, absent or {}, LIMITS
    )


LIMITS = {"memory": 1e10, "matrix": {"float32": 1e11}}


def gelu(wrong=0.0):
    """gelu of 8 x 16, or, of float32 alone, something else."""

    def function(F, x):
        y = F.gelu(x)
        return y if x.dtype == np.float64 else y * (1 + wrong)

    return cases.Case(
        op="gelu",
        shape="8x16",
        run=function,
        torch=lambda F, x: F.gelu(x),
        inputs=lambda: [cases.normal(8, 16)],
        elements={"forward": 2 * 128, "backward": 3 * 128},
        flops={"forward": 128, "backward": 128},
    )


def test_a_row_has_its_figures():
    row = row_of(gelu()) | {"op": "gelu", "pass": "forward", "shape": "8x16", "dtype": "float32"}
    assert row["bytes"] == 2 * 8 * 16 * 4
    assert row["flops"] == 128
    assert row["us"]["p10"] <= row["us"]["p50"] <= row["us"]["p90"]
    assert row["gb_s"] == pytest.approx(1024 / row["us"]["p50"] / 1e3)
    assert row["of_peak"] == pytest.approx(row["gb_s"] / 10)
    assert row["error"] < 1e-6
    for key in ("device", "driver", "versions", "commit", "date", "command", "threads"):
        assert key in row
    json.dumps(row)
    assert "gelu" in table.line(row)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_wrong_result_is_refused_and_not_timed(direction):
    row = row_of(gelu(wrong=0.01), direction=direction)
    assert "expected an error below 0.001, got 0.01" in row["refused"]
    assert "us" not in row
    about = {"op": "gelu", "pass": direction, "shape": "8x16", "dtype": "float32"}
    assert "REFUSED" in table.line(row | about)


def test_a_case_that_raises_is_refused_with_its_words():
    broken = gelu()
    object.__setattr__(broken, "run", lambda F, x: F.gelu(x, approximate="no"))
    assert "[gelu] approximate: expected" in row_of(broken)["refused"]


def test_kernels_that_should_run_and_do_not_are_skipped_with_the_reason():
    row = row_of(gelu(), run.Plan(peers=(), variants=("native",)))
    assert row["skipped"].startswith("no kernel ran: gelu: array on the CPU")
    about = {"op": "gelu", "pass": "forward", "shape": "8x16", "dtype": "float32"}
    assert "us" not in row and "no kernel ran" in table.line(row | about)


@pytest.mark.skipif(backend.kernel_module("sim") is None, reason="pynn was built without pynn._sim")
def test_the_kernels_of_a_case_are_named_and_a_variant_is_preferred():
    (case,) = [c for c in run.family_cases("activation", "tiny") if c.op == "silu"]
    facts, _ = run.verified(libraries.Pynn("cpu", "sim"), case, "backward", "float32")
    assert facts["kernels"] == ["silu_bwd", "silu_fwd"] and "refused" not in facts
    library = libraries.Pynn("cpu", "gemm:simt")
    with library.ready():
        assert kernels.preferred("gemm") > 0
    assert kernels.preferred("gemm") == 0
    with pytest.raises(ValueError, match=r"\[bench\] variant: expected one of reference, .*'best'"):
        libraries.Pynn("cpu", "best")
    assert "gemm:simt_64x64" in _variants(["reference", "gemm:all"])


def test_a_peer_that_is_absent_is_named_with_the_reason(monkeypatch):
    find = libraries.importlib.util.find_spec
    monkeypatch.setattr(
        libraries.importlib.util, "find_spec", lambda name: None if name == "torch" else find(name)
    )
    found, absent = libraries.find(("torch", "cupy"), "cpu")
    assert found == {}
    assert absent["torch"] == "PyTorch is not installed"
    assert absent["cupy"]
    assert row_of(gelu(), absent=absent)["absent"] == absent
    with pytest.raises(ValueError, match=r"\[bench\] peer: expected one of torch, .*got 'jax'"):
        libraries.find(("jax",), "cpu")


def test_a_peer_that_fails_or_is_wrong_is_named_and_the_row_stands():
    class Failing(libraries.Pynn):
        def function(self, case):
            raise OSError("no such thing\nsecond line")

    class Wrong(libraries.Pynn):
        def function(self, case):
            return lambda x: x

    peers = {"failing": Failing("cpu"), "wrong": Wrong("cpu")}
    row = row_of(gelu(), peers=peers)
    assert row["absent"]["failing"] == "failed: OSError: no such thing"
    assert row["absent"]["wrong"].startswith("refused, its result is wrong")
    assert row["us"]["p50"] > 0 and row["peers"] == {}


@pytest.mark.oracle
def test_pytorch_as_a_peer(torch):
    row = row_of(gelu(), peers={"torch": libraries.Torch("cpu")}, direction="backward")
    assert row["peers"]["torch"]["speedup"] > 0
    assert row["peers"]["torch"]["error"] < 1e-6


def test_errors_count_inf_nan_and_shapes():
    truth = [np.array([1.0, np.inf, np.nan])]
    assert verify.fault(truth, truth, "float32") == (0.0, "")
    assert "2 others" in verify.fault([np.array([1.0, 1.0, 0.0])], truth, "float32")[1]
    assert "1 others" in verify.fault([np.array([np.nan])], [np.array([0.0])], "float32")[1]
    assert "expected shape (3,), got (1,)" in verify.fault([np.ones(1)], truth, "float32")[1]
    assert "expected 1 results, got 2" in verify.fault(truth * 2, truth, "float32")[1]


def test_a_kernel_is_held_to_twice_the_error_of_the_reference():
    t = np.linspace(1, 2, 100)
    reference, kernel = t * (1 + 1e-7), t * (1 + 1e-5)
    assert verify.fault([kernel], [t], "float32")[1] == ""
    assert "twice the reference's error" in verify.fault([kernel], [t], "float32", [reference])[1]


def test_limits_of_the_device():
    assert run.limit(LIMITS, 10**10, 0, "float32") == (1.0, "memory")
    assert run.limit(LIMITS, 10**9, 10**11, "float32") == (1.0, "matrix")
    assert run.limit({}, 10**9, 0, "float32") == (None, "")
    assert run.limit(LIMITS, 10**9, 10**11, "bfloat16") == (None, "")


@pytest.mark.parametrize("scale", cases.SCALES)
def test_every_family_has_cases(scale):
    assert {"activation", "conv", "linear", "norm", "optim", "softmax"} <= set(run.families())
    for name in run.families():
        found = run.family_cases(name, scale)
        assert found, name
        keys = [(c.op, c.shape) for c in found]
        assert len(keys) == len(set(keys)), name
        for case in found:
            for direction in case.passes:
                assert case.bytes(direction, 2) >= 0.4 * case.bytes(direction, 4) > 0
                assert case.flops[direction] >= 0


def test_formulae_of_known_shapes():
    cases_of_linear = run.family_cases("linear", "full")
    (linear,) = [c for c in cases_of_linear if (c.op, c.shape) == ("linear", "8192x3072x768")]
    assert linear.flops["wgrad"] == 2 * 8192 * 3072 * 768
    assert linear.bytes("forward", 2) == 2 * (8192 * 768 + 3072 * 768 + 8192 * 3072)
    convolutions = [c for c in run.family_cases("conv", "full") if c.op == "conv2d"]
    first = convolutions[0]
    assert first.flops["forward"] == 2 * 128 * 112 * 112 * 64 * 7 * 7 * 3
    assert len(convolutions) == 23
    (adam,) = [c for c in run.family_cases("optim", "full") if c.op == "adam"]
    assert adam.size == 124_439_808  # GPT-2's own count
    assert adam.bytes("step", 4) == 28 * adam.size
    assert adam.bytes("step", 2) == 28 * adam.size


def test_tiny_cases_of_every_family_are_right_in_every_dtype():
    for name in run.families():
        for case in run.family_cases(name, "tiny"):
            for direction in case.passes:
                for dtype in ("float32", "bfloat16"):
                    facts, _ = run.verified(libraries.Pynn("cpu"), case, direction, dtype)
                    assert "refused" not in facts, (name, case.op, direction, dtype, facts)
                    assert math.isfinite(facts["error"])


@pytest.mark.skipif(backend.kernel_module("sim") is None, reason="pynn was built without pynn._sim")
@pytest.mark.parametrize("how", ["--launch", "--reference"])
def test_small_shapes_name_what_is_wrong(how, capsys, monkeypatch):
    words = ["softmax", how]
    assert small_shapes.main(words, "cpu") == 0
    assert "0 wrong" in capsys.readouterr().out
    monkeypatch.setattr(run, "family_cases", lambda name, scale: [gelu(wrong=0.1)])
    monkeypatch.setattr(small_shapes, "_launch", lambda *case: "no launch")
    assert small_shapes.main(words, "cpu") == 1
    shown = capsys.readouterr().out
    assert "gelu forward 8x16 float32" in shown
    monkeypatch.setattr(small_shapes.device, "alive", lambda kind: False)
    assert small_shapes.main(["softmax", "linear", "norm", how], "cpu") == small_shapes.LOST
    assert "not asked: linear norm" in capsys.readouterr().out


def test_a_row_that_takes_too_long_is_given_to_the_last_word():
    slow = gelu()
    object.__setattr__(slow, "inputs", lambda: time.sleep(0.2) or [cases.normal(8, 16)])
    given = []
    plan = run.Plan(peers=(), seconds=0.002, limit=0.05)
    start = {"op": "gelu"}
    with run._limited(plan, start, given.append):
        row_of(slow, plan)
    assert given[0]["refused"] == "expected an answer within 0.05 s, got none"
    with run._limited(run.Plan(limit=30), start, given.append):
        pass  # in time
    assert len(given) == 1


def test_a_lost_device_ends_the_rows_behind_the_one_that_lost_it(monkeypatch):
    monkeypatch.setattr(run.devices, "alive", lambda device: False)
    monkeypatch.setattr(run, "family_cases", lambda name, scale: [gelu(wrong=0.1), gelu()])
    found = []
    with pytest.raises(run.LostDeviceError, match="expected an error below"):
        for row in run.rows(["activation"], "tiny", FAST):
            found.append(row)
    assert len(found) == 1 and "refused" in found[0]


def test_a_row_names_its_commit_without_git_too(monkeypatch):
    assert re.fullmatch(r"[0-9a-f]{7,}\+?", run.commit() or "0123456")  # outside git there is none
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("PYNN_COMMIT", "abcdef0")
    assert run.commit() == "abcdef0"


def test_the_command(tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    words = ["embedding", "--quick", "--peer", "none", "--seconds", "0.01", "--json", str(out)]
    assert main(words) == 0
    rows = run.load([out])
    asked = [(r["op"], r["pass"]) for r in rows]
    both = [(op, way) for op in ("embedding", "rotary") for way in ("forward", "backward")]
    assert asked == [*both[:2], ("one_hot", "forward"), *both[2:]]
    assert rows[0]["command"].startswith("python -m bench")
    assert "embedding" in capsys.readouterr().out
    assert main([*words, "--resume"]) == 0
    assert run.load([out]) == rows
    with pytest.raises(ValueError, match=r"\[bench\] family: expected one of activation, .*'nope'"):
        main(["nope"])
    assert main(["pool", "--list", "--device", "cpu"]) == 0
    listed = capsys.readouterr().out
    assert "max_pool2d" in listed and "absent" in listed


def test_a_file_that_holds_no_rows_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"op": "gelu"}\nnot json\n')
    with pytest.raises(ValueError, match=r"rows.jsonl:2: expected a line of JSON, got 'not json"):
        run.load([path])


@pytest.mark.skipif(backend.kernel_module("sim") is None, reason="pynn was built without pynn._sim")
def test_the_model_of_matrix_products(capsys):
    from bench.model import MHZ, opinions

    rows = opinions(4096, 4096, 4096, 0, "bfloat16")
    assert len(rows) == 8
    assert [row["chosen"] for row in rows] == [1] + 7 * [0]
    assert min(row["clocks"] for row in rows) == rows[0]["clocks"]
    tensor_cores = 2 * 4096**3 / (132 * 4096 * MHZ)  # us at two thousand multiply-adds a clock
    assert tensor_cores < rows[0]["clocks"] / MHZ < 1.2 * tensor_cores
    few = opinions(64, 64, 65536, 0, "bfloat16")[0]
    assert few["splits"] > 1
    assert few["work"] <= 132
    assert opinions(2304, 768, 8192, 2, "bfloat16")[0]["splits"] == 0  # stream-K
    odd = opinions(1023, 1025, 1027, 0, "bfloat16")  # lines that sm80 takes element by element
    assert sorted(row["number"] for row in odd) == [11, 12, 22]
    assert odd[0]["number"] == 22

    half = opinions(4096, 4096, 4096, 0, "fp8")[0]
    assert 0.5 * rows[0]["clocks"] < half["clocks"] < 0.6 * rows[0]["clocks"]

    assert main(["gemm", "--model", "--quick", "--dtype", "bfloat16", "--dtype", "fp8"]) == 0
    out = capsys.readouterr().out
    assert "matmul 1024x1024x1024   forward  bfloat16" in out
    assert "linear 1024x768x768     forward  fp8" in out
