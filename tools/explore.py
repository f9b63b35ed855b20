"""Play with a trained generator in the browser: a page of this computer alone, without a request to any other.

    python tools/explore.py --pretrained cgan
    python tools/explore.py --run output_dcgan
"""

import contextlib
import html
import os
import socket
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.errors import UserError, run_command
from common.training.options import Parser, at_most
from common.training.sampling import add_source, source

HOST = "127.0.0.1"  # never another: the page is for the person at this computer
port = at_most(65535, "not a whole number from 1 to 65535")  # argparse type
ONE, MANY, WALK = "one 一张", "many 多张", "a walk 漫步"
EVERY = "every class 所有类别"
# Gradio counts its users and asks for newer versions, unless told not to. A proxy must not be asked for this computer.
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
         "NO_PROXY": HOST, "no_proxy": HOST}
INSTALL = "pip install -r requirements-optional.txt"


def options(argv=None):
    """The command's options."""
    parser = Parser(prog="explore.py", description=__doc__.partition("\n")[0])
    add_source(parser)
    parser.add_argument("--port", type=port, default=7860, metavar="N", help=f"of the page at http://{HOST}:N")
    args = parser.parse_args(argv)
    if bool(args.run) == bool(args.pretrained):
        parser.error("say --run DIR or --pretrained NAME" + (", not both" if args.run else ""))
    if args.checkpoint and not args.run:
        parser.error("--checkpoint is for --run")
    return args


class Pictures:
    """The pictures of the page.

    Every picture is drawn with moving averages in batch norm and without dropout, whatever the tutorial does. So it
    depends on its own noise and class alone, and a small change of the noise is a small change of the picture.

    Args:
        gan: `common.gan.GAN` of a trained generator, with all oddities of drawing mended.
    """

    def __init__(self, gan):
        self.gan = gan

    def noise(self, seed, count, scale, label):
        """Noise [count, …] for `draw`.

        Args:
            seed: of the random numbers.
            count: how many rows.
            scale: factor of the noise; below 1 the pictures are more alike and often cleaner ("truncation").
            label: the name of a class; `EVERY`: all in turn. None for a GAN without classes.
        """
        import numpy as np

        random, classes = np.random.RandomState(int(seed or 0)), self.gan.classes
        if not classes:
            return (self.gan.noise(count, random) * scale).astype("float32")
        numbers = np.arange(count) % len(classes) if label == EVERY else np.full(count, list(classes).index(label))
        noise = self.gan.joined(np.eye(len(classes))[numbers], random)
        noise[:, :-len(classes)] *= scale  # the labels behind the noise stay
        return noise

    def draw(self, what, label, scale, seed, count=1, other=0, position=0.0):
        """The picture of the page, ``PIL.Image``.

        Args:
            what: `ONE`, `MANY`, or `WALK` for a point of the straight line between the noise of two seeds, above ten
                points of the whole line.
            label, scale, seed: see `noise`.
            count: of `MANY`.
            other: the seed at the end of the walk.
            position: on the walk, 0 … 1.
        """
        import numpy as np

        from common import show
        from common.gan import interpolation

        if what == MANY:
            columns = len(self.gan.classes) if label == EVERY else None
            return show(self.gan.sample(self.noise(seed, int(count), scale, label)), columns=columns)
        label = label if label != EVERY else self.gan.classes[0]
        first = self.noise(seed, 1, scale, label)
        if what == ONE:
            return enlarged(self.gan.sample(first)[0])
        last = self.noise(other, 1, scale, label)
        line = interpolation(np.concatenate([first, last]))
        point = (1 - position) * first + position * last
        pictures = self.gan.sample(np.concatenate([point.astype("float32"), line]))
        return above(enlarged(pictures[0]), show(pictures[1:], columns=len(line)))


def enlarged(picture):
    """One picture [H, W] or [H, W, 3] in [-1, 1], enlarged by a whole factor, as ``PIL.Image``."""
    from PIL import Image

    from common import plotting

    factor = max(1, plotting.WIDTH // max(picture.shape[:2]))
    return Image.fromarray(plotting.to_uint8(picture).repeat(factor, axis=0).repeat(factor, axis=1))


def above(first, second):
    """One picture above another one, both centred."""
    from PIL import Image

    size = max(first.width, second.width), first.height + second.height + 8
    joined = Image.new(first.mode, size, "white")
    joined.paste(first, ((joined.width - first.width) // 2, 0))
    joined.paste(second, ((joined.width - second.width) // 2, first.height + 8))
    return joined


def page(gr, pictures, name):
    """The page, ``gradio.Blocks``.

    Args:
        gr: the module gradio.
        pictures: `Pictures`.
        name: of the generator, for the heading.
    """
    classes = list(pictures.gan.classes or ())
    with gr.Blocks(title=name, analytics_enabled=False, delete_cache=(60, 600)) as blocks:
        gr.HTML(f"<h2>{html.escape(name)}</h2>")
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                what = gr.Radio([ONE, MANY, WALK], value=ONE, label="what 画什么")
                label = gr.Dropdown([*classes, EVERY], value=classes[0] if classes else None, label="class 类别",
                                    visible=bool(classes))
                seed = gr.Number(1, precision=0, minimum=0, maximum=2 ** 32 - 1, label="seed 随机种子")
                another = gr.Button("another seed 换一个种子", variant="primary", elem_id="another")
                scale = gr.Slider(0, 2, value=1, step=0.05, label="scale of the noise (truncation) 噪声的幅度（截断）")
                count = gr.Slider(1, 100, value=25, step=1, label="how many 张数", visible=False)
                other = gr.Number(2, precision=0, minimum=0, maximum=2 ** 32 - 1, label="seed at the end 终点的种子",
                                  visible=False)
                position = gr.Slider(0, 1, value=0.5, step=0.01, label="position 位置", visible=False)
            with gr.Column(scale=2):
                image = gr.Image(format="png", label="PNG", interactive=False, buttons=["download", "fullscreen"],
                                 elem_id="picture")
        inputs = [what, label, scale, seed, count, other, position]
        gr.on([blocks.load, *(field.change for field in inputs)], pictures.draw, inputs, image, show_progress="hidden",
              trigger_mode="always_last", api_name="draw")
        # In the browser, without a request: the next number, and the fields that a choice needs
        another.click(None, seed, seed, js="seed => (seed + 1) % 4294967296")
        what.change(lambda chosen: [gr.update(visible=chosen == MANY), *[gr.update(visible=chosen == WALK)] * 2],
                    what, [count, other, position], show_progress="hidden")
    return blocks


def gradio():
    """The module gradio, told to keep quiet.

    Raises:
        UserError: it is not installed, or is too old.
    """
    os.environ.update(QUIET)
    try:
        import gradio
    except ImportError:
        raise UserError(f"the page is made with gradio, which is not installed; {INSTALL}") from None
    if int(gradio.__version__.partition(".")[0]) < 6:
        raise UserError(f"the page wants gradio 6 or newer, this is {gradio.__version__}; {INSTALL}")
    return gradio


def main(argv=None):
    """Run the command; raises `UserError`."""
    args = options(argv)
    try:  # before all that takes seconds
        socket.create_server((HOST, args.port)).close()
    except OSError as error:
        raise UserError(f"--port {args.port}: {error}; choose another one") from error
    gr = gradio()

    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from common import load

    name = args.pretrained or args.run.resolve().name
    gan = load(source(args), args.checkpoint, fix=None)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # each picture passes through a file
        os.environ["GRADIO_TEMP_DIR"] = folder
        blocks = page(gr, Pictures(gan), name)
        blocks.launch(server_name=HOST, server_port=args.port, share=False, quiet=True, prevent_thread_lock=True,
                      footer_links=[], ssr_mode=False, inbrowser=False, max_file_size="1kb",  # nobody uploads anything
                      app_kwargs={"middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])]})
        print(f"http://{HOST}:{args.port} shows {name}; Ctrl-C ends it", flush=True)
        with contextlib.closing(blocks):
            threading.Event().wait()


if __name__ == "__main__":
    sys.exit(run_command(main))
