"""tools/benchmark.py end to end with tiny sizes. Nothing here looks at a time."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from PIL import Image

from common import recipe as recipes
from common.backend import compat, fast, runtime
from common.errors import UserError
from common.evaluation import replay
from tests.helpers import caller
from tools import benchmark
from tools.bench import profiling, rows, traffic, turns, worker
from tools.bench.machine import vectors
from tools.bench.operators import PARTS, operators_tables, part, serial, shares
from tools.bench.turns import Worker
from tools.bench.ways import GANS, OURS, OURS_BF16, TORCH

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    """The tool in this process and in the test's folder, with one way of PyTorch and without rests: code, out, err."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(turns, "REST", 0)
    monkeypatch.setattr(rows, "TORCHES", (TORCH,))
    return caller(benchmark.main, capsys)


def cells(text, start):
    """The cells of the table's lines whose first cell begins with a text."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [line for line in lines if line[0].startswith(start)]


STAND_IN = """#!{python}
import os, sys
if sys.argv[1] == "-c":  # the tool asks for the version
    print("1.8.5")
else:
    print('@{{"fluid": "1.8.5"}}', flush=True)
    for number, line in enumerate(sys.stdin):
        assert sys.argv[1].endswith("fluid_reference.py") and sys.argv[2:] == ["book", "4"] and line == "go\\n"
        print("some talk\\n@" + ("2.0" if "OMP_NUM_THREADS" in os.environ else "1.5" if number else "9"), flush=True)
"""


@pytest.fixture
def fluid_python(tmp_path):
    """An executable that answers as an interpreter with Paddle 1.8.5 would; its times are 1.5 s, 2 s with threads."""
    path = tmp_path / "stand-in"
    path.write_text(STAND_IN.format(python=sys.executable))
    path.chmod(0o755)
    return path


def test_a_training_row_measures_each_way_and_counts_the_work(bench, tmp_path, fluid_python):
    code, out, err = bench("--rows", "book", "--quick", "--fluid", fluid_python, "--json", "out.json",
                           "--plot", "out.png")
    assert code == 0, err
    assert "book, batch 4" in err and "round 1 of 1" in err
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["machine"]["cpu"] and report["machine"]["cores"] >= 1 and report["rounds"] == 1
    [row] = report["rows"]
    assert (row["row"], row["batch"]) == ("book", 4) and row["gflop"] == pytest.approx(3.16, abs=0.01)
    assert row["fluid"] == report["machine"]["fluid"] == "1.8.5"
    ways = {"fluid", "fluid, all threads", "as written", "ours", "product"}
    assert ways <= set(row["seconds"]) and ("ours, bf16" in row["seconds"]) == runtime.bf16_processor()
    assert all(len(values) == 1 and values[0] > 0 for values in row["seconds"].values())
    assert (row["seconds"]["fluid"], row["seconds"]["fluid, all threads"]) == ([1.5], [2.0])  # without the warm-up
    [one], [all_threads] = cells(out, "original, Paddle 1.8.5"), cells(out, "original at its best")
    assert one[1].startswith("1.50 s") and all_threads[1].startswith("2.00 s")
    [ours] = row["seconds"]["ours"]
    [summary] = [line for line in cells(out, "book 09.gan") if len(line) == 7 and "×" in line[2]]
    assert summary[2] == f"{1.5 / ours:.2f}×"  # the original's faster way
    [work] = [line for line in cells(out, "book 09.gan") if line[1] == "3.2"]
    assert len(work) == 4
    share = shares(row["profile"])
    assert sum(share.values()) == pytest.approx(1) and all(value >= 0 for value in share.values())
    # two layers each: G forward three times and back twice, D four times forward and back; each product and its bias
    assert calls(row["profile"])["dense"] == 2 * (3 + 2 + 4 + 4) * (2 if fast.working() else 1)
    assert Image.open(tmp_path / "out.png").size[0] > 300
    assert bench("--show", "out.json")[:2] == (0, out)


@pytest.mark.skipif(not runtime.bf16_processor(), reason="the processor has no bf16")
def test_the_way_with_amp_multiplies_in_bfloat16(tmp_path, monkeypatch):
    if not fast.working():
        pytest.skip("the fast operators are off")
    monkeypatch.setattr(fast, "_arithmetic", fast.FLOAT32)  # put back afterwards
    worker.prepare("book", OURS_BF16, 2, tmp_path)
    assert fast.arithmetic() == "bfloat16"


def test_operators_alone_and_joined_with_rows(bench, tmp_path):
    code, out, err = bench("--rows", "celeba", "--quick", "--operators", "--json", "out.json")
    assert code == 0, err
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["rows"] == [] and len(cells(out, "CelebA, batch 4")) == 2
    one, two = (calls(report["operators"][0]["profiles"][count][0]) for count in "12")
    # forward: five layers of D three times and of G twice; back: as often, but for the fakes that D alone learns from
    assert one == two and (one["convolutions"], one["dense"]) == (25 + 20, 0) and one["normalisation"] > 0
    if fast.working():
        size = report["operators"][0]["profiles"]["2"][0]["bytes"]
        pictures = 4 * 4 * 64 * 32 * 32  # bytes behind D's first layer
        assert size["gan_leaky_relu"] == 3 * 2 * pictures
        assert size["gan_leaky_relu_grad"] == 3 * 3 * pictures  # input, its gradient, the result's
        # Adam reads weights, gradients and two moments, and writes all but the gradients: D twice, G once
        assert size["gan_adam"] == pytest.approx((4 + 3) * 4 * (2 * 2_765_568 + 3_576_704), rel=1e-3)
    row = {"row": "book", "batch": 4, "threads": 2, "gflop": 1, "fast operators": True, "disturbed": 0,
           "seconds": {way: [1.0, 2.0, 1.0] for way in ("as written", "PyTorch, memory kept", "ours", "product")}}
    (tmp_path / "old.json").write_text(json.dumps({**report, "rows": [row], "operators": []}))
    code, out, err = bench("--show", "old.json", "out.json", "--plot", "out.png")
    assert code == 0, err
    assert cells(out, "PyTorch, memory kept") and len(cells(out, "CelebA, batch 4")) == 2
    assert Image.open(tmp_path / "out.png").size[0] > 300


def calls(profile):
    """Calls of operators in each part of a profiled iteration."""
    counted = dict.fromkeys([*PARTS, "rest"], 0)
    for name, (count, _) in profile["operators"].items():
        counted[part(name)] += count
    return counted


def test_the_bytes_of_a_static_programs_operators():
    """What is written in place counts twice."""
    paddle.enable_static()
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        x = paddle.static.data("x", [None, 3], "float32")
        weight = paddle.create_parameter([3, 5], "float32")
        y = paddle.concat([x.matmul(weight), x], axis=1)
        paddle.increment(paddle.full([1], 1, "int64"))
    assert y.shape[1] == 8
    found = {profiling.plain(name): sum(traffic.size(value, batch=7) for value in values)
             for name, values in compat.tensors(program)}
    assert found[next(name for name in found if "matmul" in name)] == 4 * (7 * 3 + 3 * 5 + 7 * 5)
    assert found["concat"] in (4 * (7 * 8 + 7 * 8), 4 * (7 * 8 + 7 * 8) + 4)  # Paddle 3 counts the axis, too
    assert found["increment"] == 2 * 8


def test_a_growth_that_is_interrupted_keeps_what_it_has(monkeypatch):
    todo = iter([{"batch": 4}, {"batch": 8}])

    def measured(*_, **__):
        for result in todo:
            return result
        raise KeyboardInterrupt

    monkeypatch.setattr(rows, "measure_gan", measured)
    monkeypatch.setattr(rows.runtime, "cores", lambda: 2)
    report = {"growth": {}, "operators": []}
    with pytest.raises(KeyboardInterrupt):
        benchmark.measure(SimpleNamespace(operators=True, rows=[], growth=True, quick=True, batch=4), report)
    assert report["growth"] == {"batch": [{"batch": 4}, {"batch": 8}], "threads": []}


@pytest.mark.parametrize(("option", "name"), [
    ("--plot", "."), ("--plot", "bench"), ("--plot", "bench.txt"), ("--json", "."),
    ("--json", "mine.json")])
def test_a_name_that_cannot_be_written_is_refused_before_the_measurement(bench, monkeypatch, option, name):
    monkeypatch.setattr(benchmark, "measure", None)
    Path("mine.json").write_text('{"annotations": []}')
    code, out, err = bench("--rows", "book", option, name)
    assert (code, out) == (2, "") and option in err.splitlines()[-1] and name in err.splitlines()[-1]


def test_reports_of_two_machines_are_not_joined(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "cpuinfo", lambda: "")
    assert vectors() == []
    monkeypatch.setattr(runtime, "cpuinfo", lambda: "model name: X\nflags\t: fpu avx2 avx512f avx512_bf16 amx_tile\n")
    assert vectors() == ["AVX2", "AVX-512", "AVX-512 BF16"] and runtime.cpu_name() == "X"
    for name, of in (("a", ["AVX2"]), ("b", ["AVX2", "AVX-512"])):
        (tmp_path / name).write_text(json.dumps({"machine": {"cpu": "X", "cores": 2, "vectors": of, "system": "Y"},
                                                 "rounds": 3, "rows": [], "growth": {}, "settings": None}))
    assert "X (AVX2, AVX-512), 2 cores, Y" in bench("--show", "b")[1]
    code, _, err = bench("--show", "a", "b")
    assert code == 2 and "different machines" in err


def test_what_stays_on_one_thread_bounds_more_threads():
    profiles = {count: [{"seconds": sum(times) + 0.1, "bytes": {"scales": 8e9, "stays": 12e9}, "operators": {
        name: [1, took] for name, took in zip(("scales", "stays", "tiny"), times, strict=True)}}]
        for count, times in (("1", (8.0, 1.0, 0.002)), ("2", (4.0, 1.0, 0.001)))}
    operators, ahead = operators_tables({"row": "book", "batch": 128, "profiles": profiles,
                                         "copies": {"1": 1e10, "2": 1.5e10}})
    assert cells(operators, "scales")[0][1:] == ["78.4%", "8.00 s", "4.00 s", "2.00", "–"]
    assert cells(operators, "stays")[0][4:] == ["1.00", "12 GB/s, 80%"] and not cells(operators, "tiny")
    assert cells(operators, "1 smaller")[0][2:4] == ["2.00 ms", "1.00 ms"]
    assert cells(operators, "memory")[0][2:] == ["10.0 GB/s", "15.0 GB/s", "1.50", "–"]
    # 1.1 s stay, 8.002 s share the threads
    assert cells(ahead, "expected")[0][1:] == ["1.10 s, 12%", "3.10 s", "2.10 s", "1.60 s"]
    assert serial(1.0, 0.4) == 0 and serial(1.0, 1.2) == 1.0


def test_crop_and_loader_rows(bench, tmp_path):
    code, out, err = bench("--rows", "crop", "loader", "--quick", "--json", "out.json")
    assert code == 0, err
    crop, loader = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert crop["pictures"] == 24 and loader["batch"] == 4
    assert {"as written", "same pixels", "fast", "packed", "packed fast"} <= set(crop["seconds"])
    assert len(cells(out, "folder to folder")) == 2 and len(cells(out, "archive to packed")) == 2
    assert cells(out, "packed cache")


def test_two_processes_of_one_thread_beside_one_of_two(bench, tmp_path):
    code, out, err = bench("--quick", "--rows", "processes", "--json", "report.json")
    assert code == 0, err
    assert [line[0] for line in cells(out, "")][2:] == ["one process, 2 threads", "two processes, 1 thread each",
                                                        "two that exchange nothing"]
    [row] = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert all(seconds > 0 for [seconds] in row["seconds"].values())


def test_a_worker_that_ends_is_one_line_and_no_end_without_a_word(tmp_path):
    worker = Worker("loader", OURS, 4, tmp_path)
    worker.process.kill()
    worker.process.wait()
    with pytest.raises(UserError, match="has failed: .*leave its row out"):
        worker.turn()
    worker.close()


def test_a_row_that_fails_leaves_the_rows_before_it(tmp_path, monkeypatch, capsys):
    row = {"row": "book", "batch": 4, "threads": 2, "gflop": 1, "fast operators": True, "disturbed": 0,
           "paddle": "3", "seconds": {way: [1.0, 2.0] for way in ("as written", "ours", "product")}}

    def measure_gan(name, options):
        if name == "book":
            return row
        raise failure

    monkeypatch.setattr(rows, "measure_gan", measure_gan)
    for failure in (KeyboardInterrupt(), SystemExit(143), UserError("it fails")):
        path = tmp_path / f"{type(failure).__name__}.json"
        with pytest.raises(type(failure)):
            benchmark.main(["--rows", "book", "cgan", "--json", str(path)])
        assert json.loads(path.read_text())["rows"] == [row] and "book 09.gan, batch 4" in capsys.readouterr().out


def test_mistakes_are_one_line(bench):
    for options, words in ((["--rows", "bok"], "bok"), (["--torch", "no-such-python"], "pip install torch"),
                           (["--fluid", "/bin/echo"], "paddlepaddle 1.8.5"),
                           (["--show", __file__], "--json"), (["--rows", "crop", "--operators"], "--rows"),
                           (["--run", "nowhere"], "timing.jsonl")):
        code, _, err = bench(*options)
        lines = [line for line in err.splitlines() if words in line or not line.startswith("PyTorch is not installed")]
        assert code == 2 and len(lines) == 1 and words in lines[0]  # without PyTorch here, a notice says so


def test_the_shares_of_a_runs_time_leave_out_the_gap_of_a_resumed_one(bench, tmp_path):
    lines = [(100, 10, 8, 1.0), (110, 20, 16, 2.0), (5000, 25, 4, 0.5), (5010, 35, 12, 1.5)]
    (tmp_path / "timing.jsonl").write_text("".join(
        json.dumps({"time": time, "step": step, "seconds": {"step": spent, "records": records}}) + "\n"
        for time, step, spent, records in lines))
    code, out, _ = bench("--run", ".")
    assert code == 0 and "20 iterations in 20 s, 1.000 s each, 0.800 s of it training" in out
    assert cells(out, "training")[0][1] == "80.00%"
    assert cells(out, "pictures")[0][1] == cells(out, "logging")[0][1] == "10.00%"


def test_each_tutorial_has_a_row_with_its_own_batch():
    """The table of rows is no part of the registry, because a benchmark's parent process imports no Paddle."""
    assert {row.recipe: row.batch for row in GANS.values()} == {
        name: recipes.load(name).batch_size for name in recipes.names()}


@pytest.fixture
def torch_python():
    """An interpreter that has PyTorch: this one, or the one that TORCH_PYTHON names."""
    if "TORCH_PYTHON" not in os.environ and importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    return os.environ.get("TORCH_PYTHON", sys.executable)


COMPARE = """
import sys
import numpy as np, torch
sys.path.insert(0, sys.argv[1])
from tools.bench.torch_reference import Book
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
    """The first iteration's four losses, three of them after steps of Adam; then rounding grows with each step."""
    import paddle

    from static_mnist.book import BookGAN

    gan = BookGAN(paddle.CPUPlace(), seed=1, fix=("adam_epsilon",))  # PyTorch corrects it too
    random = np.random.RandomState(0)
    real = random.uniform(-1, 1, [2, 8, 784]).astype("float32")
    noise = random.uniform(-1, 1, [6, 8, 100]).astype("float32")
    np.savez(tmp_path / "given.npz", real=real, noise=noise, **gan.state())
    drawn = iter(noise)
    gan.noise = lambda count, random: next(drawn)
    names = "D-Loss fake", "D-Loss real", "DG-Loss first", "DG-Loss"
    ours = [losses[name] for losses in (gan.step(batch, None) for batch in real) for name in names]
    result = subprocess.run([torch_python, "-c", COMPARE, str(ROOT)], cwd=tmp_path, capture_output=True,
                            text=True)
    assert result.returncode == 0, result.stderr
    theirs = [float(text) for text in result.stdout.split()]
    np.testing.assert_allclose(ours[:4], theirs[:4], rtol=1e-5)
    np.testing.assert_allclose(ours, theirs, rtol=1e-2)


FLUID_LOSSES = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from tools.bench import fluid_reference as reference
given = np.load("given.npz")
row, [iterations, batch] = sys.argv[2], given["real"].shape[:2]
gan = {"book": reference.Book, "note6": reference.Note6}[row](batch)
for name in given.files:
    if "/" in name:  # fluid repeats a guard's prefix
        array = reference.fluid.global_scope().find_var(name[:2] + name).get_tensor()
        array.set(given[name], reference.fluid.CPUPlace())
noise = iter(given["noise"])
gan.noise = lambda: next(noise)
for real in given["real"]:
    print(*gan.step([(picture, 0) for picture in real] if row == "book" else list(real)))
"""
# The book's layers as fluid would name them without the listing's names
COUNTED = {"conv1": "D/conv2d_0", "conv2": "D/conv2d_1", "bn1": "D/batch_norm_0", "fc1": "D/fc_0",
           "bn2": "D/batch_norm_1", "fc2": "D/fc_1", "fc3": "G/fc_0", "bn3": "G/batch_norm_0", "fc4": "G/fc_1",
           "bn4": "G/batch_norm_1", "deconv1": "G/conv2d_transpose_0", "deconv2": "G/conv2d_transpose_1"}
SUFFIXES = {"w": ".w_0", "b": ".b_0", "1": ".w_0", "2": ".b_0", "3": ".w_1", "4": ".w_2"}


@pytest.mark.skipif("FLUID_PYTHON" not in os.environ, reason="FLUID_PYTHON names no interpreter with Paddle 1.8.5")
@pytest.mark.parametrize("row", ["book", "note6"])
def test_fluids_losses_are_the_listings(tmp_path, row):
    """Both are fluid's, with as many threads or not; rounding grows with each of Adam's steps."""
    trace = replay.load(ROOT / "tests" / "traces" / f"{row}.json")
    random, batch = np.random.RandomState(trace["seed"]), trace["batch"]
    arrays = {name if "/" in name else COUNTED[name[:-1]] + SUFFIXES[name[-1]]: array
              for name, array in replay.weights(trace["names"], random).items()}
    real, noise = [], []
    for _ in range(trace["iterations"]):
        real.append(random.uniform(-1, 1, [batch, *((784,) if row == "book" else (1, 28, 28))]))
        noise += [random.uniform(-1, 1, [batch, 100]) if row == "book" else random.normal(0, 1, [batch, 100, 1, 1])
                  for _ in range(3 if row == "book" else 2)]
    np.savez(tmp_path / "given.npz", real=np.float32(real), noise=np.float32(noise), **arrays)
    result = subprocess.run([os.environ["FLUID_PYTHON"], "-c", FLUID_LOSSES, str(ROOT), row], cwd=tmp_path,
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = [[float(loss) for loss in line.split()] for line in result.stdout.splitlines()]
    losses = [run["loss"] for run in trace["runs"] if run["loss"] is not None]
    expected = np.reshape(losses, [trace["iterations"], -1])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-2)
