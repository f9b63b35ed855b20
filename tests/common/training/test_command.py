"""Options: what is typed, what a run remembers, and what may change when it goes on."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.errors import UserError
from common.training import command

FIXES = {"one": "mends one", "two": "mends two"}


def parser():
    made = command.Parser(prog="train.py")
    command.add_training_options(made, epoch=20, batch_size=128, output="./out", fixes=FIXES)
    made.add_argument("--data_dir", type=Path)
    return made


def parse(*argv):
    return command.parse(parser(), list(map(str, argv)), FIXES)


@pytest.fixture
def run(tmp_path):
    """A run's config.json with options of its own."""
    options = {"batch_size": 8, "epoch": 3, "output": "elsewhere", "use_gpu": False, "seed": 4, "fix": ["one"],
               "max_steps": 7, "resume": False, "overwrite": False, "dry_run": False, "visualdl": True,
               "data_dir": "data"}
    config = {"recipe": "x", "options": options, "dataset": {}, "versions": {}, "machine": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_defaults():
    args = parse()
    assert (args.batch_size, args.epoch, args.output, args.fix) == (128, 20, Path("out"), [])
    assert (args.max_steps, args.resume, args.overwrite, args.dry_run, args.use_gpu) == (None, *[False] * 4)


def test_fixes_are_sorted_and_all_means_all():
    assert parse("--fix", "two", "one", "two").fix == ["one", "two"] == parse("--fix", "all").fix
    assert parse("--fix", "all", "one").fix == ["one", "two"]


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", "", "1e3", " 1", "²"])
def test_positive_refuses(text):
    with pytest.raises(UserError, match="--epoch: .* is not a whole number from 1; train.py --help lists"):
        parse("--epoch", text)


def test_positive_and_seed_take_their_range():
    assert parse("--epoch", "1").epoch == 1
    assert parse("--seed", "0").seed == 0
    assert parse("--seed", 2 ** 32 - 1).seed == 2 ** 32 - 1
    for text in ("-1", "x", 2 ** 32):
        with pytest.raises(UserError, match="--seed"):
            parse("--seed", text)


@pytest.mark.parametrize("argv", [["--epo", "3"], ["--unknown"], ["extra"], ["--fix", "three"], ["--fix"],
                                  ["--resume", "--overwrite"]])
def test_errors_are_one_line(argv):
    with pytest.raises(UserError) as caught:
        parse(*argv)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("known", "typed", "fix"), [
    (None, [], ["adam_epsilon", "one"]),
    (None, ["--fix", "one"], ["adam_epsilon", "one"]),
    (None, ["--fix", "one", "adam_epsilon"], ["adam_epsilon", "one"]),
    (["adam_epsilon", "one"], ["--fix", "one"], ["one"]),
])
def test_a_run_that_knew_no_other_adam_has_paddles(run, known, typed, fix):
    if known:
        config = json.loads((run / "config.json").read_text())
        (run / "config.json").write_text(json.dumps({**config, "oddities": known}))
    fixes = {**FIXES, "adam_epsilon": "mends Adam"}
    made = command.Parser(prog="train.py")
    command.add_training_options(made, epoch=20, batch_size=128, output="./out", fixes=fixes)
    made.add_argument("--data_dir", type=Path)
    assert command.parse(made, ["--resume", "--output", str(run), *typed], fixes).fix == fix


def test_given_tells_typed_options_from_defaults():
    typed = command.given(parser(), ["--epoch", "20", "--fix", "one", "two", "--resume", "--data_dir", "x"])
    assert typed == {"epoch", "fix", "resume", "data_dir"}
    assert command.given(parser(), []) == set()


def test_a_resumed_run_has_its_own_options(run):
    args = parse("--resume", "--output", run)
    assert (args.batch_size, args.epoch, args.seed, args.fix) == (8, 3, 4, ["one"])
    assert args.data_dir == Path("data")
    assert args.output == run
    assert args.resume is True
    assert (args.max_steps, args.visualdl) == (None, False)  # for one call only


def test_what_may_change(run):
    args = parse("--resume", "--output", run, "--epoch", 30, "--data_dir", "moved", "--max_steps", 9)
    assert (args.epoch, args.data_dir, args.max_steps) == (30, Path("moved"), 9)


def test_the_same_may_be_typed_again(run):
    args = parse("--resume", "--output", run, "--batch_size", 8, "--seed", 4, "--fix", "one")
    assert (args.batch_size, args.seed, args.fix) == (8, 4, ["one"])


@pytest.mark.parametrize(("argv", "words"), [
    (["--batch_size", "128"], "batch_size 8, not 128; leave --batch_size out"),
    (["--seed", "0"], "seed 4, not 0; leave --seed out"),
    (["--fix", "two"], "fix .*not .*; leave --fix out"),
    (["--use_gpu"], "use_gpu False, not True; leave --use_gpu out"),
])
def test_what_may_not_change(run, argv, words):
    with pytest.raises(UserError, match=words):
        parse("--resume", "--output", run, *argv)


def test_without_resume_an_old_run_decides_nothing(run):
    assert parse("--output", run).batch_size == 128
    assert parse("--output", run, "--overwrite").epoch == 20


def test_a_changed_machine_is_noted(capsys, monkeypatch):
    now = {"versions": {"paddlepaddle": "3.3.1"}, "machine": {"threads": 2}}
    monkeypatch.setattr(command.runtime, "describe", lambda: now)
    config = {"dataset": {"checksum": "a", "name": "MNIST", "source": "x"}, "versions": {"paddlepaddle": "3.3.1"},
              "machine": {"threads": 2}}
    folder = SimpleNamespace(path="run", read_config=lambda: config)
    description = {"checksum": "a", "name": "MNIST", "source": "y"}
    command.check_data(folder, description)
    assert capsys.readouterr().err == ""
    config["machine"], config["versions"] = {"threads": 8}, {"paddlepaddle": "2.6.2"}
    command.check_data(folder, description)
    first, second = capsys.readouterr().err.splitlines()
    assert "threads 8 when the run started, 2 now" in first
    assert "Paddle 2.6.2 when the run started, 3.3.1 now" in second
    with pytest.raises(UserError, match="these pictures are others"):
        command.check_data(folder, {**description, "checksum": "b"})
