"""Mixed precision on a GPU. No card is at hand: a CPU runs the loss scaling, and shows where programs are cast.

A CPU has no convolutions in float16. So where something runs, all operators are on the list of float32.
"""

import warnings
from contextlib import contextmanager
from types import SimpleNamespace

from common.backend import runtime

runtime.prepare()

import numpy as np  # noqa: E402
import paddle  # noqa: E402
import paddle.amp.grad_scaler  # noqa: E402
import pytest  # noqa: E402
from paddle.static import Program, program_guard  # noqa: E402

from common.backend import amp, compat  # noqa: E402
from common.errors import UserError  # noqa: E402
from common.parallel.sync_norm import SyncBatchNorm2D  # noqa: E402
from dygraph_celeba.gan import FaceGAN  # noqa: E402
from static_mnist import book, cgan, note6  # noqa: E402
from static_mnist.static_gan import StaticGAN  # noqa: E402
from tests.helpers import moved  # noqa: E402

START = 2.0 ** 16  # of the scaling; powers of two change no bit of a gradient
MULTIPLY = {"conv2d", "conv2d_transpose", "matmul_v2"}
CPU = paddle.CPUPlace()

MAKE = {
    "book": lambda: book.BookGAN(CPU),
    "note6": lambda: note6.Note6GAN(CPU, batch_size=2),
    "note6 with one set of moments": lambda: note6.Note6GAN(CPU, ["shared_moments"], batch_size=2),
    "cgan": lambda: cgan.CGAN(CPU, (4, 4, 1), "01"),
    "faces": lambda: FaceGAN(CPU, batch_size=2),
}


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    """Paddle's own operators, ``--amp``, and a GradScaler that takes the CPU for a GPU."""
    warnings.filterwarnings("ignore", "amp_guard can only be enabled")
    place = SimpleNamespace(is_gpu_place=lambda: True)
    monkeypatch.setenv("GAN_FAST_OPS", "0")
    monkeypatch.setattr(amp, "on", True)
    monkeypatch.setattr(paddle.amp.grad_scaler, "_dygraph_tracer", lambda: SimpleNamespace(_expected_place=place))


@pytest.fixture
def in_float32(monkeypatch):
    monkeypatch.setattr(amp, "WHITE", set())
    monkeypatch.setattr(amp, "BLACK", {*MULTIPLY, "sigmoid"})


def trained(name, steps=1):
    gan, random = MAKE[name](), np.random.RandomState(0)
    with gan.mode():
        batch = gan.random_batch(2, random)
        losses = [gan.step(batch, random) for _ in range(steps)]
        return gan, losses, gan.state()


@pytest.mark.parametrize("name", [name for name in MAKE if name != "note6"])
def test_scaling_changes_no_bit_and_is_part_of_the_state(narrow, in_float32, monkeypatch, name):
    gan, losses, state = trained(name)
    monkeypatch.setattr(amp, "on", False)
    _, plain_losses, plain = trained(name)
    assert losses == plain_losses
    assert all(np.array_equal(state[key], plain[key]) for key in plain)
    more = state.keys() - plain.keys()
    assert len(more) == 2 * 3  # two scalings of three numbers
    assert all(state[key] == START for key in more if "loss_scaling" in key)
    assert all(state[key] > 0 for key in more if "num_good_steps" in key)
    monkeypatch.setattr(amp, "on", True)
    other, random = MAKE[name](), np.random.RandomState(9)
    with gan.mode():
        changed = {key: value * 2 if key in more else value for key, value in state.items()}
        other.load_state(changed)
        batch = other.random_batch(2, random)
        other.step(batch, random)
        after = other.state()
        assert all(after[key] == 2 * START for key in more if "loss_scaling" in key)
        assert all(after[key] > changed[key] for key in more if "num_good_steps" in key)


class Slope(StaticGAN):
    """The loss is a weight times x: the gradient is x."""

    trained, fix = {}, ()

    def __init__(self):
        super().__init__(CPU)
        self.program = Program()
        with paddle.utils.unique_name.guard(), program_guard(self.program, self.startup), amp.cast():
            self.x = paddle.static.data("x", [1], "float32")
            weight = paddle.create_parameter([1], "float32", "weight")
            self.loss = (weight * self.x).sum()
            compat.minimize(self.adam(0.1), self.loss, self.program, ["weight"])
        self.initialise(self.program, drawing=self.program)

    def step(self, x):
        self.run(self.program, {"x": np.full([1], x, "float32")}, [self.loss])


def test_a_step_that_overflows_is_left_out_and_the_factor_halved(in_float32):
    gan = Slope()
    gan.step(1.0)
    gan.load_state({**gan.state(), "loss_scaling_0": np.full([1], 2.0 ** 100, "float32")})
    for exponent in (99, 98, 97):
        before = gan.state()
        gan.step(2.0 ** 30)  # float32 ends at 2^128
        after = gan.state()
        assert moved(before, after) - {"num_good_steps_0"} == {"loss_scaling_0"}
        assert after["loss_scaling_0"] == 2.0 ** exponent and after["num_good_steps_0"] == 0
    gan.step(2.0 ** 30)
    assert moved(after, gan.state()) == {"num_good_steps_0", "weight", *(f"weight_{kind}_0" for kind in compat.ADAM)}


def test_a_step_of_the_faces_that_overflows_is_left_out(in_float32, capsys):
    gan, _, before = trained("faces")
    with gan.mode():
        output = gan.netD(paddle.to_tensor(gan.random_batch(2, np.random.RandomState(0))))
        gan.update(gan.optimizerD, output.sum() * 1e38)
        after = gan.state()
    statistics = {key for key in before if key.endswith(("._mean", "._variance"))}
    assert moved(before, after) - statistics == {"D.loss_scaling", "D.num_good_steps"}
    assert after["D.loss_scaling"] == START / 2
    assert capsys.readouterr().out == ""


def test_networks_of_the_faces_are_cast_in_training_only(in_float32, monkeypatch):
    gan, active, seen = MAKE["faces"](), [], {"D": [], "G": []}

    @contextmanager
    def cast():
        active.append(True)
        yield
        active.pop()

    monkeypatch.setattr(amp, "cast", cast)
    for network, layer in (("D", gan.netD), ("G", gan.netG)):
        layer.register_forward_pre_hook(lambda *_, network=network: seen[network].append(bool(active)))
    with gan.mode():
        gan.step(gan.random_batch(2, np.random.RandomState(0)), np.random.RandomState(0))
        assert seen == {"D": [True] * 3, "G": [True] * 2}
        gan.sample(gan.noise(1, np.random.RandomState(0)))
    assert seen["G"][-1] is False


PROGRAMS = {"book": (("d_program", "dg_program"), ("g_program", "g_program_test")),
            "note6": (("train_d_fake", "train_d_real", "train_g"), ("infer_program",)),
            "cgan": (("train_d", "train_g"), ())}


def multiplied(program):
    """The operators of a program that multiply, and those that must not be cast: (kind, data types of the inputs)."""
    for op in program.global_block().ops:
        kind = op.name().split(".")[-1].replace("matmul", "matmul_v2") if compat.pir() else op.type
        if kind in {*MULTIPLY, "sigmoid", "sigmoid_cross_entropy_with_logits"}:
            block = program.global_block()
            inputs = op.operands_source()[:2] if compat.pir() else [block.var(name) for name in op.input_arg_names]
            yield kind, {str(value.dtype).split(".")[-1].lower() for value in inputs}


@pytest.mark.parametrize("name", PROGRAMS)
def test_only_programs_that_train_are_cast(narrow, monkeypatch, name):
    auto_cast = paddle.amp.auto_cast
    paddle.enable_static()
    if compat.pir():
        half = "bfloat16"  # of what the networks need, a CPU has only the product, and only in bfloat16
        monkeypatch.setattr(paddle.amp, "auto_cast", lambda **options: auto_cast(**options, dtype=half))
        monkeypatch.setattr(amp, "WHITE", set())
        monkeypatch.setattr(amp, "BLACK", {"conv2d", "conv2d_transpose", *amp.BLACK})
    else:
        half = "float16"  # a build without CUDA says that no operator has it on a GPU
        monkeypatch.setattr(paddle.static.amp.fp16_lists, "_get_unsupported_list", lambda dtype: (set(), set()))
    gan = MAKE[name]()
    for program in (getattr(gan, program) for program in PROGRAMS[name][0]):
        found = list(multiplied(program))
        assert {"matmul_v2", "sigmoid_cross_entropy_with_logits"} <= {kind for kind, _ in found}
        for kind, types in found:
            assert types == {half if kind in MULTIPLY - amp.BLACK else "float32"}, kind
    drawing = [*(getattr(gan, program) for program in PROGRAMS[name][1]),
               *(program for program, *_ in getattr(gan, "drawing", {}).values())]
    for program in drawing:
        types = [types for _, types in multiplied(program)]
        assert types and all(each == {"float32"} for each in types)


def test_transposed_convolutions_are_cast_and_sigmoids_are_not(monkeypatch):
    seen = []
    monkeypatch.setattr(paddle.amp, "auto_cast", lambda **lists: seen.append(lists))
    amp.cast()
    assert seen == [{"custom_white_list": {"conv2d_transpose"}, "custom_black_list": {"sigmoid"}}]


def test_batch_norm_over_all_processes_counts_beyond_float16(monkeypatch):
    """Two processes with the same pictures have the statistics of one."""
    from common.parallel import processes

    monkeypatch.setattr(processes, "gathered", lambda tensor: paddle.stack([tensor, tensor]))
    monkeypatch.setattr(processes, "summed", lambda tensor: tensor * 2)
    paddle.seed(0)
    x = paddle.rand([40, 1, 41, 41]).astype("float16")  # 67,240 values, and float16 ends at 65,504
    layer, plain = SyncBatchNorm2D(1), paddle.nn.BatchNorm2D(1)
    found, expected = layer.activated(x, 1.0), plain(x.astype("float32"))
    assert found.dtype == paddle.float32
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-4)


def test_a_card_that_is_too_old_is_refused(monkeypatch):
    monkeypatch.setattr(paddle.device.cuda, "get_device_name", lambda *_: "Stand-in")
    monkeypatch.setattr(paddle.device, "get_device", lambda: "gpu:0")
    for capability, fits in (((7, 0), True), ((6, 1), False)):
        monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda *_, found=capability: found)
        if fits:
            amp.use()
        else:
            with pytest.raises(UserError, match=r"--amp: Stand-in \(compute capability 6.1\) is too old for float16"):
                amp.use()
