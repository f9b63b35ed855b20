"""Paddle's runtime: environment before the import, place, versions.

Nothing here imports Paddle until `prepare` is called, so that ``--help`` answers at once.
"""

import contextlib
import ctypes
import io
import os
import platform
import re
import signal
import sys
import warnings
from importlib import metadata
from pathlib import Path

from common import errors
from common.backend import cuda
from common.errors import UserError
from common.parallel import processes


def cpuinfo():
    """What Linux tells of the processor; "" on other systems."""
    with contextlib.suppress(OSError):
        return Path("/proc/cpuinfo").read_text()
    return ""


def cpu_name():
    """The processor's name, such as ``AMD EPYC``."""
    found = re.search(r"^model name\s*:\s*(.*\S)", cpuinfo(), re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def bf16_processor():
    """Whether the processor multiplies in bfloat16."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(cpuinfo().split())


def cores(quota=Path("/sys/fs/cgroup/cpu.max")):
    """How many processor cores this process may use; a container's quota counts, of cgroup version 2."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
        share, period = map(int, quota.read_text().split())
        count = min(count, max(1, share // period))
    return count


def threads():
    """How many threads Paddle computes with, after `prepare`."""
    return _openmp_threads() or 1


def _openmp_threads():
    """The first number in ``OMP_NUM_THREADS``, which may hold one for each level of nesting; 0 if there is none."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() else 0


def fast_settings():
    """The environment in which Paddle trains fastest on this CPU; ``docs/performance.md`` measures each.

    - Paddle takes one thread unless the environment says otherwise.
    - Its MKL picks a slow path on AMD. The variable forces the AVX2 path; Intel needs no help.
    - The multi-thread interpreters of Paddle 3 (first flag) and 2.6 (second) compete with MKL's threads for
      the same cores.
    - Quiet: glog's notes about the executor are no news to a user.
    """
    settings = {
        "OMP_NUM_THREADS": str(processes.threads(cores())),
        "FLAGS_enable_pir_in_executor_trace_run": "1",
        "FLAGS_new_executor_serial_run": "1",
        "GLOG_minloglevel": "2",
    }
    if "AMD" in cpu_name():
        settings["MKL_DEBUG_CPU_TYPE"] = "5"
    return settings


def prepare(use_gpu=False):
    """Set the environment, import Paddle, and check that the wanted place is there, before any download begins.

    What the user has set in the environment wins.

    Raises:
        UserError: as `place`.
    """
    if "paddle" not in sys.modules:
        keep_memory()
        _import_paddle()
    place(use_gpu)


def keep_memory():
    """Let the C library keep the memory that Paddle frees, for Paddle's next request of the same size.

    By default it hands each large array back to the system and gets its pages anew, dozens of times an iteration.
    All threads share one pool of memory; otherwise each new thread, such as an epoch's reader, would keep a pool.
    Nothing changes without glibc, which has the call. Nothing changes either where an older glibc forbids so high a
    threshold, because the two other settings without it would make Paddle slower.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        trim_threshold, mmap_threshold, arena_max = -1, -3, -8  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, …
        if libc.mallopt(mmap_threshold, 1 << 30):
            libc.mallopt(trim_threshold, 2 ** 31 - 1)
            libc.mallopt(arena_max, 1)


def _import_paddle():
    if processes.launched() and os.environ.get("OMP_NUM_THREADS") == "1":
        del os.environ["OMP_NUM_THREADS"]  # the launcher has imported Paddle, which sets it to 1 unless it is set
    if not _openmp_threads():  # empty or misspelt, which OpenMP takes for not set
        os.environ.pop("OMP_NUM_THREADS", None)
    for name, value in fast_settings().items():
        os.environ.setdefault(name, value)
    import zlib  # noqa: F401  Paddle 2.6 crashes in a later PNG or gzip write unless zlib is loaded first

    for message in ("No ccache found", "Tensor do not have 'place' interface",  # no user can act on them
                    "When training, we now always track global mean and variance"):
        warnings.filterwarnings("ignore", message=message)
    noise = io.StringIO()
    with contextlib.redirect_stderr(noise):
        import paddle
    if processes.count > 1:
        processes.end_at_sigterm()
    elif signal.getsignal(signal.SIGTERM) is errors.leave:  # Paddle has put a handler there that writes a trace of C++
        paddle.disable_signal_handler()
        errors.end_in_order()
    for line in noise.getvalue().splitlines():
        if "OMP_NUM_THREADS" not in line:  # a warning against the very setting that makes it fast
            print(line, file=sys.stderr)


def place(use_gpu):
    """``CUDAPlace(0)``, of several processes each its own card, or ``CPUPlace``.

    Raises:
        UserError: a GPU was asked for, and there is none or this Paddle cannot use it, see `cuda.check`.
    """
    import paddle

    if not use_gpu:
        paddle.set_device("cpu")  # else a CUDA build uses the card wherever no place is named
        return paddle.CPUPlace()
    if not paddle.is_compiled_with_cuda():
        raise UserError("--use_gpu: this Paddle is built without CUDA; "
                        "pip install -r requirements-gpu.txt, or leave the flag out")
    found, card = paddle.device.cuda.device_count(), processes.card()
    if found == 0:
        raise UserError("--use_gpu: no CUDA device is visible; "
                        "check nvidia-smi and CUDA_VISIBLE_DEVICES, or leave the flag out")
    if card >= found:
        raise UserError(f"--use_gpu: there are {processes.count_here} processes for {found} CUDA devices; "
                        "start one for each device")
    cuda.check(f"gpu:{card}")
    paddle.set_device(f"gpu:{card}")
    return paddle.CUDAPlace(card)


def describe():
    """Versions and machine, as recorded with every run: {"versions": package → version, "machine": name → value}."""
    packages = ("paddlepaddle", "paddlepaddle-gpu", "numpy", "matplotlib", "scikit-image", "scikit-learn",
                "opencv-python-headless", "pillow", "safetensors")
    versions = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "versions": versions,
        "machine": {"system": platform.platform(), "cpu": cpu_name(), "cores": cores(),
                    "threads": threads()},
    }
