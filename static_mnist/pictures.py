"""The data of the static-graph tutorials: the options that choose them, and finding a run's data again."""

from unicodedata import normalize

import numpy as np

from common.data import datasets, folders
from common.errors import UserError
from common.files import absolute, exists, expanded
from common.recipe import Recipe, gone, other_pictures, same_pictures
from common.training.options import at_most


class StaticRecipe(Recipe):
    """A tutorial on MNIST or another data set of its kind.

    Attributes:
        shape: of the pictures that the networks are made for; None: any shape.
    """

    embedded = "digits"
    shape = (28, 28)

    @property
    def description(self):
        return super().description + (
            " Without MNIST at hand and without a network it trains on scikit-learn's embedded digits.")

    def batches(self, pictures, options):
        """The tutorial's reader: `common.data.batches.Batches` of `common.data.datasets.Pictures`; see
        `common.recipe.Recipe.open_data`.
        """
        raise NotImplementedError

    def add_options(self, parser):
        add = parser.add_argument
        add("--dataset", default="auto", type=known_or_folder, metavar="|".join((*datasets.CHOICES, "FOLDER")),
            help="auto: MNIST if it can be had, else the embedded digits; FOLDER: pictures of your own, "
                 + ("made grey and brought to 28×28" if self.shape else "a sub-folder for each class")
                 + ", or idx, npz, CSV or mat files")
        add("--resize", type=at_most(folders.LARGEST, f"more than {folders.LARGEST} pixels"), nargs="?", const=28,
            metavar="N",
            help="bring the pictures of a FOLDER to N×N pixels by nearest neighbour; 28 when N is left out")
        add("--data_dir", type=absolute, metavar="PATH",
            help="folder of the set's idx files, packed or not, npz, CSV or mat; or one npz, CSV or mat file, or one "
                 "EMNIST part's idx file of images (default: Paddle's cache); with --resume also where a FOLDER has "
                 "moved to")
        add("--no_download", action="store_true", help="never ask the network for data")

    def fault(self, options):
        dataset = options["dataset"]
        if options["data_dir"] and not options["resume"]:
            if dataset not in datasets.CHOICES:
                return (f"--data_dir goes with --dataset {', '.join(datasets.CHOICES)}; "
                        f"{dataset} is a folder of its own")
            if dataset == self.embedded:
                return f"--dataset {dataset}, which is embedded, and --data_dir exclude each other"
        if options.get("resize") and dataset in datasets.CHOICES:
            return f"--resize is for a folder of pictures, not for {dataset}"
        return super().fault(options)

    def open_data(self, options):
        dataset = options["dataset"]
        pictures = self._pictures(dataset, options["data_dir"], options, of_a_run=options.get("resume"))
        if self.shape and pictures.images.shape[1:] != self.shape:
            size = "×".join(map(str, pictures.images.shape[1:]))
            way_out = "name another folder with --data_dir" if dataset in datasets.CHOICES else (
                "--resize 28, or no --resize, brings them to that")
            raise UserError(f"the pictures in {pictures.source} are {size}, the networks are made for 28×28; {way_out}")
        own = self.data[0] if len(self.data) == 1 else "the tutorial's"
        note = "" if pictures.name in self.data else f"data: {pictures.name}, not {own}"
        return self.batches(pictures, options), {
            "name": pictures.name, "source": pictures.source, "pictures": len(pictures.images),
            "checksum": pictures.checksum, "fallback": pictures.fallback, "note": note, **self.describe(pictures)}

    def _pictures(self, dataset, data_dir, options, split="train", of_a_run=True):
        """`common.data.datasets.Pictures`, brought to ``shape`` if that is set; ``of_a_run``: a run has used them."""
        if dataset in datasets.CHOICES:
            return datasets.load(dataset, data_dir, split, download=not options["no_download"],
                                 write=not options.get("dry_run"))
        if split == "test":
            raise datasets.NotThere(f"{dataset} has no test part")
        size = options.get("resize")
        fit = self.shape[0] if self.shape and not size else None
        place = expanded(data_dir or options["data_dir"] or dataset)
        if of_a_run and not exists(place):
            raise gone(place)
        return folders.load(place, (size, size) if size else None, fit)

    def describe(self, pictures):
        """Further facts about the pictures for ``config.json``."""
        return {}

    # For the tools

    def data_kind(self, config):
        wanted = config["options"]["dataset"]
        if config["dataset"]["fallback"]:
            return "digits"
        return {"auto": "mnist"}.get(wanted, wanted if wanted in datasets.CHOICES else "folder")

    def real(self, config, split, data_dir=None):
        options, dataset = config["options"], config["dataset"]
        kind = self.data_kind(config)
        if kind == "folder":
            pictures = self._pictures(options["dataset"], data_dir, options, split=split)
        else:
            place = data_dir or (None if kind == "digits" else dataset["source"])
            if options["data_dir"] and place and not exists(expanded(place)):  # a download would fill the old place
                raise gone(place)
            pictures = self._pictures(kind, place, options, split=split)
        same = same_pictures(dataset["checksum"], pictures.checksum)
        if split == "train" and not same:
            raise other_pictures(pictures.source)
        if split == "test" and same:  # for EMNIST, `load` may return another part
            raise datasets.NotThere(f"{pictures.name} in {pictures.source} is what the run was trained on, "
                                    "no test part")
        labels = pictures.labels
        if labels is not None and (classes := dataset.get("classes")):
            # As in `classes.number`: a folder that was copied may have its accents as characters of their own
            numbers = {normalize("NFC", name): number for number, name in enumerate(classes)}
            labels = np.array([numbers.get(normalize("NFC", name), -1) for name in pictures.classes])[labels]
        return pictures.images, labels


def known_or_folder(text):
    """argparse type: a known data set, or a folder, as an absolute path, so that a run can be resumed from anywhere."""
    return text if text in datasets.CHOICES else str(absolute(text))
