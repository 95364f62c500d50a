"""Report, comparison and status, on rows made up for the purpose."""

import json
import re

import pytest

from bench import report, run, status
from bench.__main__ import main


def synthetic(op="gelu", us=100.0, family="activation", device="Imaginary GPU", **more):
    return {
        **{"family": family, "op": op, "pass": "forward", "shape": "64x64", "dtype": "float32"},
        **{"variant": "native", "threads": 1, "device": device, "kind": "cuda", "cold": True},
        **{"driver": "1", "versions": {"pynn": "0"}, "commit": "abc", "absent": {}},
        **{"date": "2026-01-01T00:00:00Z", "bytes": 32768, "flops": 4096, "bound": "memory"},
        "us": {"p10": us, "p50": us, "p90": us, "fastest": us, "count": 9},
        "limits": {"memory": 6e8, "matrix": {"float32": 1e12}},
        **{"gb_s": 0.3, "tflop_s": 4e-5, "of_peak": 0.5, "error": 1e-7, "labels": {}},
        "peers": {"torch": {"speedup": 1.25, "error": 1e-7}, "cupy": {"speedup": 2.5}},
        "kernels": ["gelu_fwd"],
        **more,
    }


@pytest.fixture
def write(tmp_path):
    def write(name, *rows):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


def test_a_slower_row_exits_with_1(write, capsys):
    old = write("old.jsonl", synthetic(), synthetic("relu"))
    new = write("new.jsonl", synthetic(us=110.0), synthetic("relu", us=80.0))
    assert main(["report", new, "--compare", old]) == 1
    shown = capsys.readouterr().out
    assert "slower    1.100  gelu forward 64x64 float32  100.0 to 110.0 us" in shown
    assert "faster    0.800  relu" in shown
    assert "2 rows compared, 1 slower by more than 5%" in shown
    assert main(["report", new, "--compare", old, "--margin", "10.1%"]) == 0
    assert main(["report", old, "--compare", old, "--margin", "0"]) == 0


def test_of_rows_measured_twice_the_last_counts(write):
    old = write("old.jsonl", synthetic())
    new = write("new.jsonl", synthetic(us=500.0), synthetic(us=101.0))
    assert main(["report", new, "--compare", old]) == 0


def test_rows_of_another_device_or_dtype_are_not_compared(write):
    old = write("old.jsonl", synthetic(device="Another"), synthetic(dtype="float16"))
    with pytest.raises(ValueError, match=r"\[bench\] compare: expected rows that both files have"):
        main(["report", write("new.jsonl", synthetic()), "--compare", old])


@pytest.mark.parametrize("text", ["five", "-1%", "nan"])
def test_a_margin_is_a_share(text):
    with pytest.raises(ValueError, match=r"\[bench\] margin: expected"):
        report.share(text)
    assert report.share("5%") == report.share("0.05") == 0.05


def test_the_page_holds_everything(write, tmp_path):
    pytest.importorskip("matplotlib")
    rows = [
        synthetic(),
        synthetic("softmax", family="softmax", labels={"n": 256}),
        synthetic("softmax", family="softmax", shape="1x512", labels={"n": 512}),
        synthetic("broken<op>", refused="expected an error below 0.001, got 7"),
    ]
    rows.append(synthetic("idle", skipped="no kernel ran: gelu"))
    del rows[-1]["us"], rows[-2]["us"]
    out = tmp_path / "page"
    old = write("old.jsonl", synthetic(us=50.0))
    assert main(["report", write("rows.jsonl", *rows), "--out", str(out), "--compare", old]) == 1
    page = (out / "index.html").read_text()
    assert page.startswith("<!doctype html>") and page.endswith("</html>")
    assert "Imaginary GPU" in page and "got 7" in page and "broken&lt;op&gt;" in page
    assert "no kernel ran: gelu" in page
    assert "1 of 1 rows slower" in page and "torch / pynn" in page
    files = sorted(path.name for path in out.glob("*.png"))
    assert files == [
        "imaginary-gpu-ratios-activation.png",
        "imaginary-gpu-ratios-softmax.png",
        "imaginary-gpu-roofline.png",
        "imaginary-gpu-sweep-softmax.png",
    ]
    assert page.count("data:image/png;base64") == len(files)
    assert "http://" not in page and "https://" not in page  # one file is all of it


def test_a_report_of_nothing_is_an_error(write):
    with pytest.raises(ValueError, match=r"\[bench\] report: expected rows in .*, got none"):
        main(["report", write("empty.jsonl")])


def test_status_says_what_has_run_where():
    kernels = {"elementwise": ["gelu_bwd", "gelu_fwd"], "softmax": ["softmax_fwd"]}
    page = status.text(kernels, [synthetic(), synthetic(shape="8x8", of_peak=0.9)])
    assert "## Imaginary GPU" in page
    assert "| `gelu_fwd` | 2 | 90% | 8x8 float32 | torch 1.25, cupy 2.50 | 0 |" in page
    assert "| elementwise | `gelu_bwd` |" in page and "| softmax | `softmax_fwd` |" in page
    page = status.text(kernels, [synthetic(kind="cpu")])
    assert "No kernel has run on a GPU yet" in page and "Imaginary" not in page


def test_status_finds_the_launchers_of_the_sources(tmp_path):
    (tmp_path / "softmax").mkdir()
    source = 'PYNN_EXPORT(softmax_fwd, "(x, y)  y");\n// PYNN_EXPORT(not_this, "")\n'
    (tmp_path / "softmax" / "softmax.cu").write_text(source)
    assert status.kernels(tmp_path) == {"softmax": ["softmax_fwd"]}
    assert "gelu_fwd" in status.kernels()["elementwise"]


def test_the_status_page_is_up_to_date():
    """But for launchers that have come since: a new kernel touches three files, not this page."""
    rows = run.load(sorted(status.RESULTS.rglob("*.jsonl")))
    page = (status.RESULTS / "STATUS.md").read_text()
    named = set(re.findall(r"`(\w+)`", page))
    known = {f: [n for n in names if n in named] for f, names in status.kernels().items()}
    wanted = status.text({f: names for f, names in known.items() if names}, rows)
    assert page == wanted, "run: python -m bench status"
