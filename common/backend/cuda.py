"""Paddle's CUDA build: NVIDIA's libraries for it, and whether it can compute on the card.

The build on PyPI, Paddle 2.6.2 for CUDA 11.8, loads its libraries (cuBLAS, cuDNN, …) when it first needs each, under
names such as ``libcudnn.so``, which only a system's own CUDA has. The packages nvidia-*-cu11 of requirements-gpu.txt
have ``libcudnn.so.8`` and the like, where Paddle does not look. Paddle 3 finds its packages by itself.

No call here needs a card, but for the probe that `check` starts.
"""

import ctypes
import functools
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from common.errors import ROOT, UserError
from common.files import compiled_folder

FLAGS = ("cuda_dir", "cudnn_dir", "nccl_dir")  # where Paddle 2.6 looks for libraries first; unset by default
WANTED = ("libcublas.so.11", "libcublasLt.so.11", "libcudnn.so.8", "libcufft.so.10", "libcurand.so.10",
          "libcusolver.so.11", "libcusparse.so.11", "libnccl.so.2", "libnvrtc.so.11.2")  # Paddle asks for all up to .so
SECONDS = 300  # a probe takes a few; a card's first use may have to compile for longer
PROBE = """
import sys, zlib
import paddle
from common.backend import cuda
device, folder = sys.argv[1:]
if folder:
    cuda.look_in(folder)
paddle.set_device(device)
x = paddle.ones([1, 1, 3, 3])
total = float((paddle.matmul(x, x) + paddle.nn.functional.conv2d(x, x)).sum())
if total != 108:
    sys.exit(f"it computed {total} where 108 is right")
"""
# What a failed probe says → the reason and the remedy, for the error message
REASONS = (
    (r"out of memory", "{card} has no memory left; see nvidia-smi for what else uses it"),
    (r"dynamic library \((lib\w+)\.so\)|Cannot load (\w+) shared library",
     "Paddle finds no {found}; pip install -r requirements-gpu.txt"),
    (r"CUDA driver version is insufficient", "the driver is too old for this build; install a newer driver"),
    (r"no kernel image|ARCH_MISMATCH|which is not supported by Paddle",
     "this build has no machine code for {card}; install a newer build from Paddle's own site, see docs/install.md"),
)


def packages():
    """The folders ``nvidia/*/lib`` of the installed nvidia-* packages."""
    spec = importlib.util.find_spec("nvidia")
    return [folder for root in (spec.submodule_search_locations if spec else ()) for folder in Path(root).glob("*/lib")]


@functools.cache
def use_packages():
    """Let Paddle 2.6 load CUDA's libraries from the nvidia-* packages, if they are installed.

    Paddle must be imported, but must not have used the card.

    Returns:
        The folder with the libraries under the names that Paddle asks for: links, which are kept for the next process.
        None if there is nothing to do.

    Raises:
        UserError: the folder cannot be written.
    """
    import paddle

    libraries = {path.name: path for folder in packages() for path in folder.glob("*.so.*")}
    by_itself = getattr(paddle.version, "with_pip_cuda_libraries", "OFF") == "ON"
    if by_itself or not paddle.version.cuda().startswith("11.") or not libraries:
        return None
    links = {name: str(path.resolve()) for name, path in libraries.items()}  # under these names they load each other
    links.update({name.partition(".so")[0] + ".so": name for name in libraries.keys() & WANTED})
    digest = hashlib.sha256(repr(sorted(links.items())).encode()).hexdigest()[:12]
    folder = compiled_folder() / f"cuda-libraries-{digest}"
    if not folder.is_dir():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
                whole = Path(temporary) / "links"
                whole.mkdir()
                for name, target in links.items():
                    (whole / name).symlink_to(target)
                try:
                    whole.rename(folder)
                except OSError:
                    if not folder.is_dir():  # else another process has made it meanwhile
                        raise
        except OSError as error:
            raise UserError(f"--use_gpu: cannot write {folder}: {error.strerror}; make room there, or let "
                            "XDG_CACHE_HOME name another folder") from error
    look_in(str(folder))
    return str(folder)


def look_in(folder):
    """Let Paddle 2.6 look for CUDA's libraries in a folder first."""
    for flag in FLAGS:
        set_flag(flag, folder)


class _String(ctypes.Structure):
    """``std::string`` of GCC's standard library."""

    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_size_t), ("capacity", ctypes.c_size_t * 2))


def set_flag(name, value):
    """Set one of Paddle's flags, as ``paddle.set_flags`` does, which refuses some of them; this is the C++ behind it.

    Args:
        name: without ``FLAGS_``.
        value: text.

    Returns:
        Whether Paddle has such a flag.
    """
    import paddle

    library = ctypes.CDLL(paddle.base.core.libpaddle.__file__)
    function = getattr(library, "_ZN6paddle5flags12SetFlagValueE"
                                "RKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEES8_", None)
    if function is None:
        return False
    function.restype = ctypes.c_bool
    texts = [text.encode() for text in (name, value)]
    return function(*(ctypes.byref(_String(text, len(text), (len(text), 0))) for text in texts))


@functools.cache
def check(device):
    """Compute something tiny on a device, in a process of its own, because a failure there may end the process.

    Args:
        device: ``gpu:0`` and the like.

    Raises:
        UserError: it failed; the message says why and what to do.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "GLOG_minloglevel": "0"}
    try:
        done = subprocess.run([sys.executable, "-c", PROBE, device, use_packages() or ""], env=environment, cwd=ROOT,
                              capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(f"--use_gpu: a tiny operation on {device} did not end within {SECONDS} s; check nvidia-smi, "
                        "or leave the flag out") from None
    if done.returncode:
        raise UserError(f"--use_gpu: {reason(done.stderr, device)}, or leave the flag out")


def reason(said, device):
    """Why a probe failed, and the remedy: the end of an error message.

    Args:
        said: what the probe wrote to standard error.
        device: that it used.
    """
    for pattern, message in REASONS:
        if match := re.search(pattern, said):
            found = next((group for group in match.groups() if group), "") if match.groups() else ""
            return message.format(card=card(device), found=found)
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it ended without a word"]
    line = next((line for line in reversed(lines) if "rror" in line), lines[-1])
    return f"a tiny operation on {card(device)} failed ({line}); check nvidia-smi"


def card(device):
    """The name of a card and its compute capability, as far as Paddle knows them."""
    import paddle

    try:
        number = int(device.partition(":")[2])
        major, minor = paddle.device.cuda.get_device_capability(number)
        return f"{paddle.device.cuda.get_device_name(number)} (compute capability {major}.{minor})"
    except Exception:  # of many kinds; the name only completes an error message
        return device
