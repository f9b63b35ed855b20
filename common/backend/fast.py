"""Convolution layers and pooling that train fast on a CPU.

Paddle's own convolutions use a CPU badly (``docs/performance.md`` has the figures). ``fast_ops.cc`` does the
same mathematics with the oneDNN library that comes in Paddle's wheel. It is compiled at first use, in seconds,
and kept in the user's cache folder. On a GPU, without a C++ compiler, with anything the operators do not
cover, or with ``GAN_FAST_OPS=0`` in the environment, Paddle's own operators do the work.

Import this module after ``common.backend.runtime.prepare()``.
"""

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import paddle
import paddle.nn.functional as F
from filelock import FileLock
from paddle import nn
from paddle.base import core
from paddle.base.framework import OpProtoHolder
from paddle.base.layer_helper import LayerHelper

from common.backend import compat

SOURCE = Path(__file__).with_name("fast_ops.cc")


class Conv2D(nn.Conv2D):
    """``paddle.nn.Conv2D``: the same parameters, initial values and result."""

    def forward(self, x):
        pads = _padding(self, x.shape)
        if pads is None or not _covers(x, self):
            return super().forward(x)
        size = [(x.shape[2 + i] + sum(pads[i]) - self._kernel_size[i]) // self._stride[i] + 1 for i in (0, 1)]
        if min(size) < 1:
            return super().forward(x)
        return _convolution(self, x, [pad[0] for pad in pads], size, transposed=False)


class Conv2DTranspose(nn.Conv2DTranspose):
    """``paddle.nn.Conv2DTranspose``: the same parameters, initial values and result."""

    def forward(self, x, output_size=None):
        pads = None if isinstance(self._padding, str) else _padding(self, x.shape)
        if pads is None or not _covers(x, self):
            return super().forward(x, output_size)
        least = [(x.shape[2 + i] - 1) * self._stride[i] + self._kernel_size[i] - sum(pads[i]) for i in (0, 1)]
        if output_size is None:
            size = [a + b for a, b in zip(least, _pair(self.output_padding), strict=True)]
        else:
            size = _pair(output_size)
        # Paddle's own operator explains what is wrong with a size out of range
        if size is None or not all(1 <= a <= b < a + s for a, b, s in zip(least, size, self._stride, strict=True)):
            return super().forward(x, output_size)
        return _convolution(self, x, [pad[0] for pad in pads], size, transposed=True)


def max_pool(x, size=2):
    """``F.max_pool2d(x, size, size)``: [B, C, H, W] to [B, C, H // size, W // size]."""
    return max_pool_leaky_relu(x, 1.0, size)


def max_pool_leaky_relu(x, negative_slope=0.01, size=2):
    """``F.max_pool2d(F.leaky_relu(x, negative_slope), size, size)``, with the activation after the pool.

    Leaky ReLU never decreases (``0 <= negative_slope <= 1``), so the largest pixel of a square is the same
    before and after it: same values, a quarter of the work. 0 is ReLU, 1 is no activation.
    """
    if not 0 <= negative_slope <= 1:
        raise ValueError(f"negative_slope must lie in [0, 1], not {negative_slope}")
    if not (2 <= size <= 11 and len(x.shape) == 4 and min(x.shape[2:]) >= size and _here(x)):
        x = F.max_pool2d(x, size, size)
        return x if negative_slope == 1 else F.leaky_relu(x, negative_slope=negative_slope)
    return _call("gan_pool", {"X": x}, {"Y": x.dtype, "Mask": "uint8"},
                 {"size": size, "slope": float(negative_slope)})


def _pair(value):
    """An int or a list of two ints as a list of two ints; None for anything else."""
    value = [value, value] if isinstance(value, int) else value
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(v, int) for v in value):
        return list(value)
    return None


def _padding(layer, shape):
    """((top, bottom), (left, right)) in pixels, or None for a form of padding not covered here."""
    padding, kernel, stride = layer._padding, layer._kernel_size, layer._stride
    if isinstance(padding, str) and padding.upper() == "VALID":
        padding = 0
    if isinstance(padding, str) and padding.upper() == "SAME" and min(shape[2:]) > 0:
        need = [max((-(-shape[2 + i] // stride[i]) - 1) * stride[i] + kernel[i] - shape[2 + i], 0) for i in (0, 1)]
        return [(n // 2, n - n // 2) for n in need]
    if isinstance(padding, (list, tuple)) and len(padding) == 4 and all(isinstance(p, int) for p in padding):
        return padding[:2], padding[2:]
    pair = _pair(padding)
    return pair and [(p, p) for p in pair]


def _covers(x, layer):
    """Whether the operators can stand in for this layer on this input."""
    return (layer._groups == 1 and list(layer._dilation) == [1, 1] and layer._data_format == "NCHW"
            and layer._padding_mode == "zeros" and len(x.shape) == 4 and min(x.shape[1:]) > 0
            and x.shape[1] == layer._in_channels and layer.weight.dtype == paddle.float32
            and (layer.bias is None or layer.bias.stop_gradient == layer.weight.stop_gradient) and _here(x))


def _here(x):
    """Whether to use the operators: not switched off, on CPU, in float32, and built."""
    return (os.environ.get("GAN_FAST_OPS", "1") != "0" and x.dtype == paddle.float32
            and paddle.device.get_device() == "cpu" and available())


def _convolution(layer, x, padding, size, transposed):
    inputs = {"X": x, "W": layer.weight}
    name = "gan_conv"
    if layer.bias is not None:
        inputs["B"] = layer.bias
        name += "_bias"
    if x.stop_gradient:
        name += "_w"
    elif layer.weight.stop_gradient:
        name += "_x"
    attributes = {"transposed": int(transposed), "geometry": [*layer._stride, *padding, *size]}
    return _call(name, inputs, {"Y": x.dtype}, attributes)


def _call(name, inputs, outputs, attributes):
    """Run or record a custom operator; its first output. Dynamic graph, PIR and old static programs differ."""
    if paddle.in_dynamic_mode() or compat.pir():
        run = getattr(paddle._C_ops, "_run_custom_op", None) or core.eager._run_custom_op
        return run(name, *inputs.values(), *attributes.values())[0]
    helper = LayerHelper(name)
    made = {key: helper.create_variable_for_type_inference(dtype) for key, dtype in outputs.items()}
    helper.append_op(type=name, inputs=inputs, outputs=made, attrs=attributes)
    return next(iter(made.values()))


@functools.cache
def available():
    """Whether the operators are loaded; builds and loads them at the first call, and says so if it cannot."""
    try:
        try:
            names = core.load_op_meta_info_and_register_op(str(_build()))
        except (RuntimeError, ValueError):  # of another C library, or cut short by a power failure
            names = core.load_op_meta_info_and_register_op(str(_build(anew=True)))
        refresh = OpProtoHolder.instance().update_op_proto
        refresh(names) if names else refresh()
    except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
        lines = (getattr(error, "stderr", None) or str(error)).splitlines()
        reason = next((line for line in lines if "error" in line), [*lines, type(error).__name__][0])
        print(f"fast CPU operators are off ({reason}); Paddle's own do the same, slower", file=sys.stderr)
        return False
    return True


def _build(anew=False):
    """The path of the compiled operators; compiles them unless the cache holds them, or ``anew``.

    Raises:
        OSError: no compiler, or a folder that cannot be written.
        subprocess.SubprocessError: the compiler failed.
    """
    if sys.platform != "linux":
        raise OSError(f"they are for Linux, this is {sys.platform}")
    source = SOURCE.read_bytes()
    root = Path(paddle.__file__).parent
    command = ["-O3", "-std=c++17", "-fopenmp", "-fPIC", "-shared", "-w", "-DPADDLE_WITH_CUSTOM_KERNEL",
               f"-I{root}/include", f"-I{root}/include/third_party", str(SOURCE), f"-L{root}/base", f"-L{root}/libs",
               "-Wl,--as-needed", "-l:libpaddle.so", "-l:libdnnl.so.3", "-l:libiomp5.so"]
    digest = hashlib.sha256(source + " ".join(command).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paddle_gan_tutorials"
    library = cache / f"{paddle.__version__}-{sys.implementation.cache_tag}-{platform.machine()}-{digest}" / "fast.so"
    if library.exists() and not anew:
        return library
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise OSError("no C++ compiler: install g++")
    library.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(library.with_name("lock")):  # another process may be building it: wait for that one
        if library.exists() and not anew:
            return library
        start = time.monotonic()
        print("building fast CPU operators, once: about 10 s ...", end=" ", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            made = Path(folder) / library.name
            subprocess.run([compiler, *command, "-o", str(made)], check=True, capture_output=True, text=True,
                           timeout=300)
            made.replace(library)
        print(f"done in {time.monotonic() - start:.0f} s", file=sys.stderr)
    return library
