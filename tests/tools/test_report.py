"""tools/report.py: where it writes, and what it says."""

import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import run_command
from tools import report

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Two runs without a single iteration, and the current folder beside them."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(
            '{"recipe": "book", "options": {}, "dataset": {}, "versions": {}, "machine": {}}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*args):
    return run_command(lambda: report.main(list(args)))


def test_one_run_has_its_report_in_its_folder(home, capsys):
    assert call("a") == 0
    assert capsys.readouterr().out == f"{Path('a') / 'report.html'}: 0.0 MB\n"
    assert "<h1>book on unknown data</h1>" in (home / "a" / "report.html").read_text()
    assert not (home / "report.html").exists()
    assert call("a") == 0  # it belongs to the run: made anew


def test_a_runs_records_are_not_written_over(home, capsys):
    before = (home / "a" / "config.json").read_text()
    assert call("a", "--output", "a/config.json") == 2
    assert "is no report; choose another --output" in capsys.readouterr().err
    assert (home / "a" / "config.json").read_text() == before


def test_another_page_is_not_written_over(home, capsys):
    (home / "report.html").write_text("<!doctype html>\n<title>mine</title>")
    assert call("a", "b") == 2
    assert "is no report; choose another --output" in capsys.readouterr().err
    assert (home / "report.html").read_text().endswith("mine</title>")


def test_several_have_it_here(home):
    assert call("a", "b") == 0
    assert "<h1>2 runs: a, b</h1>" in (home / "report.html").read_text()
    assert not (home / "a" / "report.html").exists()


@pytest.mark.parametrize("runs", [["a"], ["a", "b"]])
def test_another_place(home, runs):
    assert call(*runs, "--output", "new/x.html") == 0
    assert (home / "new" / "x.html").is_file()
    assert not (home / "report.html").exists() and not (home / "a" / "report.html").exists()


@pytest.mark.parametrize(("args", "words"), [
    (["none"], "there is no run in none"),
    (["a", "none"], "there is no run in none"),
    (["a", "--output", "b"], "b is a folder"),
    ([], "--help lists the options"),
])
def test_a_users_mistake_is_one_line(home, capsys, args, words):
    assert call(*args) == 2
    out, err = capsys.readouterr()
    assert out == "" and words in err and err.startswith("error: ") and err.count("\n") == 1


def test_as_typed_from_any_folder(home):
    done = subprocess.run([sys.executable, ROOT / "tools" / "report.py", "b"], cwd=home, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and (home / "b" / "report.html").is_file()
