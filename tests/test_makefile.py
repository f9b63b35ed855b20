"""make looks at the interpreter before it sets anything up, and a good one mends what another has left."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).resolve().parents[1] / "Makefile"
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")

# Stands in for Python and, copied, for its environments; `-m pip` does nothing.
INTERPRETER = """#!/bin/sh
case "$1 $2" in
    "-c "*) exec {python} -c "import sys; sys.version_info = {version}; $2" ;;
    "-m venv") for place; do :; done
        if [ "$3" = --clear ]; then rm -r "$place"; fi
        mkdir -p "$place/bin" && touch "$place/pyvenv.cfg" && cp "$0" "$place/bin/python" ;;
esac
"""


@pytest.fixture
def make(tmp_path):
    """Runs make with a Python of a version: exit code, stderr's lines, version of the environment afterwards."""
    shutil.copy(MAKEFILE, tmp_path)
    (tmp_path / "requirements.txt").write_text("")
    # The tests themselves may be run by make, which hands its variables on
    own = ("PYTHON", "VENV", "ARGS", "CONSTRAINT", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL")
    environment = {name: value for name, value in os.environ.items() if name not in own}

    def run(version=None, target=".venv/installed", *more):
        options = [*more]
        if version:
            python = tmp_path / f"python{version[0]}.{version[1]}"
            python.write_text(INTERPRETER.format(python=sys.executable, version=version))
            python.chmod(0o755)
            options.append(f"PYTHON={python}")
        done = subprocess.run(["make", target, *options], cwd=tmp_path, capture_output=True, text=True,
                              env=environment)
        made = tmp_path / ".venv/bin/python"
        text = made.read_text() if made.exists() else ""
        return done.returncode, done.stderr.splitlines(), next((each for each in VERSIONS if str(each) in text), None)

    return run


VERSIONS = OLD, GOOD, OTHER = (3, 9, 18), (3, 12, 1), (3, 11, 7)


def test_an_old_python_is_one_line_and_nothing_is_set_up(make, tmp_path):
    code, lines, _ = make(OLD)
    assert code == 2 and lines[0].startswith("error: ") and "3.10 or newer; name one" in lines[0]
    assert not (tmp_path / ".venv").exists()
    assert make(GOOD)[::2] == (0, GOOD)


def test_a_constraint_wants_an_environment_of_its_own(make, tmp_path):
    (tmp_path / "old.txt").write_text("")
    code, lines, made = make(GOOD, ".venv/installed", "CONSTRAINT=old.txt")
    assert (code, made) == (2, None) and "make test VENV=.venv-2.6 CONSTRAINT=old.txt" in lines[0]
    assert make(GOOD, ".venv/installed", "CONSTRAINT=old.txt", "VENV=.venv")[0] == 0  # who names it means it


@pytest.mark.parametrize("left", ["old", "no interpreter", "half-made"])
def test_what_another_python_has_left_is_made_anew(make, tmp_path, left):
    make(GOOD)
    python = tmp_path / ".venv/bin/python"
    (tmp_path / ".venv/mine").touch()
    if left == "old":
        python.write_text(python.read_text().replace(str(GOOD), str(OLD)))
    elif left == "no interpreter":
        python.unlink()
    else:
        python.write_text(python.read_text().replace(str(GOOD), str(OTHER)))
        (tmp_path / ".venv/installed").unlink()
    assert make(GOOD)[::2] == (0, GOOD)
    assert not (tmp_path / ".venv/mine").exists()


def test_a_python_that_is_not_named_keeps_the_environment(make, tmp_path):
    make(GOOD)
    (tmp_path / ".venv/mine").touch()
    for version in (None, GOOD):
        assert make(version)[::2] == (0, GOOD) and (tmp_path / ".venv/mine").exists()
    assert make(OTHER)[::2] == (0, OTHER)


def test_drawn_faces_are_found_before_the_training(make, tmp_path):
    assert make(GOOD, "celeba")[0] == 0
    (tmp_path / "work/Generate").mkdir(parents=True)
    (tmp_path / "work/Generate/grid.png").touch()
    code, lines, _ = make(GOOD, "celeba")
    assert code == 2 and lines[0] == "error: work/Generate holds drawn faces already; move them elsewhere"


@pytest.mark.parametrize(("venv", "words"), [
    ("mine", "is an environment of another Python that make has not made"), ("mine and", "has blanks"),
    (".", "holds the project itself"), ("..", "holds the project itself")])
def test_an_environment_of_somebody_else_is_never_cleared(make, tmp_path, venv, words):
    for folder in tmp_path, tmp_path / "mine":
        (folder / "bin").mkdir(parents=True)
        (folder / "pyvenv.cfg").touch()
        (folder / "data").touch()
    (tmp_path / "made").touch()  # so the project's own folder passes for an environment that make has made
    code, lines, _ = make(GOOD, "lint", f"VENV={venv}")
    assert code == 2 and words in lines[0]
    assert (tmp_path / "data").exists() and (tmp_path / "mine/data").exists()


def test_an_environment_that_make_has_left_half_made_is_made_anew(make, tmp_path):
    make(GOOD, "lint", "VENV=env")
    (tmp_path / "env/installed").unlink()
    (tmp_path / "env/mine").touch()
    assert make(OTHER, "lint", "VENV=env")[0] == 0 and not (tmp_path / "env/mine").exists()


def test_a_clone_may_lie_in_a_folder_with_a_blank_in_its_name(tmp_path):
    folder = tmp_path / "my clones" / "here"
    folder.mkdir(parents=True)
    shutil.copy(MAKEFILE, folder)
    done = subprocess.run(["make", "help"], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "make demo" in done.stdout


def test_a_folder_that_is_no_environment_is_not_cleared(make, tmp_path):
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/mine").touch()
    make(GOOD)
    assert (tmp_path / ".venv/mine").exists()
