"""The training command: what it leaves behind, what it refuses, and that nothing stops it for good.

Most tests train narrow networks, on 40 pictures of noise; `test_as_typed` runs the command as it is.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import paddle
import pytest
from PIL import Image

from common import plotting
from common.backend import fast, runtime
from common.training import checkpoint, options
from static_mnist import book, train
from tests.helpers import caller, content, idx

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ROOT / "static_mnist" / "train.py"
DRIVER = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from common.backend import runtime
runtime.prepare()
from common.errors import run_command
from static_mnist import book, train
vars(book).update(CHANNELS)
sys.exit(run_command(train.main))
"""
PICTURES, BATCH, EPOCHS = 40, 3, 5
BATCHES = PICTURES // BATCH  # 13 an epoch; the last picture is left out


def write_pictures(folder, seed=0, size=28):
    """MNIST's two training files, with 40 pictures of noise."""
    folder.mkdir(exist_ok=True)
    images = np.random.RandomState(seed).randint(0, 256, [PICTURES, size, size]).astype("uint8")
    (folder / "train-images-idx3-ubyte").write_bytes(idx(images))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(PICTURES).astype("uint8") % 10))
    return images


class Folder:
    """A place with data, the driver, and ways to call the command."""

    def __init__(self, path, channels):
        self.path, self.data = path, path / "data"
        self.images = write_pictures(self.data)
        (path / "driver.py").write_text(DRIVER.replace("CHANNELS", repr(channels)))

    def start(self, *args, **kwargs):
        """The narrow command as a process of its own."""
        return subprocess.Popen([sys.executable, self.path / "driver.py", *map(str, args)], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)

    def training(self, output, *args):
        """The options of the reference run."""
        return ["--data_dir", self.data, "--batch_size", BATCH, "--epoch", EPOCHS, "--output", output, *args]


@pytest.fixture(scope="module")
def place(tmp_path_factory, narrow):
    folder = Folder(tmp_path_factory.mktemp("train"), narrow)
    yield folder
    shutil.rmtree(folder.path)


@pytest.fixture(scope="module")
def reference(place):
    """A run that was never stopped; to be read only."""
    process = place.start(*place.training(place.path / "reference"))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return place.path / "reference", out, err


@pytest.fixture
def run(reference, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(reference[0], tmp_path / "run")


@pytest.fixture
def call(narrow, capfd):
    """The narrow command in this process: exit code, stdout, stderr."""
    return caller(train.main, capfd)


@pytest.fixture
def refused(call):
    """Calls the command and wants it to refuse in one line that has all of ``words``."""

    def refused(*args, words):
        code, out, err = call(*args)
        # A machine without a compiler has a line about that, too.
        lines = [line for line in err.splitlines() if "fast CPU operators" not in line]
        assert (code, out, len(lines)) == (2, "", 1), (code, out, err)
        assert lines[0].startswith("error: ")
        assert all(word in lines[0] for word in words), lines[0]

    return refused


def metrics(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def config(path):
    return json.loads((path / "config.json").read_text(encoding="utf-8"))


def newest(path):
    return checkpoint.listing(path / "checkpoints")[-1]


def result(path):
    """What no interruption may change: last checkpoint, metrics, pixels of all pictures."""
    arrays, record = checkpoint.load(newest(path))
    pixels = {str(file.relative_to(path)): np.asarray(Image.open(file)).tobytes() for file in path.rglob("*.png")}
    return newest(path).name, {name: array.tobytes() for name, array in arrays.items()}, \
        (record["step"], record["random"]), (path / "metrics.jsonl").read_bytes(), pixels


def lines_in(path):
    return (path / "metrics.jsonl").read_bytes().count(b"\n") if (path / "metrics.jsonl").exists() else 0


def wait_for(process, output, lines):
    """Wait until a run has written so many lines of metrics, and its first checkpoint."""
    limit = time.monotonic() + 200
    while lines_in(output) < lines or not checkpoint.listing(output / "checkpoints"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit, "the run hangs"
        time.sleep(0.002)


# -- a whole run ---------------------------------------------------------------------------------------


def test_as_typed(place, tmp_path):
    """The real command and networks, from another folder, with a relative --output."""
    command = [sys.executable, TRAIN, "--data_dir", place.data, "--batch_size", "8", "--max_steps", "1",
               "--output", "mine"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(metrics(tmp_path / "mine")) == 1
    arrays, _ = checkpoint.load(newest(tmp_path / "mine"))
    assert arrays["fc4w"].shape == (2048, 6272)
    shutil.rmtree(tmp_path / "mine")  # 190 MB


def test_pictures_have_the_tutorials_names(reference):
    path, _, _ = reference
    names = [f"{epoch:04d}_{batch:04d}.png" for epoch in range(EPOCHS) for batch in (0, 10)]
    assert sorted(file.name for file in path.glob("*_*.png")) == names
    assert sorted(file.name for file in (path / "constant_noise").iterdir()) == names
    shown = np.asarray(Image.open(path / names[-1]).convert("L"))
    assert min(shown.shape) > 300
    assert shown.std() > 30
    assert Image.open(path / "constant_noise" / names[0]).size == (10 * 2 * 29, 10 * 2 * 29)  # 3 pictures
    assert Image.open(path / "losses.png").size[0] > 800
    assert Image.open(path / "animation.gif").n_frames > 1


def test_metrics_have_a_line_a_batch(reference):
    lines = metrics(reference[0])
    assert [(line["step"], line["epoch"], line["batch"]) for line in lines] == \
        [(step, *divmod(step, BATCHES)) for step in range(EPOCHS * BATCHES)]
    for line in lines:
        assert np.float32(line["D-Loss"]) == np.float32(line["D-Loss fake"]) + np.float32(line["D-Loss real"])
        assert set(line) == {"step", "epoch", "batch", "D-Loss", "DG-Loss", "D-Loss fake", "D-Loss real",
                             "DG-Loss first"}


def test_messages_are_plain_lines_each_ten_batches(reference):
    path, out, err = reference
    found = re.findall(r"^Epoch ID=(\d+) Batch ID=(\d+) D-Loss=(\S+) DG-Loss=(\S+)", out, re.MULTILINE)
    lines = {(line["epoch"], line["batch"]): line for line in metrics(path)}
    assert [(int(epoch), int(batch)) for epoch, batch, *_ in found] == \
        [(epoch, batch) for epoch in range(EPOCHS) for batch in (0, 10)]
    for epoch, batch, d_loss, dg_loss in found:
        line = lines[int(epoch), int(batch)]
        assert np.float32(d_loss) == np.float32(line["D-Loss"])
        assert np.float32(dg_loss) == np.float32(line["DG-Loss"])
    assert re.search(r"pictures/s, reader .*%, ETA \d+:\d\d:\d\d", out)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", out + err)  # a pipe: no control characters
    assert str(path) in out.splitlines()[-1]
    assert [line for line in err.splitlines() if "fast CPU operators" not in line] == []


def test_config_tells_all(reference, place):
    kept = config(reference[0])
    assert kept["recipe"] == "book"
    options = {"batch_size": BATCH, "epoch": EPOCHS, "seed": 0, "fix": [], "use_gpu": False, "use_cudnn": False,
               "enable_ce": False, "dataset": "auto", "data_dir": str(place.data), "max_steps": None}
    assert options.items() <= kept["options"].items()
    assert {"name": "MNIST", "pictures": PICTURES, "source": str(place.data), "fallback": False,
            "note": ""}.items() <= kept["dataset"].items()
    assert re.fullmatch("[0-9a-f]{32}", kept["dataset"]["checksum"])
    assert {"python", "numpy", "matplotlib", "pillow", "safetensors"} <= set(kept["versions"])
    assert {"paddlepaddle", "paddlepaddle-gpu"} & set(kept["versions"])
    assert {"system", "cpu", "cores", "threads"} <= set(kept["machine"])
    assert re.match(r"\d{4}-\d\d-\d\dT", kept["started"])
    assert checkpoint.load(newest(reference[0]))[1]["config"] == kept  # a checkpoint tells of itself


def test_checkpoints_are_kept_as_promised(reference):
    assert [path.name for path in checkpoint.listing(reference[0] / "checkpoints")] == \
        [f"{epoch:04d}_0000.safetensors" for epoch in (3, 4, 5)]


def test_the_same_command_makes_the_same_run(reference, place, call, tmp_path):
    """Another process, the same bits: the first epoch suffices."""
    code, _, err = call(*place.training(tmp_path / "again", "--max_steps", BATCHES))
    assert code == 0, err
    whole = (reference[0] / "metrics.jsonl").read_bytes().splitlines()
    assert (tmp_path / "again" / "metrics.jsonl").read_bytes().splitlines() == whole[:BATCHES]


# -- interrupted runs ----------------------------------------------------------------------------------


def test_killed_three_times_and_resumed_the_run_is_the_same(reference, place, tmp_path):
    random, output = np.random.RandomState(4), tmp_path / "run"
    for resume in ([], ["--resume"], ["--resume"]):
        process = place.start(*place.training(output, *resume))
        wait_for(process, output, max(lines_in(output), BATCHES) + random.randint(1, 9))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert lines_in(output) < BATCHES * EPOCHS
    process = place.start("--output", output, "--resume")  # the options are the run's own
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert result(output) == result(reference[0])


def test_stopped_by_signals_and_resumed_the_run_is_the_same(reference, place, tmp_path, refused):
    output = tmp_path / "run"
    for number, code, resume in ((signal.SIGINT, 130, []), (signal.SIGTERM, 143, ["--resume"])):
        process = place.start(*place.training(output, *resume))
        wait_for(process, output, max(lines_in(output), BATCHES) + 3)
        if not resume:  # two runs in one folder
            for flags in ([], ["--resume"], ["--overwrite"]):
                refused(*place.training(output, *flags), words=["another process is training", "another --output"])
        process.send_signal(number)
        _, err = process.communicate(timeout=200)
        assert process.returncode == code, err
        *_, note, last = err.splitlines()
        assert f"{signal.Signals(number).name}: saving" in note
        assert f"stopped by {signal.Signals(number).name}" in last
        assert "--resume" in last
        assert str(newest(output)) in last
        assert checkpoint.load(newest(output))[1]["step"] == lines_in(output) < BATCHES * EPOCHS
    process = place.start("--output", output, "--resume")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert result(output) == result(reference[0])


def test_max_steps_over_resumed_runs(reference, place, call, tmp_path):
    for steps, resume in ((5, []), (16, ["--resume"])):
        code, out, err = call(*place.training(tmp_path / "run", "--max_steps", steps, *resume))
        assert code == 0, err
        assert len(metrics(tmp_path / "run")) == steps
        assert f"done: {steps} steps" in out
    whole = (reference[0] / "metrics.jsonl").read_bytes().splitlines()
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes().splitlines() == whole[:16]


def test_a_run_from_before_adam_epsilon_goes_on_with_paddles_adam(reference, place, call, tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert call(*place.training(whole, "--fix", "adam_epsilon", "--max_steps", 6))[0] == 0
    assert call(*place.training(run, "--fix", "adam_epsilon", "--max_steps", 3))[0] == 0
    kept = config(run)
    assert kept.pop("oddities") == ["adam_epsilon", "double_sigmoid", "max_pool"]
    kept["options"]["fix"] = []  # as all runs had it, which knew no other Adam
    (run / "config.json").write_text(json.dumps(kept), encoding="utf-8")
    assert call("--resume", "--output", run, "--max_steps", 6)[0] == 0
    assert result(run)[1:4] == result(whole)[1:4]
    assert metrics(run) != metrics(reference[0])[:6]
    assert config(run) == kept  # it stays a run from before


def test_amp_on_a_processor_without_bf16_is_a_line(reference, place, call, tmp_path, monkeypatch):
    monkeypatch.setattr(fast, "bf16_processor", lambda: False)
    code, _, err = call(*place.training(tmp_path / "run", "--amp", "--max_steps", 2))
    assert code == 0 and "note: --amp: this processor has no bf16; it trains in float32" in err.splitlines()
    assert metrics(tmp_path / "run") == metrics(reference[0])[:2]
    kept = config(tmp_path / "run")
    assert kept["options"]["amp"] and kept["machine"]["arithmetic"] == "float32" and kept["dataset"]["note"] == ""


def test_amp_is_refused_on_a_gpu(refused, place, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "place", lambda use_gpu: paddle.CPUPlace())
    refused(*place.training(tmp_path / "run", "--amp", "--use_gpu"), words=["--amp", "CPU"])


def test_amp_is_recorded_shown_and_resumed_to_the_bit(reference, place, call, tmp_path, monkeypatch):
    """By emulation where the processor has no bf16."""
    if not fast.working():
        pytest.skip("the fast operators are off")
    if not fast.bf16_processor():
        monkeypatch.setattr(fast, "bf16_processor", lambda: True)
        monkeypatch.setattr(fast, "BF16", fast.EMULATED)
    monkeypatch.setattr(fast, "_arithmetic", fast.FLOAT32)  # put back afterwards
    whole, run, titles = tmp_path / "whole", tmp_path / "run", []
    monkeypatch.setattr(plotting, "save_tutorial_grid", lambda path, pictures, title: titles.append(title))
    assert call(*place.training(whole, "--amp", "--max_steps", 4))[0] == 0
    assert call(*place.training(run, "--amp", "--max_steps", 2))[0] == 0
    assert call("--resume", "--output", run, "--max_steps", 4)[0] == 0
    assert metrics(run) == metrics(whole)
    state, other = (checkpoint.load(newest(folder))[0] for folder in (run, whole))
    assert all(np.array_equal(state[name], other[name]) for name in other)
    kept = config(run)
    assert kept["options"]["amp"] and kept["machine"]["arithmetic"] == "bfloat16"
    assert titles and all("arithmetic: bfloat16" in title for title in titles)
    first, exact = metrics(run)[0]["D-Loss"], metrics(reference[0])[0]["D-Loss"]
    assert 0 < abs(first - exact) < 0.02 * exact


def test_a_run_that_was_given_more_epochs_remembers_them(call, run):
    assert call("--resume", "--output", run, "--epoch", EPOCHS + 2, "--max_steps", EPOCHS * BATCHES + 2)[0] == 0
    code, out, _ = call("--resume", "--output", run)
    assert code == 0
    assert f"resuming {run / 'checkpoints' / '0005_0002.safetensors'} at step 67 of 91" in out
    assert len(metrics(run)) == (EPOCHS + 2) * BATCHES


def test_data_may_have_moved(call, run, place, tmp_path):
    shutil.copytree(place.data, tmp_path / "moved")
    assert call("--resume", "--output", run, "--data_dir", tmp_path / "moved", "--epoch", EPOCHS + 1)[0] == 0
    assert config(run)["options"]["data_dir"] == str(tmp_path / "moved")


def test_overwrite_starts_anew(call, run, place):
    assert call(*place.training(run, "--overwrite", "--max_steps", 2))[0] == 0
    assert len(metrics(run)) == 2
    assert [path.name for path in checkpoint.listing(run / "checkpoints")] == ["0000_0002.safetensors"]
    assert [path.name for path in run.glob("*_*.png")] == ["0000_0000.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the size of files")
def test_a_full_disk_while_saving_loses_nothing(place, run, call):
    import resource

    before = checkpoint.listing(run / "checkpoints")
    kept = {path: path.read_bytes() for path in before}
    assert min(map(len, kept.values())) > 300_000
    process = place.start("--resume", "--output", run, "--epoch", EPOCHS + 1,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, 250_000)))
    _, err = process.communicate(timeout=200)
    assert process.returncode == 2, err
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("error: cannot write ")
    assert "0006_0000.safetensors" in last
    assert "free some space" in last
    assert {path: path.read_bytes() for path in checkpoint.listing(run / "checkpoints")} == kept
    assert list((run / "checkpoints").glob(".*")) == []
    assert call("--resume", "--output", run, "--epoch", EPOCHS + 1)[0] == 0
    assert len(metrics(run)) == (EPOCHS + 1) * BATCHES


# -- options -------------------------------------------------------------------------------------------


def test_defaults_are_the_tutorials():
    recipe, args = options.read("static_mnist", [])
    assert recipe.name == args.recipe == "book"
    assert (args.batch_size, args.epoch, args.use_gpu, args.enable_ce) == (128, 20, False, False)
    assert Path(args.output) == Path("./output_dcgan")


def test_help_of_a_tutorial_has_its_own_options(capsys):
    with pytest.raises(SystemExit):
        train.main(["--recipe", "book", "--help"])
    printed = capsys.readouterr().out
    for words in ("--enable_ce", "--use_cudnn", "--dataset", "--data_dir", "--no_download", "double_sigmoid",
                  "(default: 128)"):
        assert words in printed


def test_dry_run_writes_nothing(call, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*place.training("new", "--dry_run"))
    assert code == 0, err
    assert '"batch_size": 3' in out
    assert "trained parameters" in out
    assert "13 batches an epoch, 65 iterations of" in out
    assert "GFLOP" in out and "time: about" in out and "room: about" in out
    assert list(tmp_path.iterdir()) == []
    assert "5 iterations of" in call(*place.training("new", "--dry_run", "--max_steps", 5))[1]


def test_dry_run_leaves_a_run_alone(call, place, run):
    before = content(run)
    assert call(*place.training(run, "--dry_run"))[0] == 0
    assert content(run) == before


@pytest.fixture
def steps(monkeypatch):
    """The batches that a run trains on, and how its GAN was made."""
    seen = []
    step, init = book.BookGAN.step, book.BookGAN.__init__
    monkeypatch.setattr(book.BookGAN, "step", lambda self, batch, random: seen.append(batch.copy())
                        or step(self, batch, random))

    def remember(self, *args, **kwargs):
        init(self, *args, **kwargs)
        seen.append((args[1:], kwargs))

    monkeypatch.setattr(book.BookGAN, "__init__", remember)
    return seen


def test_enable_ce_is_the_books_evaluation(call, place, tmp_path, steps):
    code, out, err = call("--enable_ce", "--batch_size", 4, "--data_dir", place.data, "--output", tmp_path / "ce")
    assert code == 0, err
    lines = metrics(tmp_path / "ce")
    assert len(lines) == 10  # one epoch
    kpis = dict(line.split("\t")[1:] for line in out.splitlines() if line.startswith("kpis\t"))
    d = np.mean([line["D-Loss"] for line in lines])
    g = np.mean([loss for line in lines for loss in (line["DG-Loss first"], line["DG-Loss"])])
    assert kpis == {"dcgan_d_train_cost": f"{d:f}", "dcgan_g_train_cost": f"{g:f}"}
    (args, kwargs), *batches = steps
    assert 90 in (*args, kwargs.get("seed"))  # startup's random_seed
    assert kwargs["one_seed"] is True
    expected = place.images.astype("float32").reshape([10, 4, 784]) / 255 * 2 - 1
    np.testing.assert_allclose(batches, expected, atol=1e-6)  # in the order of the file
    noise = checkpoint.load(newest(tmp_path / "ce"))[0]["constant_noise"]
    np.testing.assert_array_equal(noise, np.random.RandomState(10).uniform(-1, 1, [4, 100]).astype("float32"))
    assert config(tmp_path / "ce")["options"]["seed"] == 10


def test_other_runs_are_shuffled_anew_in_each_epoch(call, place, tmp_path, steps):
    assert call("--batch_size", 8, "--epoch", 2, "--data_dir", place.data, "--output", tmp_path / "run")[0] == 0
    (_, kwargs), *batches = steps
    assert not kwargs["one_seed"]
    first, second = np.concatenate(batches[:5]), np.concatenate(batches[5:])
    files = np.ascontiguousarray(place.images.astype("float32").reshape([40, 784]) / 255 * 2 - 1)
    orders = [[int(np.abs(files - picture).sum(1).argmin()) for picture in epoch] for epoch in (first, second)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(40))
    assert orders[0] != orders[1]
    assert list(range(40)) not in orders


def test_the_seed_decides_the_run(reference, call, place, tmp_path):
    for seed in (0, 1):
        assert call(*place.training(tmp_path / str(seed), "--seed", seed, "--max_steps", 1))[0] == 0
    first = metrics(reference[0])[:1]
    assert metrics(tmp_path / "0") == first != metrics(tmp_path / "1")


def test_all_fixes_and_each_alone(call, place, tmp_path):
    for fix in ("double_sigmoid", "max_pool", "adam_epsilon", "all"):
        code, _, err = call(*place.training(tmp_path / fix, "--fix", fix, "--max_steps", 1))
        assert code == 0, err
    assert config(tmp_path / "all")["options"]["fix"] == ["adam_epsilon", "double_sigmoid", "max_pool"]
    assert config(tmp_path / "max_pool")["options"]["fix"] == ["max_pool"]


# -- data ----------------------------------------------------------------------------------------------


def test_without_mnist_the_digits_stand_in_loudly(call, tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(plotting, "save_tutorial_grid", lambda path, pictures, title: titles.append(title))
    code, out, err = call("--data_dir", tmp_path / "empty", "--no_download", "--batch_size", 4, "--max_steps", 1,
                          "--output", tmp_path / "run")
    assert code == 0, err
    assert "NOT MNIST" in err
    assert str(tmp_path / "empty") in err
    assert "--data_dir" in err
    kept = config(tmp_path / "run")["dataset"]
    assert kept["fallback"] is True
    assert (kept["name"], kept["pictures"]) == ("digits", 1797)
    [title] = titles
    assert title.startswith("Epoch ID=0 Batch ID=0 D-Loss=")
    assert "digits" in title
    assert "not MNIST" in title


def test_digits_on_demand_have_no_notice(call, tmp_path):
    code, _, err = call("--dataset", "digits", "--batch_size", 4, "--max_steps", 1, "--output", tmp_path / "run")
    assert code == 0, err
    assert "NOT MNIST" not in err
    assert config(tmp_path / "run")["dataset"]["fallback"] is False


def test_mnist_never_falls_back(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    refused("--dataset", "mnist", "--data_dir", tmp_path / "empty", "--no_download", "--output", tmp_path / "run",
            words=[str(tmp_path / "empty"), "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "--data_dir"])
    assert not (tmp_path / "run").exists()


def test_bad_data_files_are_refused_before_anything_is_written(refused, tmp_path):
    data, output = tmp_path / "data", tmp_path / "run"
    write_pictures(data)
    images, labels = data / "train-images-idx3-ubyte", data / "train-labels-idx1-ubyte"
    good = images.read_bytes()
    images.write_bytes(good[:-1])
    refused("--data_dir", data, "--output", output, words=[str(images), "cut short", "replace it"])
    images.write_bytes(labels.read_bytes())
    refused("--data_dir", data, "--output", output, words=[str(images), "holds labels where images are expected"])
    write_pictures(data, size=20)
    refused("--data_dir", data, "--output", output, words=["20×20", "28×28"])
    assert not output.exists()


# -- refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("args", "words"), [
    (["--batch_size", "0"], ["--batch_size", "'0' is not a whole number from 1"]),
    (["--batch_size", "-8"], ["--batch_size"]),
    (["--batch_size", "many"], ["--batch_size", "'many'"]),
    (["--batch_size", "1.5"], ["--batch_size", "'1.5'"]),
    (["--batch_size"], ["--batch_size", "expected one argument"]),
    (["--epoch", "0"], ["--epoch"]),
    (["--epoch", "-1"], ["--epoch"]),
    (["--max_steps", "0"], ["--max_steps"]),
    (["--seed", "-1"], ["--seed"]),
    (["--seed", "x"], ["--seed", "'x'"]),
    (["--seed", "4294967296"], ["--seed", "4294967295"]),
    (["--fix", "everything"], ["--fix", "everything", "double_sigmoid", "max_pool"]),
    (["--fix"], ["--fix"]),
    (["--dataset", "cats"], ["--dataset", "cats", "mnist"]),
    (["--speed", "fast"], ["--speed"]),
    (["--batch", "8"], ["--batch"]),
    (["somewhere"], ["somewhere"]),
    (["--resume", "--overwrite"], ["--resume", "--overwrite"]),
    (["--use_cudnn"], ["--use_cudnn", "--use_gpu"]),
    (["--batch_size", "41"], ["--batch_size 41", "40 pictures", "smaller"]),
    (["--output", "file"], ["file", "choose another --output"]),
    (["--output", "file/below"], ["file/below", "choose another --output"]),
    (["--resume", "--output", "nothing"], ["--resume", "no run in nothing", "leave the flag out"]),
    (["--resume", "--output", "file"], ["--resume", "no run in file"]),
    (["--data_dir", "file"], ["file is a file", "name the folder"]),
])
def test_bad_options(refused, place, tmp_path, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    refused("--data_dir", place.data, "--batch_size", BATCH, *args, words=words)
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_refusal_as_the_shell_sees_it(tmp_path):
    done = subprocess.run([sys.executable, TRAIN, "--batch_size", "0"], cwd=tmp_path,
                          capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="this Paddle has CUDA")
def test_a_gpu_that_paddle_cannot_use(refused, place, tmp_path):
    refused(*place.training(tmp_path / "run", "--use_gpu"), words=["--use_gpu", "without CUDA", "leave the flag out"])
    assert not (tmp_path / "run").exists()


def cut(data):
    return data[:-1000]


def flip(data):
    """One bit in the middle of the weights."""
    changed = bytearray(data)
    changed[len(data) // 2] ^= 4
    return bytes(changed)


def of_another_recipe(path):
    arrays, record = checkpoint.load(path)
    record["config"]["recipe"] = "note6"
    checkpoint.save(path.parent, *map(int, path.stem.split("_")), arrays, record)


def test_bad_checkpoints(refused, call, run):
    path, expected = newest(run), result(run)
    good = path.read_bytes()
    for spoil, words in [
        (lambda: path.write_bytes(cut(good)), ["no whole checkpoint", "move it away to go on from 0004_0000"]),
        (lambda: path.write_bytes(flip(good)), ["altered", "move it away to go on from 0004_0000"]),
        (lambda: path.write_bytes(b""), ["no whole checkpoint", "move it away to go on from 0004_0000"]),
        (lambda: of_another_recipe(path), ["recipe note6", "not of book"]),
    ]:
        path.write_bytes(good)
        spoil()
        before = content(run)
        refused("--resume", "--output", run, "--epoch", EPOCHS + 1, words=[path.name, *words])
        assert content(run) == before
    path.unlink()  # as the message says
    code, _, err = call("--resume", "--output", run)
    assert code == 0, err
    assert result(run) == expected  # trained once more


def test_a_checkpoint_of_another_network(refused, call, place, run, tmp_path):
    assert call(*place.training(tmp_path / "other", "--fix", "max_pool", "--max_steps", 1))[0] == 0
    alien = shutil.copy(newest(tmp_path / "other"), run / "checkpoints" / "0006_0000.safetensors")
    before = content(run)
    refused("--resume", "--output", run, "--epoch", 8,
            words=[alien.name, "fc1w", "another network", "move it away to go on from 0005_0000"])
    assert content(run) == before
    alien.unlink()
    assert call("--resume", "--output", run, "--epoch", EPOCHS + 1)[0] == 0


def test_a_run_is_never_lost_by_a_wrong_command(refused, call, place, run, tmp_path):
    """Each is refused, changes nothing, and the run can still be resumed in the end."""
    before = content(run)
    write_pictures(tmp_path / "others", seed=1)
    refused(*place.training(run), words=["holds a run already", "--resume", "--overwrite", "--output"])
    refused("--resume", "--output", run, "--data_dir", tmp_path / "others", words=["these pictures are others"])
    refused("--resume", "--output", run, "--dataset", "digits", words=["dataset auto", "not digits"])
    for option, value in (("batch_size", 4), ("seed", 1), ("fix", "max_pool"), ("fix", "all")):
        refused("--resume", "--output", run, f"--{option}", value, words=["--resume", option, f"leave --{option} out"])
    refused("--resume", "--output", run, "--enable_ce", words=["--resume", "enable_ce"])
    if not paddle.is_compiled_with_cuda():
        refused("--resume", "--output", run, "--use_gpu", words=["use_gpu"])
        refused(*place.training(run, "--overwrite", "--use_gpu"), words=["--use_gpu"])
    refused(*place.training(run, "--overwrite", "--batch_size", 41), words=["--batch_size 41"])
    refused(*place.training(run, "--overwrite", "--dataset", "mnist", "--data_dir", tmp_path / "nothing",
                            "--no_download"), words=["MNIST is not in"])
    for text in ("", "{", "[]", "{}"):
        (run / "config.json").write_text(text)
        refused("--resume", "--output", run, words=["config.json cannot be read", "restore it", "--overwrite"])
        assert (run / "config.json").read_text() == text
    (run / "config.json").write_bytes(before[run / "config.json"])
    (run / "metrics.jsonl").write_bytes(before[run / "metrics.jsonl"][:300])
    code, _, err = call("--resume", "--output", run, "--epoch", EPOCHS + 1)
    assert code == 2
    assert "metrics.jsonl has 2 lines, the checkpoint has 65 steps: put the file back" in err
    assert err.count("\n") == 1
    (run / "metrics.jsonl").write_bytes(before[run / "metrics.jsonl"])
    (run / "config.json").write_bytes(before[run / "config.json"])
    assert content(run) == before
    assert call("--resume", "--output", run, "--epoch", EPOCHS + 1)[0] == 0
    assert len(metrics(run)) == (EPOCHS + 1) * BATCHES


def test_visualdl_that_is_missing_costs_no_run(refused, place, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "visualdl", None)
    before = content(run)
    refused(*place.training(run, "--overwrite", "--visualdl"), words=["--visualdl", "pip install visualdl"])
    assert content(run) == before
