"""What a person sees: a bar on a terminal, plain lines elsewhere."""

import io
import re
import sys
from pathlib import Path

import pytest

from common.training import progress
from common.training.progress import Progress, fitting, hours


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests move."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def updates(shown, count, clock, seconds=0.5):
    for number in range(count):
        clock[0] += seconds
        shown.update(number // 10, number % 10, 10, {"D-Loss": 1.25, "DG-Loss": 0.5}, 0.125)


def test_a_pipe_gets_plain_lines(capfd, clock):
    shown = Progress(total=200, done=0, batch_size=128)
    assert not shown.terminal
    updates(shown, 120, clock)
    shown.line("Epoch ID=0")
    shown.close()
    out, err = capfd.readouterr()
    assert err == ""
    assert out == ("epoch 5/20 batch 10/10: 256.0 pictures/s, reader 12.5%, ETA 0:01:15\n"
                   "epoch 10/20 batch 10/10: 256.0 pictures/s, reader 12.5%, ETA 0:00:50\n"
                   "Epoch ID=0\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk to be had")
def test_an_output_on_a_full_disk_stops_no_training(monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        shown = Progress(total=2, done=0, batch_size=1)
        shown.line("Epoch ID=0")
        shown.line("Epoch ID=1")
    assert capsys.readouterr().err == (
        "note: standard output cannot be written (No space left on device); the run goes on without it\n")


def test_a_resumed_run_counts_on(capfd, clock):
    shown = Progress(total=200, done=90, batch_size=128)
    updates(shown, 10, clock)
    assert "ETA 0:00:50" in capfd.readouterr().out  # the 100th batch: 100 to go


def test_a_terminal_gets_a_bar(monkeypatch, capfd, clock):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = Progress(total=20, done=0, batch_size=128)
    shown.bar.mininterval = 0
    updates(shown, 10, clock)
    shown.line("Epoch ID=0")
    shown.close()
    text = terminal.getvalue()
    for part in ("epoch 1/2 batch 10/10", "50%", "D-Loss=1.2500", "DG-Loss=0.5000", "256.0 pictures/s", "reader 12.5%",
                 "ETA 0:00:05"):
        assert part in text, part
    assert "\r" in text
    assert "Epoch ID=0" in capfd.readouterr().out + text


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("losses", [("D-Loss", "DG-Loss"), ("fake_avg_cost", "real_avg_cost", "g_avg_cost"),
                                    ("Discriminator Loss", "Generator Loss")], ids=["book", "note6", "cgan"])
def test_the_bar_keeps_what_matters(columns, losses):
    head = "epoch 16/16 batch 1870/1875 100% ETA 0:00:05"
    line = fitting(head, dict.fromkeys(losses, 1.25), ("1256.0 pictures/s", "reader 12.5%"), columns)
    assert line.startswith(head)
    assert len(line) <= columns
    assert "=1.25" in line or columns == 60  # the losses, too, where there is room
    assert ("pictures/s" in line) == (columns == 120 and len(losses) == 2)
    shown = re.findall(r"(\S+)=", line)  # names of the losses: whole words
    assert all(re.search(rf"\b{re.escape(name)}(?![a-z])", " ".join(losses)) for name in shown), shown


def test_the_rate_is_smoothed(capfd, clock):
    shown = Progress(total=1000, done=0, batch_size=100)
    updates(shown, 49, clock, seconds=1.0)
    updates(shown, 1, clock, seconds=11.0)
    [rate] = re.findall(r"([\d.]+) pictures/s", capfd.readouterr().out)
    assert float(rate) == pytest.approx(100 / 2, abs=0.1)  # 0.9 of the old second and a tenth of the new eleven


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (3661, "1:01:01"),
                                               (360000, "100:00:00")])
def test_hours(seconds, text):
    assert hours(seconds) == text
