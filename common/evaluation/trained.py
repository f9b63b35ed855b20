"""A trained run of any recipe: the pictures that it generates, its training data, and features for both.

    run = Trained("output_cgan")
    pictures, labels = run.sample(1000, seed=1)       # of the newest checkpoint; or of run.checkpoints[0]
    real, labels = run.real("test", 1000)
    run.features.features(pictures)                   # [1000, d]
"""

import functools
from pathlib import Path

import numpy as np

from common import recipe as recipes
from common.backend import runtime
from common.data.batches import scale
from common.errors import UserError
from common.gan import with_channels
from common.generator import make, read_run
from common.training.records import Records

CLASSIFIERS = {"mnist": "mnist", "fashion": "fashion", "emnist": "emnist", "digits": "mnist"}


class Trained:
    """The run in a folder.

    Paddle stays in the mode that it is in. All pictures are float32 [n, H, W, C] in [-1, 1].

    Args:
        run: the folder.
        data_dir: where its data set lies now, if it was moved; else None.
        fix: oddities of drawing to mend, besides the fixes that the run was trained with.

    Attributes:
        path, recipe, config: the folder, its `common.recipe.Recipe`, and all of ``config.json``.
        records: `common.training.records.Records`.
        checkpoints: their paths, oldest first.
        classes: the names of a conditional GAN's classes, else None.
        data: ``mnist``, ``fashion``, ``emnist``, ``digits``, ``celeba``, or ``folder`` for a user's own pictures.

    Raises:
        UserError: there is no run, or no checkpoint in it; its recipe is unknown; or it has no oddity called ``fix``.
    """

    def __init__(self, run, data_dir=None, fix=()):
        self.path, self.data_dir = Path(run), data_dir
        self.records = Records(run)
        self.config = self.records.read_config()
        self.records.latest()
        self.checkpoints = self.records.saved()
        runtime.prepare()  # only now: the import of Paddle is slow, and a missing run is noticed before
        self.recipe = recipes.load(self.config["recipe"])
        self.fix = self.recipe.drawing(fix, measured=True)
        self.classes = self.config["dataset"].get("classes")
        self.data = self.recipe.data_kind(self.config)

    def chosen(self, path=None):
        """One of ``checkpoints``, by path or by name, or ``best``; None: the newest.

        Raises:
            UserError: there is no such checkpoint.
        """
        if path is None or str(path) == "best":
            return self.records.chosen(path)
        for known in self.checkpoints:
            if Path(path).resolve() == known.resolve() or str(path) == known.name:
                return known
        raise UserError(f"{path} is none of the checkpoints of {self.path}; name one of "
                        + ", ".join(known.name for known in self.checkpoints))

    # Generated pictures

    def sample(self, count, seed=1, checkpoint=None):
        """Pictures of the trained generator, the same as ``generate.py`` draws.

        Args:
            count: how many.
            seed: of the noise.
            checkpoint: path of one of the run's checkpoints; None: the newest.

        Returns:
            (pictures, labels), of a conditional GAN spread evenly over its classes; else labels are None.

        Raises:
            UserError: the checkpoint is damaged, or belongs to another recipe.
        """
        config, arrays = read_run(self.path, checkpoint)
        if config["recipe"] != self.recipe.name:
            raise UserError(f"{checkpoint} is a checkpoint of the recipe {config['recipe']}, the run in {self.path} "
                            f"one of {self.recipe.name}; name one of its own")
        return self.drawn(config, arrays, count, seed)

    def untrained(self, count, seed=1):
        """`sample` of the generator as it was before its first step."""
        return self.drawn(self.config, None, count, seed)

    def drawn(self, config, arrays, count, seed=1):
        """`sample` of a generator with this config and these arrays, see `common.generator.make`."""
        pictures, labels = make(config, arrays, self.fix).new_pictures(count, np.random.RandomState(seed))
        return with_channels(pictures), labels

    # Training data

    def real(self, split="train", count=None):
        """Pictures of the run's own data set.

        Args:
            split: ``train``, the pictures that the run was trained on; or ``test``.
            count: at most this many, drawn with a fixed seed; a larger count begins with the pictures of a smaller
                one. None: all, in their own order.

        Returns:
            (pictures, labels); labels are a conditional GAN's own numbers of its classes, None if the data have none.

        Raises:
            UserError: the data are gone, or are not the run's data.
            common.data.datasets.NotThere: there is no such split.
        """
        images, labels = self.recipe.real(self.config, split, self.data_dir)
        if count is not None:
            chosen = np.random.RandomState(0).permutation(len(images))[:count]
            images, labels = images[chosen], None if labels is None else labels[chosen]
        pictures = scale(np.asarray(images[:]))
        return with_channels(pictures), labels

    # Features for a comparison

    @functools.cached_property
    def features(self):
        """The object that turns pictures into numbers. It has a ``name``, and ``features(pictures)`` gives [n, d].

        It is the project's own classifier if there is one for the data (MNIST's for the embedded digits). For faces and
        a user's own pictures it is `HogColour`, gradients and colours.
        """
        shape = self.config["dataset"].get("shape", [28, 28, 1])
        if self.data in CLASSIFIERS and shape == [28, 28, 1]:
            from common.evaluation.classifier import Classifier

            return Classifier.load(CLASSIFIERS[self.data])
        from common.evaluation.features import HogColour

        return HogColour()
