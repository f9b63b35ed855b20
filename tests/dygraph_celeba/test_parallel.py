"""The faces, trained by several processes as ``paddle.distributed.launch`` starts them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from common.errors import ROOT
from common.training import checkpoint
from dygraph_celeba import train
from tests import helpers

TRAIN = Path(train.__file__)
NARROW = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from common.backend import runtime
from common.parallel.processes import run_command
from dygraph_celeba import train
from tests import helpers

def main():
    runtime.prepare()
    with helpers.narrowed_faces():
        train.main()

sys.exit(run_command(main))
"""  # trains narrow networks
STEPS = 4  # two epochs of two batches of five pictures: shares of 3 and 2, or of 2, 2 and 1


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return helpers.faces(tmp_path_factory.mktemp("celeba") / "imgs", 11)


@pytest.fixture
def launch(faces, tmp_path):
    """A function that starts a training by several processes: count, output folder, more options → the process.

    The networks are narrow, or full where ``script`` is `TRAIN`. However the processes end, they leave no temporary
    file.
    """
    narrow = tmp_path / "narrow.py"
    narrow.write_text(NARROW)
    started, temporary = [], tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "TMPDIR": str(temporary)}
    del environment["OMP_NUM_THREADS"]  # of this process

    def start(count, output, *more, script=narrow):
        command = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", str(count), "--log_level",
                   "CRITICAL", "--log_dir", str(tmp_path / "log"), script, "--data_dir", str(faces), "--batch_size",
                   "5", "--output", str(output), *more]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env=environment, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()  # its processes see that, save and end
        process.communicate()
    assert within_ten_seconds(lambda: not list(temporary.iterdir())), list(temporary.rglob("*"))


def trained(process):
    """Wait for a process that has to end well; what it printed."""
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, ""), err
    return out


def losses(output):
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def assert_close(one, other):
    """The same losses to rounding. Adam's first steps enlarge it: a gradient near zero decides about a whole step.

    The steps that both have count, and there are three or more.
    """
    both = list(zip(losses(one), losses(other), strict=False))
    assert len(both) >= 3
    for ours, theirs in both:
        for name in ours:
            tolerance = 2e-6 if ours["step"] == 0 and name.startswith("D-") else 2e-3 if ours["step"] == 0 else 0.1
            np.testing.assert_allclose(ours[name], theirs[name], tolerance, err_msg=f"{name} of step {ours['step']}")


@pytest.fixture(scope="module")
def alone(faces, tmp_path_factory):
    """A finished run of one process with narrow networks."""
    with helpers.narrowed_faces():
        return trained_here(faces, tmp_path_factory.mktemp("alone") / "run", "--epoch", "2")


def trained_here(faces, output, *more):
    """Train in this process, in the folder ``output``; return the folder."""
    train.main(["--data_dir", str(faces), "--batch_size", "5", "--output", str(output), *more])
    return output


def processes_of(launcher):
    """rank → pid of the processes that a launcher has started."""
    found = {}
    for pid in map(int, Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()):
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        found |= {int(line.partition(b"=")[2]): pid for line in environment if line.startswith(b"PADDLE_TRAINER_ID=")}
    return found


def wait_for_steps(output, steps, process):
    for _ in range(15_000):
        if (output / "metrics.jsonl").exists() and len(losses(output)) >= steps:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("nothing happened for 300 s")


def within_ten_seconds(condition):
    for _ in range(100):
        if condition():
            return True
        time.sleep(0.1)
    return False


def gone(pids):
    return within_ten_seconds(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def killed(process, victim, output, steps):
    """Kill one of the processes after some steps of the run; what all of them do then."""
    wait_for_steps(output, steps, process)
    pids = processes_of(process.pid)
    os.kill(pids[victim], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert err.splitlines() == [f"process {victim} (pid {pids[victim]}) of {len(pids)} died, killed or out of memory: "
                                "all have ended; go on with --resume"]
    assert gone(pids.values())


def test_two_processes_compute_what_one_computes_and_go_on_to_the_bit(launch, alone, tmp_path):
    """They by the tutorial's reader, the one by the packed one; the first of them is killed."""
    whole, again = tmp_path / "whole", tmp_path / "again"
    killed(launch(2, whole, "--reader", "skimage", "--epoch", "100"), 0, whole, STEPS + 1)
    assert_close(whole, alone)

    shutil.copytree(whole, again)
    reached = checkpoint.listing(again / "checkpoints")[-1]
    reached.unlink()
    epoch = checkpoint.position(reached)[0]
    said = trained(launch(2, again, "--resume", "--epoch", str(epoch)))
    assert f"done: {2 * epoch} steps" in said and len(said.splitlines()) == 5 and "waiting" in said  # printed once
    assert losses(again) == losses(whole)[:2 * epoch]
    ours, theirs = (checkpoint.load(folder / "checkpoints" / reached.name)[0] for folder in (again, whole))
    assert set(ours) == set(theirs) and not helpers.moved(ours, theirs)
    timing = [json.loads(line) for line in (again / "timing.jsonl").read_text().splitlines()]
    assert timing[-1]["seconds"]["waiting"] > 0
    names, theirs = ({path.name for path in run.iterdir() if not path.match("0*.png")} for run in (again, alone))
    assert names == theirs


def test_both_networks_of_two_processes_learn_from_the_whole_batch(faces, launch, tmp_path):
    """The full networks. Adam's first moments are the gradients, which its steps do not enlarge."""
    runs = trained_here(faces, tmp_path / "one", "--max_steps", "1"), tmp_path / "two"
    trained(launch(2, runs[1], "--max_steps", "1", script=TRAIN))
    one, two = (checkpoint.load(checkpoint.listing(run / "checkpoints")[-1])[0] for run in runs)
    names = [name for name in one if "moment1" in name]
    assert {name[0] for name in names} == {"D", "G"}
    for name in names:
        np.testing.assert_allclose(two[name], one[name], atol=0.05 * np.abs(one[name]).max(), err_msg=name)


def test_three_processes_compute_what_one_computes_and_one_process_goes_on(launch, alone, tmp_path):
    """Another one than the first is killed."""
    output = tmp_path / "run"
    killed(launch(3, output, "--epoch", "100"), 1, output, 3)
    assert_close(output, alone)
    epoch = checkpoint.position(checkpoint.listing(output / "checkpoints")[-1])[0] + 1
    with helpers.narrowed_faces():
        train.main(["--resume", "--output", str(output), "--epoch", str(epoch)])
    assert len(losses(output)) == 2 * epoch
    assert_close(output, alone)


def test_ctrl_c_saves_once_and_two_go_on_with_the_run_of_one(faces, launch, alone, tmp_path):
    with helpers.narrowed_faces():
        output = trained_here(faces, tmp_path / "run", "--max_steps", "1", "--reader", "skimage")
    process = launch(2, output, "--resume", "--epoch", "100")  # with worker processes, which the signal must not end
    wait_for_steps(output, 3, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    done = len(losses(output))
    path = checkpoint.listing(output / "checkpoints")[-1]
    assert "note: processes 1 when the run started, 2 now" in err
    assert [line for line in err.splitlines() if line and not line.startswith("note: ")] == [
        "SIGTERM: saving after this batch",
        f"stopped by SIGTERM after epoch {(done - 1) // 2} batch {(done - 1) % 2}; saved {path}; go on with --resume"]
    assert process.returncode != 0
    assert checkpoint.read_record(path)["step"] == done
    assert_close(output, alone)
