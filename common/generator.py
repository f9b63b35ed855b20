"""Trained generators for a program of your own: load one, draw, show the pictures.

    from common import load, show
    gan = load("pretrained:cgan")                     # or a run's folder, of any tutorial
    images = gan.generate(count=64, seed=1)           # float32 [64, H, W, C] in [-1, 1]
    show(images)                                      # a grid, which a notebook displays
    show(gan.interpolate(count=5), columns=10)        # each row goes from one noise to another

The methods ``generate`` and ``interpolate`` are described in `common.gan.GAN`. Threads may share a GAN. Paddle stays
in the mode, dynamic or static, that it is in, and its random numbers go on as if nothing had been loaded. Its device
is from then on the CPU, or with ``use_gpu`` the GPU.

`load` compiles nothing, because a few pictures are drawn sooner than the fast operators of `common.backend.fast` are
compiled. If a training has compiled the operators already, they are used, and the pictures differ by rounding.
"""

from contextlib import contextmanager

import numpy as np

from common import pretrained
from common import recipe as recipes
from common.backend import runtime
from common.errors import UserError
from common.files import expanded, picture_file, replacing
from common.gan import whole
from common.training import checkpoint
from common.training.records import Records


def load(source, checkpoint=None, fix=(), use_gpu=False, package=None):
    """The GAN of a trained run, or a generator that comes with the project, ready to draw.

    Args:
        source: the run's folder; or ``pretrained:NAME``, see `common.pretrained`.
        checkpoint: path of one of the run's checkpoints, or "best", as ``tools/evaluate.py`` found it; None: the
            newest. Not for a pretrained generator.
        fix: oddities of drawing to mend, besides the fixes that the run was trained with; ["all"]: all of them; None:
            all of them, also if there are none.
        use_gpu: draw on CUDAPlace(0).
        package: take only runs of this package's tutorials.

    Returns:
        `common.gan.GAN`.

    Raises:
        UserError: there is no run, checkpoint or generator of this name; the file is damaged; the run belongs to
            another package; or its tutorial has no such oddity.
    """
    name = pretrained_name(source)
    if name is not None:
        if checkpoint is not None:
            raise UserError(f"{source} has no checkpoints; leave the checkpoint out")
        config, arrays, _ = pretrained.read(pretrained.path_of(name))
    else:
        config, arrays = read_run(source, checkpoint)
    if config["recipe"] not in recipes.names(package):
        raise UserError(f"{source} is of the recipe {config['recipe']}, "
                        + recipes.other_command(config["recipe"], "generate.py"))
    return make(config, arrays, fix, use_gpu, waits=False)


def pretrained_name(source):
    """``NAME`` of ``pretrained:NAME``; None for a run's folder."""
    return str(source).removeprefix(pretrained.PREFIX) if str(source).startswith(pretrained.PREFIX) else None


def make(config, arrays, fix=(), use_gpu=False, waits=True):
    """The GAN of a run's config, with these arrays in its generator; None: untrained. See `load`.

    ``waits``: whether its first picture may wait until the fast operators are compiled; for thousands of pictures.
    """
    runtime.prepare(use_gpu)
    import paddle

    from common.backend import fast

    recipe = recipes.load(config["recipe"])
    mode = recipe.gan.mode if waits or fast.compiled() else plain(recipe.gan.mode)
    with recipes.LOCK, mode():
        place, random = runtime.place(use_gpu), paddle.get_rng_state()
        try:
            gan = recipe.make_gan(config, place, recipe.drawing(fix))
        finally:
            paddle.set_rng_state(random)
        gan.mode = mode
        if arrays is not None:
            gan.load_generator(arrays)
    return gan


def plain(mode):
    """`common.gan.GAN.mode` in which Paddle's own operators do the work."""
    from common.backend import fast

    @contextmanager
    def context():
        with mode(), fast.switched_off():
            yield

    return context


def read_run(run, path=None):
    """Read the options and the arrays of a run.

    Args:
        run: its folder.
        path: of a checkpoint; None: the newest; "best": the best.

    Returns:
        (config, arrays); the config is the one in the checkpoint, so that a damaged config.json does not matter.

    Raises:
        UserError: there is no run, or no checkpoint; or the checkpoint is damaged.
    """
    records = Records(expanded(run))
    records.require()
    arrays, record = checkpoint.load(records.chosen(path))
    return record["config"], arrays


def show(images, file=None, columns=None, labels=()):
    """A grid of pictures, row by row, as a picture. A notebook displays it if it is the last value of a cell.

    Args:
        images: [n, H, W], [n, H, W, 1] or [n, H, W, 3], floating-point numbers in [-1, 1]; or a single picture
            [H, W], [H, W, 1] or [H, W, 3].
        file: path of a PNG to write, too; a file of this name is replaced. Other suffixes are
            allowed, see `common.files.WRITTEN`.
        columns: of the grid; None: see `common.plotting.layout`.
        labels: text above the columns, one each.

    Returns:
        ``PIL.Image.Image``, enlarged by a whole factor if the grid is small.

    Raises:
        UserError: there are no pictures of such a shape or in this range, not as many labels as columns, or the file
            cannot be written.
    """
    from common import plotting

    images, labels = showable(images), [*labels]
    if columns is not None:
        columns = whole("columns", columns)
    shape = (-(-len(images) // columns), columns) if columns else plotting.layout(len(images))
    if labels and len(labels) != shape[1]:
        raise UserError(f"{len(labels)} labels do not fit the grid's {shape[1]} columns; give one for each column")
    if file is not None:
        file = picture_file(expanded(file))
    image = plotting.grid_image(images, shape, [*map(str, labels)])
    if file is not None:
        with replacing(file) as temporary:
            image.save(temporary)
    return image


def showable(images):
    """Check pictures that a program has given to `show`.

    Returns:
        An array [n, H, W], [n, H, W, 1] or [n, H, W, 3].

    Raises:
        UserError: they have another shape, or values that are no numbers in [-1, 1].
    """
    try:
        images = np.asarray(images)
    except ValueError:  # a list of pictures of several sizes
        raise UserError("the pictures have several sizes; show those of one size at a time") from None
    if images.ndim == 2 or images.ndim == 3 and images.shape[2] in (1, 3):  # a single picture
        images = images[None]
    if images.ndim not in (3, 4) or not images.size or images.shape[3:] not in ((), (1,), (3,)):
        raise UserError(f"an array of shape {images.shape} holds no pictures to show; "
                        "[n, H, W], [n, H, W, 1] or [n, H, W, 3] is expected")
    if images.dtype.kind != "f":
        raise UserError(f"the pictures have values of type {images.dtype}, floating-point numbers in [-1, 1] are "
                        "expected; of 0 to 255 images / 127.5 - 1 makes them")
    if not np.abs(images).max() <= 1 + 1e-3:  # true for NaN as well
        raise UserError(f"the pictures have values from {images.min():g} to {images.max():g}, -1 to 1 are expected; "
                        "np.clip(images, -1, 1) cuts off what lies outside")
    return images
