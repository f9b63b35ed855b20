"""A trained run, whatever its recipe: its pictures, the data that it learnt from, and the features that suit them.

    run = Trained("output_cgan")
    pictures, labels = run.sample(1000, seed=1)       # of the newest checkpoint; or of run.checkpoints[0]
    real, labels = run.real("test", 1000)
    run.features.features(pictures)                   # [1000, d]
"""

import functools
from pathlib import Path

import numpy as np

from common.backend import runtime
from common.errors import UserError
from common.training import checkpoint
from common.training.run_folder import latest_checkpoint, read_config

FACES = "dcgan_face"  # the recipe of `dygraph_celeba`
CLASSIFIERS = {"mnist": "mnist", "fashion": "fashion", "emnist": "emnist", "digits": "mnist"}


class Trained:
    """The run in a folder.

    Paddle is in dynamic mode after each call that needed it. All pictures are float32 [n, H, W, C] in [-1, 1].

    Args:
        run: the folder.
        data_dir: where its data set lies now, if no longer where it was.
        fix: oddities of cgan's drawing to mend beside those that it was trained with.

    Attributes:
        path, recipe, config: the folder, the recipe's name, and all of ``config.json``.
        checkpoints: their paths, oldest first.
        classes: the names of a conditional GAN's classes, else None.
        data: ``mnist``, ``fashion``, ``emnist``, ``digits``, ``celeba``, or ``folder`` for one's own pictures.

    Raises:
        UserError: there is no run, no checkpoint in it, its recipe is none of this project, or ``fix`` is not for it.
    """

    def __init__(self, run, data_dir=None, fix=()):
        from static_mnist.train import RECIPES

        self.path, self.data_dir, self.fix = Path(run), data_dir, fix
        self.config = read_config(run)
        self.recipe = self.config["recipe"]
        if self.recipe not in (*RECIPES, FACES):
            raise UserError(f"{run} is a run of the recipe {self.recipe!r}, which is none of "
                            f"{', '.join((*RECIPES, FACES))}; name another run")
        if fix and self.recipe != "cgan":
            raise UserError(f"--fix is for runs of cgan; {run} is one of {self.recipe}")
        latest_checkpoint(run)
        self.checkpoints = checkpoint.listing(self.path / "checkpoints")
        self.classes = self.config["dataset"].get("classes")
        self.data = "celeba" if self.recipe == FACES else self._pictures_name()

    def _pictures_name(self):
        from common.data.datasets import CHOICES

        wanted = self.config["options"]["dataset"]
        if self.config["dataset"]["fallback"]:
            return "digits"
        return {"auto": "mnist"}.get(wanted, wanted if wanted in CHOICES else "folder")

    def chosen(self, path):
        """One of ``checkpoints``, by path or by name.

        Raises:
            UserError: it is none of them.
        """
        for known in self.checkpoints:
            if Path(path).resolve() == known.resolve() or str(path) == known.name:
                return known
        raise UserError(f"{path} is none of the checkpoints of {self.path}; name one of "
                        + ", ".join(known.name for known in self.checkpoints))

    # What it generates

    def sample(self, count, seed=1, checkpoint=None, labels=None):
        """Pictures of the trained generator, the same as ``generate.py`` draws.

        Args:
            count: how many.
            seed: of the noise.
            checkpoint: path of one of the run's; the newest when None.
            labels: of a conditional GAN, whole numbers [count]; spread evenly over its classes when None.

        Returns:
            (pictures, labels), labels None without classes.

        Raises:
            UserError: the checkpoint is damaged, or another recipe's.
        """
        from common.training import sampling

        config, arrays = sampling.read_run(self.path, checkpoint)
        if config["recipe"] != self.recipe:
            raise UserError(f"{checkpoint} is a checkpoint of the recipe {config['recipe']}, the run in {self.path} "
                            f"one of {self.recipe}; name one of its own")
        gan = self._gan(config)
        if self.recipe == FACES:
            from dygraph_celeba.gan import load_network

            load_network(gan.netG, "G", arrays)
        else:
            gan.load_state(arrays)
        return _draw(gan, count, seed, labels)

    def untrained(self, count, seed=1, labels=None):
        """`sample` of the generator as it was before its first step."""
        return _draw(self._gan(self.config), count, seed, labels)

    def _gan(self, config):
        runtime.prepare()
        place = runtime.place(False)
        if self.recipe == FACES:
            from dygraph_celeba.train import make_gan

            return make_gan(config["options"], place)
        from static_mnist.generate import mended
        from static_mnist.train import make_gan

        return make_gan(mended(config, self.fix), place)

    # What it learnt from

    def real(self, split="train", count=None):
        """Pictures of the run's own data set.

        Args:
            split: ``train``, what the run was trained on; or ``test``.
            count: so many at the most, at random, always the same; the first half of 2·n are those of n. All, in
                their own order, when None.

        Returns:
            (pictures, labels), labels None where the data have none; a conditional GAN's own numbers of its classes.

        Raises:
            UserError: the data are gone or others than the run's.
            common.data.datasets.NotThere: there is no such split.
        """
        images, labels = self._faces(split) if self.recipe == FACES else self._pictures(split)
        if count is not None:
            chosen = np.random.RandomState(0).permutation(len(images))[:count]
            images, labels = images[chosen], None if labels is None else labels[chosen]
        from common.data.batches import scale

        pictures = scale(np.asarray(images[:]))
        return pictures if pictures.ndim == 4 else pictures[..., None], labels

    def _pictures(self, split):
        """uint8 [N, H, W] or [N, H, W, 3], and labels."""
        from common.data import datasets, folders

        options = self.config["options"]
        if self.data == "folder":
            if split == "test":
                raise datasets.NotThere(f"{options['dataset']} has no test part")
            size = options.get("resize")
            folder = self.data_dir or options["data_dir"] or options["dataset"]
            pictures = folders.load(folder, (size, size) if size else None)
        else:
            folder = self.data_dir or (None if self.data == "digits" else self.config["dataset"]["source"])
            pictures = datasets.load(self.data, folder, split, download=not options["no_download"])
        same = pictures.checksum == self.config["dataset"]["checksum"]
        if split == "train":
            self._check(same, pictures.source)
        elif same:  # of EMNIST any part serves where the right one is missing
            raise datasets.NotThere(f"{pictures.name} in {pictures.source} is what the run was trained on, "
                                     "no test part")
        labels = pictures.labels
        if labels is not None and self.classes:
            numbers = {name: number for number, name in enumerate(self.classes)}
            labels = np.array([numbers.get(name, -1) for name in pictures.classes])[labels]
        return pictures.images, labels

    def _faces(self, split):
        """uint8 [N, 64, 64, 3], and None."""
        from common.data.datasets import NotThere

        if split == "test":
            raise NotThere("the faces have no test part")
        runtime.prepare()

        from common.data.packed import open_packed
        from dygraph_celeba.data import checksum, embedded_faces

        dataset = self.config["dataset"]
        embedded = dataset["name"] == "embedded faces"
        packed = open_packed(self.data_dir or (embedded_faces() if embedded else dataset["source"]))
        if self.config["options"]["reader"] == "packed":  # the other reader's checksum is of files
            self._check(checksum(packed.names, lambda number: packed[number].tobytes()) == dataset["checksum"],
                        packed.source)
        return packed, None

    def _check(self, same, source):
        if not same:
            raise UserError(f"the pictures in {source} are not those that the run in {self.path} was trained on; "
                            "name their folder with --data_dir")

    # What they are compared by

    @functools.cached_property
    def features(self):
        """What describes these pictures by numbers: it has a ``name``, and ``features(pictures)`` gives [n, d].

        The project's own classifier where there is one for the data (MNIST's for the embedded digits), gradients
        and colours for faces and one's own pictures.
        """
        shape = self.config["dataset"].get("shape", [28, 28, 1])
        if self.data in CLASSIFIERS and shape == [28, 28, 1]:
            from common.evaluation.classifier import Classifier

            return Classifier.load(CLASSIFIERS[self.data])
        from common.evaluation.features import HogColour

        return HogColour()


def _draw(gan, count, seed, labels):
    """(pictures [count, H, W, C], labels) of a GAN, in the way of its own ``generate.py``."""
    import paddle

    from common.training import sampling

    random = np.random.RandomState(seed)
    try:
        if gan.name == FACES:
            from dygraph_celeba.generate import draw

            return draw(gan, count, random), None
        if gan.classes:
            return _draw_classes(gan, count, random, labels)
        return sampling.in_batches(gan.sample, gan.noise(count, random))[..., None], None
    finally:
        paddle.disable_static()


def _draw_classes(gan, count, random, labels):
    """Pictures of classes.

    Without labels these are drawn by the full number that batch norm takes its statistics from, so that a
    few are no worse than many.
    """
    from static_mnist.cgan import MOST

    drawn = np.arange(-(-count // MOST) * MOST) % len(gan.classes) if labels is None else np.asarray(labels)
    pictures = gan.generate(gan.joined(np.eye(len(gan.classes))[drawn], random), random)
    return pictures[:count], drawn[:count]
