"""Layers that train fast on a CPU: convolutions, batch norm, activations, pooling.

Paddle's own layers are slow on a CPU (``docs/performance.md`` has the figures). The C++ in ``fast_ops/`` does the
same mathematics on all threads, with the oneDNN library that comes in Paddle's wheel. It is compiled at first use,
in seconds, and kept in the user's cache folder. Paddle's own operators do the work on a GPU, without a C++ compiler,
for inputs that the C++ does not cover, and with ``GAN_FAST_OPS=0`` in the environment.

These layers have no second derivatives. ``paddle.grad(…, create_graph=True)``, as a gradient penalty needs it, leaves
their part out and raises no error. Call it within `switched_off`, or set ``GAN_FAST_OPS=0``.

Import this module after ``common.backend.runtime.prepare()``.
"""

import contextlib
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
from paddle.base.layer_helper import LayerHelper

from common.backend import compat, runtime
from common.files import compiled_folder

SOURCES = Path(__file__).with_name("fast_ops")
FLOAT32, BF16, EMULATED = range(3)  # how convolutions and dense products multiply; see `use_bf16`
_arithmetic = FLOAT32
_off = False  # see `switched_off`


class Conv2D(nn.Conv2D):
    """``paddle.nn.Conv2D``: the same parameters, initial values and result."""

    def forward(self, x):
        pads = _padding(self)
        if pads is None or not _covers(x, self):
            return super().forward(x)
        size = [(x.shape[2 + i] + sum(pads[i]) - self._kernel_size[i]) // self._stride[i] + 1 for i in (0, 1)]
        if min(size) < 1:
            return super().forward(x)
        return _convolution(self, x, [pad[0] for pad in pads], size, transposed=False)


class Conv2DTranspose(nn.Conv2DTranspose):
    """``paddle.nn.Conv2DTranspose``: the same parameters, initial values and result."""

    def forward(self, x, output_size=None):
        pads = _padding(self)
        if pads is None or not _covers(x, self):
            return super().forward(x, output_size)
        least = [(x.shape[2 + i] - 1) * self._stride[i] + self._kernel_size[i] - sum(pads[i]) for i in (0, 1)]
        if output_size is None:
            size = [a + b for a, b in zip(least, _pair(self.output_padding), strict=True)]
        else:
            size = _pair(output_size)
        # A size out of range goes to Paddle's own operator, whose error message explains it
        if size is None or not all(1 <= a <= b < a + s for a, b, s in zip(least, size, self._stride, strict=True)):
            return super().forward(x, output_size)
        return _convolution(self, x, [pad[0] for pad in pads], size, transposed=True)


class Linear(nn.Linear):
    """``paddle.nn.Linear``: the same parameters, initial values and result."""

    def forward(self, x):
        bias, weight = self.bias, self.weight
        if bias is None or len(x.shape) != 2 or bias.stop_gradient != weight.stop_gradient \
                or x.shape[1] != weight.shape[0] or not usable(x):
            return super().forward(x)
        if _arithmetic == FLOAT32:  # Paddle's own product is fast; its sum with the bias takes one thread
            name = "gan_bias_x" if weight.stop_gradient else "gan_bias"
            return _call(name, {"X": paddle.matmul(x, weight), "B": bias}, {"Y": x.dtype}, {})
        name = "gan_dense_w" if x.stop_gradient else "gan_dense_x" if weight.stop_gradient else "gan_dense"
        return _call(name, {"X": x, "W": weight, "B": bias}, {"Y": x.dtype}, {"arithmetic": _arithmetic})


def use_bf16(wanted=True):
    """Let convolutions and dense layers round their factors to bfloat16 from now on, if the processor can.

    Products are summed up in float32; weights, gradients and everything else stay float32. The processor needs
    AVX-512 BF16 or AMX. Convolutions with at most four input channels, and transposed ones with at most four output
    channels, stay float32.

    Returns:
        True if they multiply in bfloat16 now.
    """
    global _arithmetic
    _arithmetic = BF16 if wanted and runtime.bf16_processor() and working() else FLOAT32
    return _arithmetic == BF16


def arithmetic():
    """``bfloat16`` or ``float32``: what convolutions and dense layers multiply in, see `use_bf16`."""
    return "float32" if _arithmetic == FLOAT32 else "bfloat16"


def instructions():
    """The widest vectors that the operators compute with, which decide their bits; ``off`` if they do no work."""
    if not working():
        return "off"
    known = ("avx512f", "avx2") if _arithmetic == FLOAT32 else ("amx_bf16", "avx512f")
    return next((name for name in known if name in runtime.cpuinfo().split()), platform.machine())


def max_pool(x):
    """``F.max_pool2d(x, 2, 2)``: [B, C, H, W] to [B, C, H // 2, W // 2]."""
    return leaky_relu_max_pool(x, 1.0)


def leaky_relu_max_pool(x, negative_slope=0.01):
    """``F.max_pool2d(F.leaky_relu(x, negative_slope), 2, 2)``, with the activation after the pool.

    Leaky ReLU never decreases (``0 <= negative_slope <= 1``), so the largest pixel of a square is the same
    before and after it: same values, a quarter of the work. 0 is ReLU, 1 is no activation.

    Args:
        x: [B, C, H, W]; the result is [B, C, H // 2, W // 2].
        negative_slope: of the activation.

    Raises:
        ValueError: ``negative_slope`` is outside of [0, 1].
    """
    if not 0 <= negative_slope <= 1:
        raise ValueError(f"negative_slope must lie in [0, 1], not {negative_slope}")
    if not (len(x.shape) == 4 and min(x.shape[2:]) >= 2 and usable(x)):
        x = F.max_pool2d(x, 2, 2)
        return x if negative_slope == 1 else F.leaky_relu(x, negative_slope=negative_slope)
    return _call("gan_pool", {"X": x}, {"Y": x.dtype, "Mask": "uint8"}, {"slope": float(negative_slope)})


def relu(x):
    """``F.relu(x)``."""
    return leaky_relu(x, 0.0)


def leaky_relu(x, negative_slope=0.01):
    """``F.leaky_relu(x, negative_slope)``; 0 is ReLU."""
    if not (negative_slope >= 0 and usable(x)):
        return F.relu(x) if negative_slope == 0 else F.leaky_relu(x, negative_slope=negative_slope)
    return _call("gan_leaky_relu", {"X": x}, {"Y": x.dtype}, {"slope": float(negative_slope)})


def bn_relu(bn, x):
    """``F.relu(bn(x))``; see `bn_leaky_relu`."""
    return bn_leaky_relu(bn, x, 0.0)


def bn_leaky_relu(bn, x, negative_slope=1.0):
    """``F.leaky_relu(bn(x), negative_slope)`` in one operator. A slope of 0 is ReLU, a slope of 1 no activation.

    Args:
        bn: ``paddle.nn.BatchNorm``, ``BatchNorm1D`` or ``BatchNorm2D``; its moving statistics move in training.
        x: [B, C] or [B, C, H, W].
    """
    if not getattr(bn, "apart", True):  # a SyncBatchNorm2D that asks other processes
        return bn.activated(x, negative_slope)
    layout = getattr(bn, "_data_layout", None) or bn._data_format
    covered = (negative_slope >= 0 and layout.startswith("NC") and bn._use_global_stats in (None, False)
               and not getattr(bn, "_trainable_statistics", False) and getattr(bn, "_act", None) is None
               and bn.weight is not None and bn.bias is not None
               and not (x.stop_gradient and paddle.is_grad_enabled() and not bn.weight.stop_gradient)
               and bn.weight.stop_gradient == bn.bias.stop_gradient and len(x.shape) >= 2
               and x.shape[1] == bn.weight.shape[0] and usable(x))
    if not covered:
        x = bn(x)
        return x if negative_slope == 1 else leaky_relu(x, negative_slope)
    # In the dynamic graph a tensor that is written in place becomes a part of the graph. So the operator gets another
    # tensor that shares the memory of the moving statistics.
    mean, variance = (t.detach() if paddle.in_dynamic_mode() else t for t in (bn._mean, bn._variance))
    inputs = {"X": x, "Scale": bn.weight, "Bias": bn.bias, "Mean": mean, "Variance": variance}
    outputs = {"Y": x.dtype, "BatchMean": x.dtype, "BatchInverse": x.dtype, "MeanOut": mean, "VarianceOut": variance}
    return _call("gan_norm_x" if bn.weight.stop_gradient else "gan_norm", inputs, outputs,
                 {"momentum": float(bn._momentum), "epsilon": float(bn._epsilon), "slope": float(negative_slope),
                  "training": int(bn.training)})


def moments(x):
    """The means of the channels of x [B, C, H, W], and the sums of squared deviations from them: [2, C]."""
    return _call("gan_norm_moments", {"X": x}, {"Moments": x.dtype}, {})


def normalised(x, weight, bias, mean, variance, epsilon, negative_slope):
    """``F.leaky_relu(bn(x), negative_slope)`` with given statistics [C]."""
    inputs = {"X": x, "Scale": weight, "Bias": bias, "Mean": mean, "Variance": variance}
    return _call("gan_norm", inputs, {"Y": x.dtype}, {
        "momentum": 1.0, "epsilon": epsilon, "slope": negative_slope, "training": 0})


def normalised_sums(x, weight, bias, mean, inverse, gradient, negative_slope):
    """The gradients of weight and bias in `normalised`, [2, C]; ``inverse`` is ``rsqrt(variance + epsilon)``."""
    return _call("gan_norm_sums", {"X": x, "Scale": weight, "Bias": bias, "Mean": mean, "Inverse": inverse,
                                   "dY": gradient}, {"Sums": x.dtype}, {"slope": negative_slope})


def normalised_dx(x, weight, bias, mean, inverse, gradient, sums, negative_slope):
    """The gradient of x in `normalised`, where mean and variance depend on x.

    Args:
        sums: `normalised_sums` of the whole batch, divided by its number of values in a channel.
    """
    return _call("gan_norm_dx", {"X": x, "Scale": weight, "Bias": bias, "Mean": mean, "Inverse": inverse,
                                 "dY": gradient, "Sums": sums}, {"dX": x.dtype}, {"slope": negative_slope})


def masked(x, mask):
    """``x`` times a mask, uint8 of the same shape. The mask gets no gradient."""
    if not usable(x):
        return paddle.multiply(x, mask.astype("float32"))
    return _call("gan_mask", {"X": x, "Mask": mask}, {"Y": x.dtype}, {})


def adam(weight, gradient, rate, moments, powers, beta1, beta2, epsilon, corrected):
    """Do one step of Adam in place. The weight must be `usable`.

    Args:
        weight, gradient: of one shape.
        rate: the learning rate [1].
        moments: the two moving moments, in the weight's shape.
        powers: beta1 ** t and beta2 ** t for this step t, [1] each.
        beta1, beta2, epsilon: numbers.
        corrected: whether epsilon is corrected for the bias, see `common.backend.adam.fluid_adam`.
    """
    changed = [weight, *moments, *powers]
    if paddle.in_dynamic_mode():  # as in `bn_leaky_relu`
        changed = [tensor.detach() for tensor in changed]
    weight, moment1, moment2, power1, power2 = changed
    _call("gan_adam", {"Weight": weight, "Gradient": gradient, "Rate": rate, "Moment1": moment1, "Moment2": moment2,
                       "Power1": power1, "Power2": power2},
          {"WeightOut": weight, "Moment1Out": moment1, "Moment2Out": moment2, "Power1Out": power1,
           "Power2Out": power2},
          {"beta1": float(beta1), "beta2": float(beta2), "epsilon": float(epsilon), "corrected": int(corrected)})


def _pair(value):
    """An int or a list of two ints as a list of two ints; None for anything else."""
    value = [value, value] if isinstance(value, int) else value
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(v, int) for v in value):
        return list(value)
    return None


def _padding(layer):
    """((top, bottom), (left, right)) in pixels; None for a form of padding that the operators do not cover."""
    padding = layer._padding
    if isinstance(padding, (list, tuple)) and len(padding) == 4 and all(isinstance(p, int) for p in padding):
        return padding[:2], padding[2:]
    pair = _pair(padding)
    return pair and [(p, p) for p in pair]


def _covers(x, layer):
    """Whether the operators can stand in for this layer on this input."""
    return (layer._groups == 1 and list(layer._dilation) == [1, 1] and layer._data_format == "NCHW"
            and layer._padding_mode == "zeros" and len(x.shape) == 4 and min(x.shape[1:]) > 0
            and x.shape[1] == layer._in_channels and layer.weight.dtype == paddle.float32
            and (layer.bias is None or layer.bias.stop_gradient == layer.weight.stop_gradient) and usable(x))


def usable(x):
    """Whether the operators can take this tensor: in float32, and they are `working`."""
    return x.dtype == paddle.float32 and working()


@contextlib.contextmanager
def switched_off():
    """A context in which Paddle's own operators do the work, as in a program that leaves the project."""
    global _off
    found, _off = _off, True
    try:
        yield
    finally:
        _off = found


def compiled():
    """Whether the operators can do the work at once: nothing has to be compiled first."""
    with contextlib.suppress(OSError):  # `available` tells of a folder that cannot be used
        return bool(available.cache_info().currsize) or _library()[0].exists()
    return False


def working():
    """Whether the operators do the work: they are not switched off, Paddle is on the CPU, and they could be built."""
    wanted = not _off and os.environ.get("GAN_FAST_OPS", "1") != "0"
    return wanted and paddle.device.get_device() == "cpu" and available()


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
    attributes = {"transposed": int(transposed), "geometry": [*layer._stride, *padding, *size, _arithmetic]}
    return _call(name, inputs, {"Y": x.dtype}, attributes)


def _call(name, inputs, outputs, attributes):
    """Run a custom operator, or record it in a static program; return its first output.

    ``outputs`` is name → data type; for an output that is written in place, name → the input that it overwrites.
    """
    if paddle.in_dynamic_mode() or compat.pir():
        return compat.CUSTOM._run_custom_op(name, *inputs.values(), *attributes.values())[0]
    helper = LayerHelper(name)
    made = {key: kind if isinstance(kind, paddle.static.Variable) else helper.create_variable_for_type_inference(kind)
            for key, kind in outputs.items()}
    helper.append_op(type=name, inputs=inputs, outputs=made, attrs=attributes)
    return next(iter(made.values()))


@functools.cache
def available():
    """Whether the operators are loaded; builds and loads them at the first call, and says so if it cannot."""
    try:
        try:
            compat.load_operators(_build())
        except (RuntimeError, ValueError):  # the file was built with another C library, or a power failure cut it short
            compat.load_operators(_build(anew=True))
    except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
        lines = (getattr(error, "stderr", None) or str(error)).splitlines()
        reason = next((line for line in lines if "error" in line), [*lines, type(error).__name__][0])
        print(f"fast CPU operators are off ({reason}); Paddle's own do the same, slower", file=sys.stderr)
        return False
    return True


def _processor():
    """The kind of processor that the code is compiled for. Machines of several kinds may share a cache folder."""
    lines = runtime.cpuinfo().splitlines()
    return "".join(sorted({line for line in lines if line.startswith(("flags", "Features"))})).encode()


def _library():
    """(path of the compiled operators in the cache, the compiler's arguments).

    Clones and environments in other folders share the file if source and Paddle are the same.
    """
    sources = b"".join(path.read_bytes() for path in sorted(SOURCES.glob("[!.]*.[ch]*")) if path.is_file())
    root = Path(paddle.__file__).parent
    flags = ["-O3", "-std=c++17", "-fopenmp", "-fPIC", "-shared", "-w", "-march=native", "-fno-math-errno",
             "-DPADDLE_WITH_CUSTOM_KERNEL"]
    libraries = ["-Wl,--as-needed", "-l:libpaddle.so", "-l:libdnnl.so.3", "-l:libiomp5.so"]
    command = [*flags, f"-I{root}/include", f"-I{root}/include/third_party", str(SOURCES / "all.cc"),
               f"-L{root}/base", f"-L{root}/libs", *libraries]
    build = [*flags, *libraries, paddle.version.commit, paddle.version.cuda()]
    digest = hashlib.sha256(sources + " ".join(build).encode() + _processor()).hexdigest()[:12]
    kind = f"{paddle.__version__}-{sys.implementation.cache_tag}-{platform.machine()}-{digest}"
    return compiled_folder() / kind / "fast.so", command


def _build(anew=False):
    """The path of the compiled operators; compiles them unless the cache holds them, or ``anew``.

    Raises:
        OSError: no compiler, or a folder that cannot be written.
        subprocess.SubprocessError: the compiler failed.
    """
    if sys.platform != "linux":
        raise OSError(f"they are for Linux, this is {sys.platform}")
    library, command = _library()
    if library.exists() and not anew:
        return library
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise OSError("no C++ compiler: install g++")
    library.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(library.with_name("lock")):  # another process may be building it: wait for it
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
