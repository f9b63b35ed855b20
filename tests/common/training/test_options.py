"""Options: what is typed, what a run remembers, and what may change when it goes on."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from common import recipe as recipes
from common.crop import Box
from common.errors import UserError
from common.recipe import GAN, Oddity, Recipe
from common.training import options

ROOT = Path(__file__).resolve().parents[3]
ODDITIES = (Oddity("one", "mends one", "here"), Oddity("two", "mends two", "there"))


class Fake(Recipe):
    """Its epochs depend on another option, and two of its options exclude each other."""

    def add_options(self, parser):
        parser.add_argument("--data_dir", type=Path)
        parser.add_argument("--dataset", default="auto")
        parser.add_argument("--long", action="store_true")

    def defaults(self, options):
        return {"epoch": 99, "seed": 7} if options["long"] else super().defaults(options)

    def fault(self, options):
        return "--long wants no --use_gpu" if options["long"] and options["use_gpu"] else None


def fake(oddities=ODDITIES):
    return Fake("x", "a test", GAN, epoch=20, epochs={"big": 40}, batch_size=128, output="./out", data=("big",),
                oddities=oddities)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(recipes.TUTORIALS, "x", "tests_x.module")


def parse(*argv, oddities=ODDITIES):
    return options.complete(fake(oddities), list(map(str, argv)))


@pytest.fixture
def run(tmp_path):
    """A run's config.json with options of its own."""
    options = {"batch_size": 8, "epoch": 3, "output": "elsewhere", "use_gpu": False, "seed": 4, "fix": ["one"],
               "max_steps": 7, "resume": False, "overwrite": False, "dry_run": False, "visualdl": True,
               "data_dir": "data", "dataset": "auto", "long": False}
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
    adam = Oddity("adam_epsilon", "mends Adam", "everywhere", mended_before=True)
    assert parse("--resume", "--output", run, *typed, oddities=(*ODDITIES, adam)).fix == fix


def test_what_was_typed_is_told_from_defaults():
    parser = options.Parser(prog="x")
    parser.add_argument("--epoch", type=int, default=20, help="epochs")
    parser.add_argument("--fix", nargs="+", default=[], help="mend 100 %%")
    parser.add_argument("--resume", action="store_true", help="go on")
    assert parser.typed(["--epoch", "20", "--resume"]) == {"epoch": 20, "resume": True}
    assert parser.typed([]) == {}
    assert parser.parse_args(["--epoch", "3"]) == argparse.Namespace(epoch=3, fix=[], resume=False)
    assert "epochs (default: 20)" in parser.format_help() and "100 %\n" in parser.format_help()


def test_defaults_that_depend_on_other_options(run):
    assert (parse("--dataset", "big").epoch, parse("--dataset", "big", "--epoch", 2).epoch) == (40, 2)
    assert [(args.epoch, args.seed) for args in (parse("--long"), parse("--long", "--seed", 0))] == [(99, 7), (99, 0)]
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "options": {**config["options"], "long": True}}))
    assert parse("--resume", "--output", run).epoch == 3  # what the run kept counts more
    with pytest.raises(UserError, match="--long wants no --use_gpu; train.py --help lists"):
        parse("--long", "--use_gpu")


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


def test_a_run_from_before_an_option_has_its_default(run):
    """The Fake's runs know nothing of the rates of Adam."""
    recipe = replace(fake(), learning_rate=2e-4, beta1=0.5)

    def resume(*argv):
        return options.complete(recipe, ["--resume", "--output", str(run), *argv])

    assert (resume().learning_rate, resume("--beta1", "0.5").beta1) == (2e-4, 0.5)
    with pytest.raises(UserError, match="learning_rate 0.0002, not 0.001; leave --learning_rate out"):
        resume("--learning_rate", "1e-3")
    assert not hasattr(parse(), "learning_rate")  # a recipe without Adam has no such option


@pytest.mark.parametrize(("option", "values"), [
    ("--learning_rate", ("0", "-1", "nan", "inf", "1.5", "x", "")), ("--beta1", ("-0.1", "1", "nan", "x")),
    ("--x", ("-1", "1.5", "x")), ("--size", ("0", "-1", "4097", "1e3"))])
def test_numbers_out_of_range_are_refused(option, values):
    parser = options.Parser(prog="x")
    options.add_training_options(parser, ("x",), replace(fake(), learning_rate=2e-4, beta1=0.5))
    options.add_box(parser)
    for value in values:
        with pytest.raises(UserError, match=f"argument {option}: .* is "):
            parser.parse_args([f"{option}={value}"])
    assert Box(*map(parser.defaults.get, ("x", "y", "size"))) == Box()


def test_without_resume_an_old_run_decides_nothing(run):
    assert parse("--output", run).batch_size == 128
    assert parse("--output", run, "--overwrite").epoch == 20


def test_a_run_of_another_recipe_is_left_alone(run):
    for recipe, words in (("book", "of the recipe book, which is for static_mnist/train.py"), ("x", None)):
        config = json.loads((run / "config.json").read_text())
        (run / "config.json").write_text(json.dumps({**config, "recipe": recipe}))
        if words:
            with pytest.raises(UserError, match=words):
                parse("--resume", "--output", run)
        else:
            parse("--resume", "--output", run)


def test_the_tutorial_that_was_typed_or_is_the_runs_or_comes_first(run):
    names = ("x", "y")
    assert options.chosen(names, ["--recipe", "y", "--fix", "one"]) == "y"
    assert options.chosen(names, ["--fix", "one"]) == "x"
    assert options.chosen(("y",), []) == "y"
    assert options.chosen(("y", "x"), ["--resume", "--output", str(run)]) == "x"
    assert options.chosen(("y", "x"), ["--output", str(run)]) == "y"
    with pytest.raises(UserError, match="--recipe: invalid choice: 'z'"):
        options.chosen(names, ["--recipe", "z"])
    with pytest.raises(UserError, match="is of the recipe x, which is for tests_x/train.py"):
        options.chosen(("y", "z"), ["--resume", "--output", str(run)])
    with pytest.raises(UserError, match="is of the recipe x, which is for tests_x/train.py"):
        options.chosen(("y",), ["--resume", "--output", str(run)])


def test_a_missing_run_is_noticed_before_data_are_opened(tmp_path):
    with pytest.raises(UserError, match="--resume: there is no run in .*leave the flag out"):
        parse("--resume", "--output", tmp_path)


def test_help_without_a_tutorial_lists_what_all_have(capsys):
    with pytest.raises(SystemExit):
        options.chosen(("book", "note6", "cgan"), ["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    for words in ("--batch_size", "--epoch", "--output", "--use_gpu", "--fix", "--resume", "--overwrite", "--max_steps",
                  "--dry_run", "--seed", "--visualdl", "book, note6, cgan", "--recipe NAME --help"):
        assert words in printed
