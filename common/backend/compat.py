"""The differences between Paddle 2.6 and 3.x, and between static and dynamic mode, in one place.

Everything else in the project is written once for both versions.
"""

import contextlib
import logging

import numpy as np
import paddle
from paddle.base import core, framework
from paddle.base.dygraph.tracer import Tracer
from paddle.base.framework import OpProtoHolder

ADAM = ("moment1", "moment2", "beta1_pow_acc", "beta2_pow_acc")  # how Paddle's Adam calls its state
SCALING = ("loss_scaling", "num_good_steps", "num_bad_steps")  # how static programs call the state of a loss scaling


def pir():
    """True when programs are built in Paddle 3's new intermediate representation (its default)."""
    return bool(getattr(paddle.framework, "in_pir_mode", lambda: False)())


def parameters(program):
    """The parameters of a program by name, in order of creation; untrained ones (moving statistics) are included.

    Paddle 3 itself lists them in reverse order, Paddle 2.6 in order.
    """
    found = program.global_block().all_parameters()
    return {p.name: p for p in (reversed(found) if pir() else found)}


def trained_parameters(program):
    """The names of a program's parameters that have gradients: without moving statistics."""
    return [name for name, parameter in parameters(program).items() if not parameter.stop_gradient]


def minimize(optimizer, loss, program, names):
    """Add to ``program`` the update of its parameters called ``names``; its other parameters stay as they are.

    Paddle 3 wants that program's own parameter values, Paddle 2.6 takes names; both take an empty list
    for "train everything", which is never what a GAN wants.

    Raises:
        ValueError: ``names`` is empty, or names something that ``program`` does not have.
    """
    names = list(names)
    own = parameters(program)
    missing = [name for name in names if name not in own]
    if not names or missing:
        raise ValueError(f"no such parameters in the program: {missing}" if names else "an empty parameter list")
    optimizer.minimize(loss, parameters=[own[name] for name in names] if pir() else names)


def auto_cast(white, black):
    """``paddle.amp.auto_cast`` in float16: a context to call layers in.

    In Paddle 2.6 it is for dynamic mode only; there `Scaled` adds the casts to a static program.

    Args:
        white, black: names of operators that are always float16, or always float32, besides Paddle's own lists.
    """
    if not (paddle.in_dynamic_mode() or pir()):
        return contextlib.nullcontext()
    return paddle.amp.auto_cast(custom_white_list=white, custom_black_list=black)


class Scaled:
    """An optimiser for one static program, with loss scaling; see `auto_cast`."""

    def __init__(self, optimizer, white, black):
        # It warns of operators in Paddle's own list that Paddle's own build lacks
        logging.getLogger("paddle.static.amp.fp16_lists").setLevel(logging.ERROR)
        lists = paddle.static.amp.AutoMixedPrecisionLists(white, black)
        self.optimizer = paddle.static.amp.decorate(optimizer, lists, level="O1", dtype="float16")

    def minimize(self, loss, parameters):
        """As ``paddle.optimizer.Optimizer.minimize``."""
        if not pir():
            self.optimizer.minimize(loss, parameter_list=parameters)
            return
        with paddle.amp.auto_cast(enable=False):  # as Paddle wants it: `auto_cast` is for layers and losses
            scaler = paddle.amp.GradScaler()
            scaler.minimize(self.optimizer, scaler.scale(loss), parameter_list=parameters)


class BatchNorm(paddle.nn.BatchNorm):
    """``paddle.nn.BatchNorm`` whose ``eval()`` works in Paddle 2.6's static programs too.

    Paddle 2.6's own layer ignores ``eval()`` there: unless its constructor is told otherwise, it normalises by the
    batch's statistics and updates the moving ones.
    """

    def forward(self, x):
        self._is_test = not self.training
        return super().forward(x)


def parameter_name(name):
    """``name`` in a static program, where layers with equal names share a parameter; a free variant in dynamic mode.

    In dynamic mode a process can use each name only once.
    """
    return name if not paddle.in_dynamic_mode() else paddle.utils.unique_name.generate(name)


def scalar(loss):
    """A loss as a float32 number; Paddle's versions and modes give it the shape [] or [1]."""
    return np.float32(np.array(loss).reshape(()))


def use_cudnn(wanted):
    """Let convolutions use cuDNN or not; without CUDA there is nothing to choose."""
    if paddle.is_compiled_with_cuda():
        paddle.set_flags({"FLAGS_conv2d_disable_cudnn": not wanted})


def load_operators(path):
    """Load a library of custom operators; raises ``RuntimeError`` or ``ValueError`` if it does not fit."""
    names = core.load_op_meta_info_and_register_op(str(path))
    refresh = OpProtoHolder.instance().update_op_proto
    refresh(names) if names else refresh()  # Paddle 3 returns names and wants them


# Where ``_run_custom_op`` is, which runs a custom operator at once: in Paddle 3, in 2.6
CUSTOM = paddle._C_ops if hasattr(paddle._C_ops, "_run_custom_op") else core.eager


def variables(scope, known):
    """The names of all variables of a scope and its programs; in Paddle 2.6, which cannot list them, ``known``."""
    return list(getattr(scope, "local_var_names", lambda: known)())


# Paddle's mode is its tracer: None means static. There are three places: Python's for this thread, Python's for threads
# to come, and the one in C++, which all threads share. An assignment sets all three. `common.gan.LOCK` must be held.


@contextlib.contextmanager
def static_mode():
    """A context in static mode, to build programs in; afterwards Paddle is in the mode that it was found in."""
    with _switched(None):
        yield


@contextlib.contextmanager
def dynamic_mode():
    """A context in dynamic mode; afterwards Paddle is in the mode that it was found in."""
    if framework.global_var._dygraph_tracer_ is not None and framework._dygraph_tracer_ is not None:
        yield
        return
    tracer = Tracer()
    tracer._expected_place = framework._current_expected_place_()
    with _switched(tracer):
        yield


@contextlib.contextmanager
def static_run():
    """A context to run a program in, if Paddle may be in dynamic mode. Other threads do not notice it."""
    here = framework.global_var.__dict__  # of this thread
    found = framework.global_var._dygraph_tracer_
    here["_dygraph_tracer_"] = None
    try:
        yield
    finally:
        here["_dygraph_tracer_"] = found


@contextlib.contextmanager
def _switched(tracer):
    here, all_threads = framework.global_var._dygraph_tracer_, framework._dygraph_tracer_
    framework.global_var._dygraph_tracer_ = tracer
    try:
        yield
    finally:
        framework.global_var._dygraph_tracer_ = all_threads
        framework.global_var.__dict__["_dygraph_tracer_"] = here


# What the two versions call the operators of a generator, and the attributes that `operations` gives
OPERATORS = {"matmul_v2": "matmul", "elementwise_add": "add", "batch_norm_": "batch_norm", "reshape2": "reshape",
             "flatten_contiguous_range": "flatten", "transpose2": "transpose"}
ATTRIBUTES = {"perm": "axis", "negative_slope": "alpha"}


def operations(program):
    """The operators of a static program, the same in both versions.

    Yields:
        (kind, names of the inputs, name of the first output, its shape, attributes). Inputs of a batch norm are the
        pictures, mean, variance, scale and bias.
    """
    return _pir_operations(program) if pir() else _legacy_operations(program)


def _legacy_operations(program):
    block = program.global_block()
    for op in block.ops:
        slots = ("X", "Input", "Filter", "Y", "Mean", "Variance", "Scale", "Bias")
        inputs = [name for slot in slots if slot in op.input_names for name in op.input(slot)]
        output = next(op.output(slot)[0] for slot in ("Y", "Output", "Out") if slot in op.output_names)
        attributes = {name: op.attr(name) for name in op.attr_names}
        yield OPERATORS.get(op.type, op.type), inputs, output, list(block.var(output).shape), attributes


def _pir_operations(program):
    names, constants = {}, {}
    for op in program.global_block().ops:
        kind, attributes, output = op.name().split(".")[-1], op.attrs(), op.results()[0]
        names[output.id] = attributes.get("parameter_name") or attributes.get("name") or f"value_{len(names)}"
        if kind in ("full", "full_int_array"):
            constants[output.id] = attributes["value"]
        elif kind not in ("parameter", "data"):
            given = [value.id for value in op.operands_source()]
            attributes = {ATTRIBUTES.get(name, name): value for name, value in attributes.items()}
            if kind in ("reshape", "scale"):  # the second input is a constant, in Paddle 2.6 an attribute
                attributes["shape" if kind == "reshape" else "scale"] = constants[given[1]]
            yield (OPERATORS.get(kind, kind), [names[each] for each in given if each not in constants],
                   names[output.id], list(output.shape), attributes)


def tensors(program):
    """The operators of a static program with all that they read and write.

    Yields:
        (the version's own name, the different inputs and the outputs); both have ``shape`` and ``dtype``.
    """
    block = program.global_block()
    for op in block.ops:
        if not hasattr(op, "operands_source"):  # Paddle 2.6, whatever mode it is in now
            names = [*dict.fromkeys(op.input_arg_names), *dict.fromkeys(op.output_arg_names)]
            yield op.type, [block.var(name) for name in names if block.has_var(name)]
        elif not op.name().startswith("builtin."):
            values = [each for value in op.operands_source() for each in _members(value)]
            yield op.name(), list({value.id: value for value in (*values, *op.results())
                                   if value.initialized() and value.is_dense_tensor_type()}.values())


def _members(value):
    """The values of a list of values in Paddle 3, which is a value too; of any other value only itself."""
    maker = value.get_defining_op() if value.initialized() else None
    return maker.operands_source() if maker and maker.name() == "builtin.combine" else [value]
