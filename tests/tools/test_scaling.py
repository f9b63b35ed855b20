"""What processes exchange, and how long that takes."""

import json

import numpy as np
import paddle
import pytest

from dygraph_celeba.gan import FaceGAN
from tests.helpers import caller
from tools import scaling


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    monkeypatch.setenv("GAN_FAST_OPS", "0")


def test_what_the_tutorial_exchanges():
    gan = FaceGAN(paddle.CPUPlace())
    sent = scaling.exchange(gan)
    # D steps on reals and on fakes, G once
    assert sent.gradients == {"D": (gan.sizes()["D"], 2), "G": (gan.sizes()["G"], 1)}
    netD, netG = [128, 256, 512], [512, 256, 128, 64]
    assert list(sent.norms) == [*netD, *netG, *netD, *netG, *netD]
    assert list(sent.norm_gradients) == [*netD, *netD, *netG, *netD]  # G only draws while D learns


@pytest.mark.parametrize(("fix", "times"), [("d_step", (1, 1)), ("g_steps", (2, 2))])
def test_a_fix_changes_the_number_of_steps(fix, times):
    sent = scaling.exchange(FaceGAN(paddle.CPUPlace(), [fix]))
    assert tuple(count for _, count in sent.gradients.values()) == times


def test_bytes_of_the_messages():
    sent = scaling.Exchange({"D": (10, 2), "G": (20, 1)}, (3, 5), (3,))
    assert sorted(scaling.messages(sent, 2, synchronised=False)) == [40, 40, 80]
    assert sorted(scaling.messages(sent, 2)) == sorted([40, 40, 80, 2 * 4 * 7, 2 * 4 * 11, 4 * 6])


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_the_formula_is_the_time_of_a_ring(processes):
    """A ring all-reduce, played: all processes send one part at a time to their neighbour."""
    parts = np.random.RandomState(0).randint(0, 9, (processes, processes, 5)).astype(float)  # [process, part, number]
    total, rate, latency, clock = parts.sum(0), 2e9 / 8, 1e-3, 0.0
    for turn in range(2 * (processes - 1)):
        before = parts.copy()
        for process in range(processes):
            part, neighbour = (process - turn) % processes, (process + 1) % processes
            if turn < processes - 1:
                parts[neighbour, part] += before[process, part]
            else:
                part = (process + 1 - (turn - processes + 1)) % processes
                parts[neighbour, part] = before[process, part]
        clock += before[0, 0].nbytes / rate + latency
    assert (parts == total).all()
    assert scaling.seconds([parts[0].nbytes], processes, gigabits=2, latency=latency) == pytest.approx(clock)


def test_the_tables(tmp_path, capsys):
    file = tmp_path / "bench.json"
    file.write_text(json.dumps({"machine": {"cpu": "a processor", "cores": 2}, "rows": [
        {"row": "celeba", "batch": 8, "seconds": {"ours": [3.0, 2.0, 9.0]}}]}))
    run = caller(scaling.main, capsys)
    code, out, err = run("--json", file, "--latency", 1, "--apart")
    assert (code, err) == (0, "") and "3.00 s an iteration of 8 pictures on a processor, 2 cores" in out
    assert max(map(len, out.splitlines())) <= 80
    rows = [[cell.split() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("| ")]
    shared, own = ([row for row in rows if row[0] == ["4"]][k] for k in (0, 1))
    size = sum(4 * parameters * times for parameters, times in ((2_765_568, 2), (3_576_704, 1)))
    sending = 1.5 * size / (1e9 / 8) + 3 * 6 * 1e-6
    assert shared[1:3] == [["2"], [f"{3 / 4 + sending:.3f}", "s", f"{3 / (3 / 4 + sending):.2f}×"]]
    assert own[1:3] == [["8"], [f"{3 + sending:.3f}", "s", f"{4 * 3 / (3 + sending):.2f}×"]]


@pytest.mark.parametrize("text", ["", "[]", '{"rows": []}', '{"machine": {}, "rows": [{"row": "celeba"}]}',
                                  '{"rows": [{"row": "celeba", "seconds": {"ours": []}}]}', None])
def test_a_file_without_the_iteration_is_one_line(tmp_path, capsys, text):
    file = tmp_path / "bench.json"
    if text is not None:
        file.write_text(text)
    code, out, err = caller(scaling.main, capsys)("--json", file)
    assert (code, out) == (2, "") and err.count("\n") == 1 and "make bench" in err
