"""The environment before Paddle is imported, and where it runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import paddle
import pytest

from common.backend import runtime
from common.errors import UserError

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("quota", "count"), [
    ("100000 100000\n", 1), ("50000 100000\n", 1), ("max 100000\n", None), ("", None), (None, None)])
def test_a_containers_quota_counts(tmp_path, quota, count):
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    everything = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert runtime.cores(tmp_path / "cpu.max") == (count or everything)


PREPARE = f"""
import json, os, sys
sys.path.insert(0, {str(ROOT)!r})
from common.backend import runtime
assert "paddle" not in sys.modules
runtime.prepare()
assert {{"paddle", "zlib"}} <= set(sys.modules)
runtime.prepare()
print(json.dumps(dict(os.environ)))
"""
# Eight threads in turn take and free 64 MB
KEPT = """
import threading
import numpy as np

def kept():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) // 1024

def work(turn):
    turns[turn].wait()
    parts = [np.ones(8 << 20, "uint8") for _ in range(8)]
    del parts
    turns[turn + 1].set()

before, turns = kept(), [threading.Event() for _ in range(9)]
threads = [threading.Thread(target=work, args=[turn]) for turn in range(8)]
for thread in threads:
    thread.start()
turns[0].set()
turns[8].wait()
print(kept() - before)
"""


def prepared(program, **environment):
    """What `prepare` leaves in a fresh process: the settings, what the rest of the program prints, and stderr."""
    clean = {name: value for name, value in os.environ.items() if name not in {**runtime.fast_settings(),
                                                                               "MKL_DEBUG_CPU_TYPE": ""}}
    done = subprocess.run([sys.executable, "-c", program], env={**clean, **environment}, capture_output=True,
                          text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    settings, _, rest = done.stdout.partition("\n")
    return json.loads(settings), rest, done.stderr


@pytest.fixture(scope="module")
def with_paddle():
    """A process with Paddle itself."""
    return prepared(PREPARE + KEPT * (sys.platform == "linux"))


@pytest.fixture
def stand_in(tmp_path):
    """The path of a module in place of Paddle, for what comes before its import."""
    (tmp_path / "paddle.py").write_text("set_device = CPUPlace = lambda *_: None")
    return str(tmp_path)


def test_prepare_sets_what_is_fast_and_is_silent(with_paddle):
    environment, _, err = with_paddle
    assert runtime.fast_settings().items() <= environment.items()
    assert environment["OMP_NUM_THREADS"] == str(runtime.cores())
    assert err == ""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt and /proc")
def test_what_threads_free_is_kept_once(with_paddle):
    """What stays of eight threads' memory is one thread's, not eight times that."""
    assert 32 < int(with_paddle[1]) < 160  # MB; with a pool for each thread more than 400


def test_the_users_own_settings_win(stand_in):
    environment, *_ = prepared(PREPARE, PYTHONPATH=stand_in, OMP_NUM_THREADS="1", MKL_DEBUG_CPU_TYPE="4",
                               GLOG_minloglevel="0")
    assert (environment["OMP_NUM_THREADS"], environment["MKL_DEBUG_CPU_TYPE"]) == ("1", "4")
    assert environment["GLOG_minloglevel"] == "0"


def test_one_process_of_the_launcher_has_all_cores(stand_in):
    """The launcher has imported Paddle, which sets one thread."""
    environment, *_ = prepared(PREPARE, PYTHONPATH=stand_in, OMP_NUM_THREADS="1", PADDLE_LOG_DIR="log")
    assert environment["OMP_NUM_THREADS"] == str(runtime.cores())


@pytest.mark.parametrize(("typed", "count"), [("4", 4), ("3,2", 3), (" 2 ", 2), ("", 1), ("all", 1), ("0", 1)])
def test_threads_are_told_from_what_openmp_takes(monkeypatch, typed, count):
    monkeypatch.setenv("OMP_NUM_THREADS", typed)
    assert runtime.threads() == count


def test_a_misspelt_number_of_threads_counts_as_none(stand_in):
    environment, _, err = prepared(PREPARE, PYTHONPATH=stand_in, OMP_NUM_THREADS="all")
    assert (environment["OMP_NUM_THREADS"], err) == (str(runtime.cores()), "")


@pytest.mark.parametrize(("name", "path"), [("AMD EPYC 7763", "5"), ("Intel(R) Xeon(R)", None), ("arm64", None)])
def test_only_amd_gets_mkls_other_path(monkeypatch, name, path):
    monkeypatch.setattr(runtime, "cpu_name", lambda: name)
    assert runtime.fast_settings().get("MKL_DEBUG_CPU_TYPE") == path


def test_cpu_place():
    assert isinstance(runtime.place(False), paddle.CPUPlace)


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="this Paddle has CUDA")
def test_no_silent_fall_back_without_cuda():
    with pytest.raises(UserError, match="--use_gpu: this Paddle is built without CUDA; .*requirements-gpu.txt"):
        runtime.place(True)


def test_no_silent_fall_back_without_a_card(monkeypatch):
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match="--use_gpu: no CUDA device is visible; check nvidia-smi"):
        runtime.place(True)


def test_versions_and_machine():
    described = runtime.describe()
    assert described["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert described["versions"]["numpy"] == __import__("numpy").__version__
    assert described["machine"]["cores"] == runtime.cores() >= 1
    assert described["machine"]["threads"] == int(os.environ["OMP_NUM_THREADS"])
    assert described["machine"]["cpu"]
    assert json.loads(json.dumps(described)) == described
