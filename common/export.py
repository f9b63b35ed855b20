"""Export a generator to Paddle Inference or ONNX.

What leaves the project is the generator with moving averages in batch norm and without dropout, so that a picture
depends on its own noise alone. It takes noise [n, …] and gives pictures [n, H, W, C] in [-1, 1]; n is free.
"""

import contextlib
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import paddle
from paddle.static import Executor, Program, Scope, program_guard, scope_guard
from paddle.utils import unique_name

from common.backend import compat, fast, runtime
from common.errors import UserError
from common.gan import LOCK, with_channels

MOST = 1e-5  # largest difference from the project's own pictures
COUNTS = (1, 3, 64)  # pictures in the batches that are compared


class Drawing:
    """The static program that draws, of Paddle's own operators.

    Args:
        gan: `common.gan.GAN`, with the fixes of all oddities that show only in drawing.

    Attributes:
        program, noise, images: the program, its input and its output.
        arrays: its parameters, name → float32 array.
        noise_shape, image_shape: of one picture's noise, and of one picture.
    """

    def __init__(self, gan):
        self.noise_shape = list(gan.noise(1, np.random.RandomState(0)).shape[1:])
        self.scope, self.executor = Scope(), Executor(paddle.CPUPlace())
        self.program, startup = Program(), Program()
        with (compat.static_mode(), fast.switched_off(), scope_guard(self.scope), unique_name.guard(),
              program_guard(self.program, startup)):
            self.noise = paddle.static.data("noise", [None, *self.noise_shape], "float32")
            self.images, arrays = gan.network(self.noise)
            self.image_shape = list(self.images.shape[1:])
            self.executor.run(startup)
            self.arrays = {name: arrays[name] for name in compat.parameters(self.program)}
            for name, array in self.arrays.items():
                self.scope.find_var(name).get_tensor().set(array, paddle.CPUPlace())

    def save_paddle(self, folder):
        """Write Paddle Inference files; return a function from noise to pictures that uses them."""
        with compat.static_mode(), scope_guard(self.scope):
            paddle.static.save_inference_model(str(folder / "generator"), [self.noise], [self.images], self.executor,
                                               program=self.program)
        config = paddle.inference.Config(*map(str, paddle_files(folder)))
        config.disable_glog_info()
        predictor = paddle.inference.create_predictor(config)

        def draw(noise):
            predictor.get_input_handle("noise").copy_from_cpu(noise)
            predictor.run()
            # A predictor sets the whole process to one thread, and all that follows would round differently.
            paddle.base.core.set_num_threads(runtime.threads())
            return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()

        return draw

    def save_onnx(self, folder):
        """Write an ONNX file; return a function from noise to pictures that uses it."""
        import onnx
        import onnxruntime

        from common.backend import onnx_graph

        with compat.static_mode():
            model = onnx_graph.model(self.program, self.arrays, self.noise_shape, self.image_shape)
        path = folder / "generator.onnx"
        onnx.save(model, str(path))
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda noise: session.run(["images"], {"noise": noise})[0]


def paddle_files(folder):
    """The paths of the two Paddle Inference files in a folder: program and weights."""
    program = next(folder.glob("generator.json"), folder / "generator.pdmodel")
    return program, folder / "generator.pdiparams"


def export(gan, kind, output):
    """Export a generator, and compare its pictures with the project's own.

    Args:
        gan: see `Drawing`.
        kind: "paddle" or "onnx".
        output: a folder, which must not hold anything yet.

    Returns:
        (paths of the files, largest difference of the pictures).

    Raises:
        UserError: the folder is not empty or cannot be written; a package is missing; or the pictures differ by more
            than `MOST`. Nothing is left then.
    """
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is not empty; choose another --output")
    if kind == "onnx":
        require_onnx()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as temporary:
            whole = Path(temporary) / "export"
            whole.mkdir()
            with LOCK:
                drawing = Drawing(gan)
                difference = compare(gan, getattr(drawing, f"save_{kind}")(whole))
            if not difference <= MOST:
                raise UserError(f"the exported generator's pictures differ by {difference:.1e} from the project's own, "
                                f"more than {MOST:g}; nothing is kept, please report it with your versions")
            with contextlib.suppress(FileNotFoundError):
                output.rmdir()
            shutil.move(whole, output)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}; choose another --output") from error
    return sorted(output.iterdir()), difference


def require_onnx():
    """Import the packages that ONNX needs.

    Raises:
        UserError: one is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UserError("--format onnx wants two more packages: pip install onnx onnxruntime") from error


def compare(gan, draw):
    """The largest difference between the exported generator's pictures and the project's own."""
    noises = [gan.noise(count, np.random.RandomState(count)) for count in COUNTS]
    # Not Python's max, which may pass over a NaN
    return float(np.max([np.abs(draw(noise) - with_channels(gan.sample(noise))).max() for noise in noises]))


def quoted(path):
    """A path as a Python string in double quotes."""
    return json.dumps(str(path), ensure_ascii=False)


def example(gan, kind, folder, shape):
    """A Python program that draws from an export.

    Args:
        gan: the generator.
        kind: "paddle" or "onnx".
        folder: of the export.
        shape: of a picture.
    """
    start = f"""import numpy as np
{{imports}}
random, n = np.random.RandomState(1), 64
noise = {gan.noise_code()}.astype("float32")
"""
    end = f"\n# images: float32 {['n', *shape]} in [-1, 1]".replace("'", "")
    if kind == "onnx":
        return start.format(imports="import onnxruntime\n") + (
            f'session = onnxruntime.InferenceSession({quoted(folder / "generator.onnx")})\n'
            'images = session.run(["images"], {"noise": noise})[0]') + end
    program, weights = paddle_files(folder)
    return start.format(imports="from paddle.inference import Config, create_predictor\n") + (
        f'config = Config({quoted(program)}, {quoted(weights)})\n'
        "config.disable_glog_info()\n"
        "predictor = create_predictor(config)\n"
        'predictor.get_input_handle("noise").copy_from_cpu(noise)\n'
        "predictor.run()\n"
        "images = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()") + end
