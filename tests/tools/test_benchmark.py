"""tools/benchmark.py end to end with tiny sizes. Nothing here looks at a time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from tools import benchmark

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "benchmark.py"


def bench(*options, cwd):
    """Run the tool in a folder."""
    return subprocess.run([sys.executable, str(TOOL), *map(str, options)], cwd=cwd, capture_output=True, text=True)


def cells(text, start):
    """The cells of the table's lines whose first cell begins with a text."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [line for line in lines if line[0].startswith(start)]


def test_a_training_row_measures_each_way_and_counts_the_work(tmp_path):
    result = bench("--rows", "cgan", "--quick", "--json", "out.json", "--plot", "out.png", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "cgan, batch 4" in result.stderr and "round 1 of 1" in result.stderr
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["machine"]["cpu"] and report["machine"]["cores"] >= 1 and report["rounds"] == 1
    [row] = report["rows"]
    assert (row["row"], row["batch"]) == ("cgan", 4) and row["gflop"] == pytest.approx(11.42, abs=0.01)
    assert {"as written", "ours", "product"} <= set(row["seconds"])
    assert all(len(values) == 1 and values[0] > 0 for values in row["seconds"].values())
    [line] = cells(result.stdout, "conditional")
    assert line[1] == "4" and line[8] == "11.4" and "GFLOP/s" in line[9]
    assert Image.open(tmp_path / "out.png").size[0] > 300


def test_crop_and_loader_rows(tmp_path):
    result = bench("--rows", "crop", "loader", "--quick", "--json", "out.json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    crop, loader = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert crop["pictures"] == 24 and loader["batch"] == 4
    assert {"as written", "same pixels", "fast", "packed", "packed fast"} <= set(crop["seconds"])
    assert len(cells(result.stdout, "folder to folder")) == 2 and len(cells(result.stdout, "archive to packed")) == 2
    assert cells(result.stdout, "packed cache")


def test_a_worker_that_ends_is_one_line_and_no_end_without_a_word(tmp_path):
    worker = benchmark.Worker("loader", benchmark.OURS, 4, tmp_path)
    worker.process.kill()
    worker.process.wait()
    with pytest.raises(UserError, match="has failed: .*leave its row out"):
        worker.turn()
    worker.close()


def test_mistakes_are_one_line(tmp_path):
    for options, words in ((["--rows", "bok"], "bok"), (["--torch", "no-such-python"], "pip install torch"),
                           (["--run", "nowhere"], "timing.jsonl")):
        result = bench(*options, cwd=tmp_path)
        assert result.returncode == 2 and words in result.stderr and "Traceback" not in result.stderr


def test_the_shares_of_a_runs_time_leave_out_the_gap_of_a_resumed_one(tmp_path):
    lines = [(100, 10, 8, 1.0), (110, 20, 16, 2.0), (5000, 25, 4, 0.5), (5010, 35, 12, 1.5)]
    (tmp_path / "timing.jsonl").write_text("".join(
        json.dumps({"time": time, "step": step, "seconds": {"step": spent, "records": records}}) + "\n"
        for time, step, spent, records in lines))
    result = bench("--run", ".", cwd=tmp_path)
    assert result.returncode == 0 and "20 iterations in 20 s, 1.000 s each, 0.800 s of it training" in result.stdout
    assert cells(result.stdout, "training")[0][1] == "80.00%"
    assert cells(result.stdout, "pictures")[0][1] == cells(result.stdout, "logging")[0][1] == "10.00%"


@pytest.fixture
def torch_python():
    """An interpreter that has PyTorch: this one, or the one that TORCH_PYTHON names."""
    python = os.environ.get("TORCH_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import torch"], capture_output=True).returncode:
        pytest.skip("PyTorch is not installed")
    return python


COMPARE = """
import sys
import numpy as np, torch
sys.path.insert(0, sys.argv[1])
from torch_reference import Book
given = dict(np.load("given.npz"))
book = Book(8)
for network in (book.d, book.g):
    for name, layer in network.named_children():
        suffixes = ("1", "2") if name.startswith("bn") else ("w", "b")
        for parameter, suffix in zip((layer.weight, layer.bias), suffixes):
            array = torch.tensor(given[name + suffix])
            parameter.data = (array.T if name.startswith("fc") and suffix == "w" else array).contiguous()
noise = iter(torch.tensor(given["noise"]))
book.noise = lambda: next(noise)
print(*[f"{loss:.9f}" for real in torch.tensor(given["real"]) for loss in book.step(real)])
"""


def test_pytorchs_losses_agree(tmp_path, torch_python):
    """The bound, three steps of Adam on: float32 summed in another order."""
    import paddle

    from static_mnist.book import BookGAN

    gan = BookGAN(paddle.CPUPlace(), seed=1)
    random = np.random.RandomState(0)
    real = random.uniform(-1, 1, [3, 8, 784]).astype("float32")
    noise = random.uniform(-1, 1, [9, 8, 100]).astype("float32")
    np.savez(tmp_path / "given.npz", real=real, noise=noise, **gan.state())
    drawn = iter(noise)
    gan.noise = lambda count, random: next(drawn)
    names = "D-Loss fake", "D-Loss real", "DG-Loss first", "DG-Loss"
    ours = [losses[name] for losses in (gan.step(batch, None) for batch in real) for name in names]
    result = subprocess.run([torch_python, "-c", COMPARE, str(ROOT / "tools")], cwd=tmp_path, capture_output=True,
                            text=True)
    assert result.returncode == 0, result.stderr
    np.testing.assert_allclose(ours, [float(text) for text in result.stdout.split()], rtol=1e-4)
