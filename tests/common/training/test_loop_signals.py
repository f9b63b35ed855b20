"""The training loop is told to stop: by signals, by the end of its reader, by a terminal that closes."""

import os
import pty
import signal
import sys
import time
from contextlib import suppress

import pytest

from common.errors import RunStopped, run_command
from tests.common.training.fake_gan import names, result


@pytest.fixture(autouse=True)
def hangups():
    """SIGHUP acts as in a terminal, though the tests may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def stop_at(step, number):
    """Sends this process a signal during a step."""
    return lambda steps: os.kill(os.getpid(), number) if steps == step else None


@pytest.mark.parametrize("also", [None, signal.SIGINT], ids=["alone", "with Ctrl-C"])
def test_a_run_whose_reader_goes_away_is_saved(new, monkeypatch, also):
    """As in ``python train.py 2>&1 | head``, or where Ctrl-C ends ``… | tee`` too."""
    read, write = os.pipe()
    run = new(epochs=2)

    def gone(steps):
        if steps == 6:
            os.close(read)
            if also:
                os.kill(os.getpid(), also)

    run.gan.before_step = gone
    with monkeypatch.context() as patched, suppress(BrokenPipeError), \
            open(write, "w", encoding="utf-8") as errors, open(os.dup(write), "w", encoding="utf-8") as output:
        patched.setattr(sys, "stdout", output)
        patched.setattr(sys, "stderr", errors)
        code = run_command(run.run)
    assert code == (130 if also else 141)
    step = 7 if also else 8  # the next line was that of step 8
    assert run.step == step and names(run)[-1] == f"0001_000{step - 5}.safetensors"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_save_and_stop_after_the_batch(new, number, code, capsys):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run = new()
    run.gan.before_step = stop_at(6, number)
    with pytest.raises(RunStopped, match=f"stopped by {number.name} after epoch 1 batch 1; saved .*0001_0002"
                                         ".safetensors; go on with --resume") as caught:
        run.run()
    assert caught.value.exit_code == code
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert f"{number.name}: saving after this batch" in capsys.readouterr().err
    assert run.gan.steps == 7 == len(run.folder.metrics())
    run = new(resume=True)
    assert run.step == 7
    run.run()
    whole = new("whole")
    whole.run()
    assert result(run) == result(whole)


def test_a_launcher_of_one_process_sends_sigterm_three_times(new, monkeypatch, capsys):
    monkeypatch.setenv("PADDLE_LOG_DIR", "log")
    run = new()

    def thrice(steps):
        if steps == 6:
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGTERM)

    run.gan.before_step = thrice
    with pytest.raises(RunStopped, match="stopped by SIGTERM after epoch 1 batch 1; saved"):
        run.run()
    assert "once more" not in capsys.readouterr().err


def test_a_hangup_that_is_ignored_stays_so(new):
    """As ``nohup`` starts a program."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = new()
        run.gan.before_step = stop_at(6, signal.SIGHUP)
        run.run()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert run.step == run.steps


def test_a_run_is_saved_when_its_terminal_closes(new, monkeypatch):
    """The signal comes, and nothing can be written to the terminal any more."""
    master, slave = pty.openpty()
    run = new(epochs=2)

    def closed(steps):
        if steps == 6:
            os.close(master)
            for _ in range(2):  # from the shell and from the system
                os.kill(os.getpid(), signal.SIGHUP)

    run.gan.before_step = closed
    with monkeypatch.context() as patched, open(slave, "w", encoding="utf-8") as errors, \
            open(os.dup(slave), "w", encoding="utf-8") as output:
        patched.setattr(sys, "stdout", output)
        patched.setattr(sys, "stderr", errors)
        code = run_command(run.run)
    assert code == 129
    assert run.step == 7 and names(run)[-1] == "0001_0002.safetensors"


def test_a_signal_at_the_last_batch_lets_the_run_end(new):
    run = new()
    run.gan.before_step = stop_at(14, signal.SIGTERM)
    run.run()
    assert names(run)[-1] == "0003_0000.safetensors"


def test_a_second_signal_stops_at_once(new, capsys):
    run = new()

    def twice(steps):
        if steps == 6:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0)  # lets Python call the handler
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)

    run.gan.before_step = twice
    with pytest.raises(SystemExit) as caught:
        run.run()
    assert caught.value.code == 143
    assert names(run) == ["0001_0000.safetensors"]  # nothing new, nothing broken
    assert "stopped at once; what came after the newest checkpoint is lost" in capsys.readouterr().err
    run = new(resume=True)
    run.run()
    assert run.step == 15
