"""One run a folder, one process a run, and records that stay complete."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError, run_command
from common.files import replacing
from common.training import run_folder
from common.training.records import Records
from common.training.run_folder import RunFolder
from tests.helpers import content

ROOT = Path(__file__).resolve().parents[3]
CONFIG = {"recipe": "fake", "options": {"seed": 1}, "dataset": {"name": "日本"}, "versions": {}, "machine": {}}


def started(path, steps=0):
    """A folder with a run in it, let go of."""
    folder = RunFolder(path)
    folder.write_config(CONFIG)
    folder.open_metrics(0)
    for step in range(steps):
        folder.write_metrics(step=step, loss=np.float32(step) / 10)
    folder.close()
    return path


def test_config_comes_back(tmp_path):
    started(tmp_path)
    assert Records(tmp_path).read_config() == CONFIG
    assert "日本" in (tmp_path / "config.json").read_text(encoding="utf-8")  # readable as it is


def test_a_run_is_not_started_twice(tmp_path):
    before = content(started(tmp_path, 3))
    with pytest.raises(UserError, match="--resume goes on with it, --overwrite deletes it"):
        RunFolder(tmp_path)
    assert content(tmp_path) == before
    RunFolder(tmp_path, resume=True).close()  # the refusal has let go of the lock
    assert content(tmp_path) == before


@pytest.mark.parametrize("left", ["metrics.jsonl", "checkpoints/0003_0000.safetensors"])
def test_a_run_without_its_config_is_not_written_over(tmp_path, left):
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).write_text("x")
    for resume in (False, True):
        with pytest.raises(UserError, match="a run without its config.json; put that back, or --overwrite"):
            RunFolder(tmp_path, resume)
    assert (tmp_path / left).read_text() == "x"
    RunFolder(tmp_path, overwrite=True).close()
    assert content(tmp_path) == {}


def test_overwrite_deletes_a_runs_own_files_only(tmp_path):
    started(tmp_path, 3)
    own = ["0000_0010.png", "12345_0000.png", "losses.png", "animation.gif", "timing.jsonl", "metrics.png",
           "checkpoints/0001_0000.safetensors", "constant_noise/0000_0000.png", "visualdl/vdlrecords.1700000000.log"]
    others = ["mine.txt", "photo.png", "20240512_123456.png", "2024_05_holiday_1.png", "visualdl/log",
              "checkpoints/folder/mine", "checkpoints/best.safetensors", "constant_noise/favourite.png"]
    for name in own + others:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("x")
    RunFolder(tmp_path, overwrite=True).close()
    assert {str(path.relative_to(tmp_path)) for path in content(tmp_path)} == set(others)


@pytest.mark.parametrize("exists", [True, False])
def test_nothing_to_resume(tmp_path, exists):
    path = tmp_path if exists else tmp_path / "new"
    with pytest.raises(UserError, match="--resume: there is no run in .*leave the flag out"):
        RunFolder(path, resume=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["config.json", "report.html", "losses.png", "0000_0010.png", "own.txt"])
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_file_of_another_program_is_not_lost(tmp_path, name, overwrite):
    (tmp_path / name).write_text('{"model_type": "bert"}')
    before = content(tmp_path)
    with pytest.raises(UserError, match=f"{name} is there and belongs to no run; choose another --output"):
        RunFolder(tmp_path, overwrite=overwrite, files=("own.txt",))
    assert content(tmp_path) == before


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize(("metrics", "config", "foreign"), [
    ('{"loss": 0.5}\n{"step": 1, "epoch": 0, "batch": 1}\n', None, "metrics.jsonl"),
    ('{"step": 0, "loss": 0.5}\n', '{"model_type": "bert"}', "metrics.jsonl"), ("0.5\n", "", "metrics.jsonl"),
    ('{"step": 0, "epoch": 0, "batch": 0}\n', '{"model_type": "bert"}', "config.json"), ("", "[]", "config.json"),
])
def test_records_of_another_program_are_not_lost(tmp_path, metrics, config, foreign, overwrite):
    for name, text in (("metrics.jsonl", metrics), ("config.json", config), ("0000_0010.png", "x")):
        if text is not None:
            (tmp_path / name).write_text(text)
    before = content(tmp_path)
    with pytest.raises(UserError, match=f"{foreign} is there and belongs to no run; choose another --output"):
        RunFolder(tmp_path, overwrite=overwrite)
    assert content(tmp_path) == before


@pytest.mark.parametrize(("metrics", "config"), [
    ("", ""), ('{"step": 0, "epo', "{"), ("\0\0", None), ('{"step": 0}\n', '{"recipe": "fake"}'),
    ('{"evaluation": true, "step": 0, "epoch": 0, "batch": 0}\n', "\0\0"),
])
def test_a_damaged_run_can_be_written_over(tmp_path, metrics, config):
    (tmp_path / "metrics.jsonl").write_text(metrics)
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    RunFolder(tmp_path, overwrite=True).close()
    assert content(tmp_path) == {}


def test_a_run_without_checkpoint_cannot_be_resumed(tmp_path):
    with pytest.raises(UserError, match="no checkpoint yet; train.py --overwrite starts anew"):
        Records(started(tmp_path)).latest()


@pytest.mark.parametrize("output", ["file", "file/below"])
def test_an_output_that_is_a_file(tmp_path, output):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot write into .*choose another --output"):
        RunFolder(tmp_path / output)
    with pytest.raises(UserError, match="no run"):
        RunFolder(tmp_path / output, resume=True)
    assert (tmp_path / "file").read_text() == "mine"


def test_one_process_at_a_time(tmp_path):
    before = content(started(tmp_path, 2))
    program = ("import sys; sys.path.insert(0, sys.argv[1]); from common.training.run_folder import RunFolder\n"
               "folder = RunFolder(sys.argv[2], resume=True); print('locked', flush=True); sys.stdin.read()")
    other = subprocess.Popen([sys.executable, "-c", program, str(ROOT), str(tmp_path)], text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == "locked\n"
        for flags in {}, {"resume": True}, {"overwrite": True}:
            with pytest.raises(UserError, match="another process is training in .*wait for it"):
                RunFolder(tmp_path, **flags)
            assert content(tmp_path) == before
    finally:
        other.kill()
        other.communicate()
    RunFolder(tmp_path, resume=True).close()  # a killed process leaves no lock behind


@pytest.mark.parametrize("text", [
    "", "{", "[]", "null", "7", "{}", '{"recipe": "fake"}', "\xff",
    '{"recipe": [], "options": {}, "dataset": {}, "versions": {}, "machine": {}}',
    '{"recipe": "fake", "options": {}, "dataset": 5, "versions": {}, "machine": {}}'])
def test_a_damaged_config_is_refused(tmp_path, text):
    started(tmp_path)
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="config.json cannot be read .*restore it, or train into another") as caught:
        Records(tmp_path).read_config()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "checkpoints"])
def test_what_the_system_lets_nobody_read_is_not_told_as_missing_or_damaged(tmp_path, capsys, name):
    """Else the advice would be to train anew over a whole run. A link to itself stands for a lack of permission."""
    records = Records(started(tmp_path))
    path = tmp_path / name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.symlink_to(path)
    assert run_command(records.read_config if name == "config.json" else records.latest) == 2
    told = capsys.readouterr().err
    assert str(path) in told and "Too many levels of symbolic links; check" in told and "--overwrite" not in told


def test_a_key_that_a_config_lacks_is_named_when_it_is_asked_for(tmp_path):
    started(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(dict.fromkeys(
        ["recipe", "options", "dataset", "versions", "machine"], {}) | {"recipe": "fake"}))
    config = Records(tmp_path).read_config()
    assert config["options"].get("seed") is None
    with pytest.raises(UserError, match="config.json cannot be read .no 'seed' in it.; restore it, or train"):
        config["options"]["seed"]


def test_what_a_killed_run_has_left_half_written_goes(tmp_path):
    started(tmp_path)
    halves = [tmp_path / folder / ".a.x.part.png" for folder in (".", "checkpoints", "constant_noise", "image")]
    for half in halves:
        half.parent.mkdir(exist_ok=True)
        half.touch()
    RunFolder(tmp_path, resume=True, files=["image/test_0.png"]).close()
    assert not any(half.exists() for half in halves)


def test_a_missing_config_is_refused(tmp_path):
    (tmp_path / "file").write_text("no folder")
    for path in tmp_path, tmp_path / "file":
        with pytest.raises(UserError, match="there is no run in"):
            Records(path).read_config()


def test_metrics_are_written_line_by_line_in_shortest_digits(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open_metrics(0)
    folder.write_metrics(step=np.int64(0), loss=np.float32(0.1), mean=np.float64(1 / 3), name="x")
    line = '{"step": 0, "loss": 0.1, "mean": 0.3333333333333333, "name": "x"}\n'
    assert (tmp_path / "metrics.jsonl").read_text() == line  # at once: not when the file is closed
    assert folder.metrics() == [{"step": 0, "loss": 0.1, "mean": 1 / 3, "name": "x"}]
    assert np.float32(folder.metrics()[0]["loss"]) == np.float32(0.1)
    folder.close()


@pytest.mark.parametrize(("end", "steps"), [(b"", 3), (b"", 5), (b'{"step": 5, "lo', 5), (b'{"step"', 2)])
def test_metrics_beyond_the_checkpoint_are_dropped(tmp_path, end, steps):
    path = started(tmp_path, 5) / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + end)
    folder = RunFolder(tmp_path, resume=True)
    folder.open_metrics(steps)
    folder.write_metrics(step=steps)
    folder.close()
    assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[:steps]) + b'{"step": %d}\n' % steps


def test_missing_metrics_are_noticed(tmp_path):
    before = content(started(tmp_path, 5))
    folder = RunFolder(tmp_path, resume=True)
    with pytest.raises(UserError, match="has 5 lines, the checkpoint has 6 steps: put the file back"):
        folder.open_metrics(6)
    folder.close()
    assert content(tmp_path) == before


def test_evaluations_are_kept_apart_from_steps(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open_metrics(0)
    folder.write_metrics(step=0, loss=1)
    Records(tmp_path).add_evaluation(1, 0, 1, fid=np.float32(0.1), recall={"7": 0.5})  # while it trains
    folder.write_metrics(step=1, loss=2)
    Records(tmp_path).add_evaluation(0, 0, 0, fid=3)
    Records(tmp_path).add_evaluation(1, 0, 1, kid=4)
    folder.close()
    assert folder.metrics() == [{"step": 0, "loss": 1}, {"step": 1, "loss": 2}]
    assert Records(tmp_path).evaluations() == [
        {"evaluation": True, "step": 0, "epoch": 0, "batch": 0, "fid": 3},
        {"evaluation": True, "step": 1, "epoch": 0, "batch": 1, "fid": 0.1, "recall": {"7": 0.5}, "kid": 4}]


def test_a_run_without_evaluations(tmp_path):
    assert Records(tmp_path).evaluations() == []
    assert Records(started(tmp_path, 3)).evaluations() == []


def test_resume_keeps_the_evaluations_of_what_is_left(tmp_path):
    """Those of the steps that the checkpoint has, in their places; they do not count as steps."""
    path = started(tmp_path, 2) / "metrics.jsonl"
    for step in (0, 2):
        Records(tmp_path).add_evaluation(step, 0, step, fid=step)
    kept = path.read_bytes()
    folder = RunFolder(tmp_path, resume=True)
    folder.open_metrics(2)
    folder.write_metrics(step=2)
    folder.close()
    assert path.read_bytes() == kept + b'{"step": 2}\n'  # nothing to drop: not touched
    Records(tmp_path).add_evaluation(3, 0, 3, fid=3)
    with open(path, "ab") as file:
        file.write(b'{"evaluation": true, "step": 1, "ep')  # cut short
    folder = RunFolder(tmp_path, resume=True)
    folder.open_metrics(2)
    folder.write_metrics(step=2, again=1)
    folder.close()
    assert path.read_bytes() == kept + b'{"step": 2, "again": 1}\n'
    assert [each["fid"] for each in Records(tmp_path).evaluations()] == [0, 2]


def test_an_evaluation_behind_a_torn_line_is_whole(tmp_path):
    started(tmp_path, 1)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 1, "lo')
    Records(tmp_path).add_evaluation(1, 0, 1, fid=2)
    assert Records(tmp_path).evaluations() == [{"evaluation": True, "step": 1, "epoch": 0, "batch": 1, "fid": 2}]
    (tmp_path / "metrics.jsonl").write_text('{"evaluation": true, "fid": 2}\n')  # and one that lacks its step
    assert Records(tmp_path).evaluations() == []


def test_evaluations_do_not_stand_in_for_missing_steps(tmp_path):
    started(tmp_path, 5)
    Records(tmp_path).add_evaluation(5, 0, 5, fid=1)
    folder = RunFolder(tmp_path, resume=True)
    with pytest.raises(UserError, match="has 5 lines, the checkpoint has 6 steps"):
        folder.open_metrics(6)
    folder.close()


def test_an_evaluation_of_a_run_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match="cannot write into .*copy the run"):
        Records(tmp_path / "gone").add_evaluation(0, 0, 0, fid=1)


class FullDisk:
    """A file on a disk without space, whose buffer cannot be emptied on closing either."""

    def __init__(self, *_, **__):
        pass

    def write(self, _text):
        pass

    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    close = flush

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.flush()


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    started(tmp_path, 2)
    folder = RunFolder(tmp_path, resume=True)
    monkeypatch.setattr(run_folder, "open", FullDisk, raising=False)
    folder.open_metrics(2)
    for write in (folder.write_metrics, folder.write_timing):
        with pytest.raises(UserError, match="No space left on device; free some space, then go on with --resume"):
            write(step=2)
    folder.close()
    RunFolder(tmp_path, resume=True).close()


@pytest.mark.parametrize("place, suffix", [("checkpoints", "safetensors"), (".", "png"), ("constant_noise", "png")])
def test_half_files_of_a_killed_run_are_cleared_away(tmp_path, place, suffix):
    started(tmp_path)
    (tmp_path / place).mkdir(exist_ok=True)
    whole = tmp_path / place / f"0001_0000.{suffix}"
    whole.write_text("x")
    writing = replacing(tmp_path / place / f"0002_0000.{suffix}")
    writing.__enter__().write_text("x")  # and never the end of the block
    assert len(list((tmp_path / place).glob(f"*.{suffix}"))) == 2
    RunFolder(tmp_path, resume=True).close()
    assert list((tmp_path / place).glob(f"*.{suffix}")) == [whole]


def test_timing_is_kept_apart(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open_metrics(0)
    folder.write_timing(step=1, seconds={"step": 0.5})
    folder.write_timing(step=2, seconds={"step": 1.0})
    folder.close()
    lines = [json.loads(line) for line in (tmp_path / "timing.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert (tmp_path / "metrics.jsonl").read_text() == ""
