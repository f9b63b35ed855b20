"""NVIDIA's libraries for Paddle's CUDA build, and the probe of a card. No card is at hand: stand-ins play the parts."""

from pathlib import Path

import paddle
import pytest

from common.backend import cuda, runtime
from common.errors import UserError

CARD = "Stand-in H100 (compute capability 9.0)"
# What the build for CUDA 11.8 wrote before it ended its process, without any libraries
NO_LIBRARY = ("(PreconditionNotMet) The third-party dynamic library (libcublas.so) that Paddle depends on is not "
              "configured correctly. (error code is libcublas.so: cannot open shared object file")
NO_CUDNN = "PreconditionNotMetError: Cannot load cudnn shared library. Cannot invoke method cudnnGetVersion."
NO_CODE = "OSError: (External) CUDA error(209), no kernel image is available for execution on the device."
FULL = "MemoryError: ResourceExhaustedError: Out of memory error on GPU 0. ... out of memory"
OLD_DRIVER = "CUDA error(35), CUDA driver version is insufficient for CUDA runtime version."


@pytest.fixture(autouse=True)
def anew():
    yield
    for function in (cuda.use_packages, cuda.check):
        function.cache_clear()


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """The nvidia-* packages of two versions of CUDA, as pip lays them out."""
    for name in ("cublas/lib/libcublas.so.11", "cublas/lib/libcublasLt.so.11", "cublas/lib/libcublas.so.12",
                 "cudnn/lib/libcudnn.so.8", "cudnn/lib/libcudnn_ops_infer.so.8", "cuda_nvrtc/lib/libnvrtc.so.11.2",
                 "cudnn/include/cudnn.h"):
        path = tmp_path / "nvidia" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "nvidia"


@pytest.fixture
def cuda_11(monkeypatch):
    """A Paddle for CUDA 11.8 that leaves finding its libraries to the system, and one card for it."""
    monkeypatch.setattr(paddle.version, "cuda", lambda: "11.8")
    monkeypatch.setattr(paddle.version, "with_pip_cuda_libraries", "OFF", raising=False)
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(paddle.device.cuda, "get_device_name", lambda number: "Stand-in H100")
    monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda number: (9, 0))


def test_packages_are_found_and_named_as_paddle_asks_for_them(packages, cuda_11, monkeypatch):
    flags, cache = {}, packages.parent / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(cuda, "set_flag", flags.__setitem__)
    folder = Path(cuda.use_packages())
    assert flags == dict.fromkeys(("cuda_dir", "cudnn_dir", "nccl_dir"), str(folder))
    found = {path.name: path.read_text() for path in folder.iterdir()}
    assert found == {
        "libcublas.so": "cublas/lib/libcublas.so.11", "libcublas.so.11": "cublas/lib/libcublas.so.11",
        "libcublas.so.12": "cublas/lib/libcublas.so.12", "libcublasLt.so": "cublas/lib/libcublasLt.so.11",
        "libcublasLt.so.11": "cublas/lib/libcublasLt.so.11", "libcudnn.so": "cudnn/lib/libcudnn.so.8",
        "libcudnn.so.8": "cudnn/lib/libcudnn.so.8", "libcudnn_ops_infer.so.8": "cudnn/lib/libcudnn_ops_infer.so.8",
        "libnvrtc.so": "cuda_nvrtc/lib/libnvrtc.so.11.2", "libnvrtc.so.11.2": "cuda_nvrtc/lib/libnvrtc.so.11.2"}
    # A process may end in any way: the next one takes the same folder, and there is no other one
    cuda.use_packages.cache_clear()
    assert cuda.use_packages() == str(folder) and list(cache.rglob("*/cuda*")) == [folder]
    assert list(folder.parent.iterdir()) == [folder]
    (packages / "cudnn/lib/libcudnn.so.9").touch()
    cuda.use_packages.cache_clear()
    assert Path(cuda.use_packages(), "libcudnn.so.9").exists() and not (folder / "libcudnn.so.9").exists()


@pytest.mark.parametrize("own", ["a build without CUDA", "Paddle 3"])
def test_other_builds_are_left_alone(packages, cuda_11, monkeypatch, own):
    if own == "Paddle 3":
        monkeypatch.setattr(paddle.version, "with_pip_cuda_libraries", "ON")
    else:
        monkeypatch.setattr(paddle.version, "cuda", lambda: "False")
    assert cuda.use_packages() is None


def test_a_flag_reaches_paddle():
    name = "tracer_profile_fname"  # a text that both versions know and nothing else here uses
    before = paddle.get_flags([f"FLAGS_{name}"])[f"FLAGS_{name}"]
    value = "longer than what std::string keeps inside itself"
    try:
        assert cuda.set_flag(name, value)
        assert paddle.get_flags([f"FLAGS_{name}"])[f"FLAGS_{name}"] == value
    finally:
        cuda.set_flag(name, before)
    assert not cuda.set_flag("there_is_no_such_flag", value)


def test_the_probe_computes(monkeypatch):
    cuda.check("cpu")
    monkeypatch.setattr(cuda, "PROBE", cuda.PROBE.replace("paddle.ones", "paddle.zeros"))
    cuda.check.cache_clear()
    with pytest.raises(UserError, match=r"a tiny operation on cpu failed \(it computed 0.0 where 108 is right\)"):
        cuda.check("cpu")


@pytest.mark.parametrize(("said", "words"), [
    (NO_LIBRARY, "Paddle finds no libcublas; pip install -r requirements-gpu.txt"),
    (NO_CUDNN, "Paddle finds no cudnn; pip install -r requirements-gpu.txt"),
    (NO_CODE, f"this build has no machine code for {CARD}; install a newer build .*docs/install.md"),
    (FULL, f"{CARD} has no memory left; see nvidia-smi"),
    (OLD_DRIVER, "the driver is too old for this build; install a newer driver"),
    ("W1126 a warning\nOSError: something else\n", r"a tiny operation on .* failed \(OSError: something else\)"),
    ("", "it ended without a word"),
])
def test_a_probe_that_crashes_is_one_line(cuda_11, monkeypatch, said, words):
    """`runtime.place` asks the probe before it touches the card."""
    monkeypatch.setattr(cuda, "packages", lambda: [])
    monkeypatch.setattr(cuda, "PROBE", f"import os, sys; sys.stderr.write({said!r}); sys.stderr.flush(); os.abort()")
    monkeypatch.setattr(paddle, "set_device", lambda device: pytest.fail("the card was used"))
    with pytest.raises(UserError, match=words.replace("(compute", r"\(compute").replace("9.0)", r"9.0\)")) as error:
        runtime.place(True)
    assert str(error.value).startswith("--use_gpu: ") and str(error.value).endswith(", or leave the flag out")
    assert "\n" not in str(error.value)


def test_a_probe_that_hangs_is_one_line(monkeypatch):
    monkeypatch.setattr(cuda, "SECONDS", 0.2)
    monkeypatch.setattr(cuda, "PROBE", "import time; time.sleep(60)")
    with pytest.raises(UserError, match="a tiny operation on gpu:0 did not end within 0.2 s; check nvidia-smi"):
        cuda.check("gpu:0")


def test_the_probe_gets_the_folder_of_libraries(packages, cuda_11, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cuda, "set_flag", lambda name, value: True)
    monkeypatch.setattr(cuda, "PROBE", "import os, sys; sys.exit(sys.argv[1] + ' ' + os.listdir(sys.argv[2])[0][:3])")
    with pytest.raises(UserError, match=r"\(gpu:0 lib\)"):
        cuda.check("gpu:0")
