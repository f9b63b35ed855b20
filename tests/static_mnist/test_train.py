"""The training command: what it leaves behind, how it goes on, its options and data.

All runs are in this process and train narrow networks. test_cgan_command.py has the real command.
"""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from PIL import Image

from common import plotting
from common.backend import amp, fast, runtime
from common.training import checkpoint, options
from static_mnist import book, train
from tests.helpers import content
from tests.static_mnist.narrow_runs import (
    BATCH,
    BATCHES,
    EPOCHS,
    PICTURES,
    config,
    metrics,
    newest,
    result,
    write_pictures,
)

# -- a whole run ---------------------------------------------------------------------------------------


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


# -- resumed runs --------------------------------------------------------------------------------------


def test_max_steps_over_resumed_runs(reference, place, call, tmp_path):
    """And in the end the run is the one that was never stopped."""
    for steps, resume in ((5, []), (16, ["--resume"])):
        code, out, err = call(*place.training(tmp_path / "run", "--max_steps", steps, *resume))
        assert code == 0, err
        assert len(metrics(tmp_path / "run")) == steps
        assert f"done: {steps} steps" in out
    assert call("--resume", "--output", tmp_path / "run")[0] == 0  # the options are the run's own
    *found, pictures = result(tmp_path / "run")
    *expected, others = result(reference[0])
    assert found == expected
    assert {name: pictures[name] for name in others if name != "losses.png"} == {
        name: pixels for name, pixels in others.items() if name != "losses.png"}


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
    monkeypatch.setattr(runtime, "bf16_processor", lambda: False)
    code, _, err = call(*place.training(tmp_path / "run", "--amp", "--max_steps", 2))
    assert code == 0 and "note: --amp: this processor has no bf16; it trains in float32" in err.splitlines()
    assert metrics(tmp_path / "run") == metrics(reference[0])[:2]
    kept = config(tmp_path / "run")
    assert kept["options"]["amp"] and kept["machine"]["arithmetic"] == "float32" and kept["dataset"]["note"] == ""


def test_amp_on_a_gpu_is_recorded_and_shown(call, refused, place, tmp_path, monkeypatch):
    """A CPU plays the card, which has no float16: all operators are on the list of float32."""
    monkeypatch.setattr(runtime, "place", lambda use_gpu: paddle.CPUPlace())
    monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda: (7, 0))
    monkeypatch.setattr(amp, "on", False)  # put back afterwards
    monkeypatch.setattr(amp, "WHITE", set())
    monkeypatch.setattr(amp, "BLACK", {"conv2d", "conv2d_transpose", "matmul_v2"})
    monkeypatch.setenv("GAN_FAST_OPS", "0")
    run, titles = tmp_path / "run", []
    refused(*place.training(run, "--amp", "--use_gpu"), words=["--amp", "--use_cudnn", "float16"])
    monkeypatch.setattr(plotting, "save_tutorial_grid", lambda path, pictures, title: titles.append(title))
    assert call(*place.training(run, "--amp", "--use_gpu", "--use_cudnn", "--max_steps", 2))[0] == 0
    state = checkpoint.load(newest(run))[0]
    assert {state[f"num_good_steps_{number}"].item() for number in (0, 1)} == {4}
    assert config(run)["machine"]["arithmetic"] == "float16"
    assert titles and all("arithmetic: float16" in title for title in titles)


def test_amp_is_recorded_shown_and_resumed_to_the_bit(reference, place, call, tmp_path, monkeypatch):
    """By emulation where the processor has no bf16."""
    if not fast.working():
        pytest.skip("the fast operators are off")
    if not runtime.bf16_processor():
        monkeypatch.setattr(runtime, "bf16_processor", lambda: True)
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


def test_more_epochs_and_data_that_have_moved_are_remembered(call, run, place, tmp_path):
    moved = shutil.copytree(place.data, tmp_path / "moved")
    done = EPOCHS * BATCHES
    more = ["--epoch", EPOCHS + 1, "--data_dir", moved, "--max_steps", done + 2]
    assert call("--resume", "--output", run, *more)[0] == 0
    assert config(run)["options"]["data_dir"] == config(run)["dataset"]["source"] == str(moved)
    code, out, _ = call("--resume", "--output", run)
    assert code == 0
    assert f"resuming {run / 'checkpoints' / f'{EPOCHS:04d}_0002.safetensors'} at step {done + 2} of {done + 13}" in out
    assert len(metrics(run)) == done + 13


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the size of files")
def test_a_full_disk_while_saving_loses_nothing(run, call):
    import resource

    kept = {path: path.read_bytes() for path in checkpoint.listing(run / "checkpoints")}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, hard))
    try:
        code, _, err = call("--resume", "--output", run, "--epoch", EPOCHS + 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2, err
    last = err.splitlines()[-1]
    assert last.startswith("error: cannot write ") and "free some space" in last
    assert f"{EPOCHS + 1:04d}_0000.safetensors" in last
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


def test_dry_run_writes_nothing(call, place, tmp_path, run):
    before = content(tmp_path)
    code, out, err = call(*place.training(tmp_path / "new", "--dry_run"))
    assert code == 0, err
    assert '"batch_size": 3' in out
    assert "trained parameters" in out
    assert f"13 batches an epoch, {13 * EPOCHS} iterations of" in out
    assert "GFLOP" in out and "time: about" in out and "room: about" in out
    assert "5 iterations of" in call(*place.training(run, "--dry_run", "--max_steps", 5))[1]
    assert content(tmp_path) == before and not (tmp_path / "new").exists()


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


def test_overwrite_starts_anew_and_another_seed_gives_another_run(reference, call, run, place):
    assert call(*place.training(run, "--overwrite", "--seed", 1, "--max_steps", 1))[0] == 0
    [line] = metrics(run)
    first = metrics(reference[0])[0]
    assert line.keys() == first.keys() and line["D-Loss"] != first["D-Loss"]
    assert [path.name for path in checkpoint.listing(run / "checkpoints")] == ["0000_0001.safetensors"]
    assert [path.name for path in run.glob("*_*.png")] == ["0000_0000.png"]


def test_all_fixes(call, place, tmp_path):
    code, _, err = call(*place.training(tmp_path / "run", "--fix", "all", "--max_steps", 1))
    assert code == 0, err
    assert config(tmp_path / "run")["options"]["fix"] == ["adam_epsilon", "double_sigmoid", "max_pool"]


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

    write_pictures(tmp_path / "empty")  # there by now: the run still goes on with its own data
    resume = ["--resume", "--output", str(tmp_path / "run")]
    same, other = (["--data_dir", str(tmp_path / name)] for name in ("empty", "others"))
    for typed, dataset in (([], "digits"), (same, "digits"), (["--dataset", "digits"], "digits"), (other, "auto")):
        assert options.read("static_mnist", [*resume, *typed])[1].dataset == dataset
    write_pictures(tmp_path / "others")
    code, _, err = call(*resume, *other, "--max_steps", 2)
    assert code == 2 and "these pictures are others" in err
    assert "leave --data_dir out to go on with the embedded pictures" in err
    code, _, err = call(*resume, *same, "--max_steps", 2)
    assert (code, "NOT MNIST" in err) == (0, False), err
    assert len(metrics(tmp_path / "run")) == 2 and config(tmp_path / "run")["dataset"] == kept


def test_the_embedded_digits_have_no_folder(refused, tmp_path):
    refused("--dataset", "digits", "--data_dir", tmp_path, words=["--dataset digits", "--data_dir", "exclude"])


def test_bad_data_files_are_refused_before_anything_is_written(refused, tmp_path):
    data, output = tmp_path / "data", tmp_path / "run"
    write_pictures(data, size=20)
    refused("--data_dir", data, "--output", output, words=["20×20", "28×28"])
    images = data / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1])
    refused("--data_dir", data, "--output", output, words=[str(images), "cut short", "replace it"])
    assert not output.exists()
