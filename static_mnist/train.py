"""Train one of the static-graph tutorials: ``python static_mnist/train.py --recipe cgan --dataset fashion``."""

import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.backend import runtime
from common.data import datasets
from common.errors import UserError, run_command
from common.files import expanded
from common.training import command


class Recipe(NamedTuple):
    """A tutorial's own defaults."""

    description: str
    epoch: int | None  # None: see `default_epoch`
    batch_size: int
    output: str
    fixes: dict
    data: tuple = ("MNIST",)  # the tutorial's own


RECIPES = {
    "book": Recipe(
        "Train the MNIST DCGAN of the PaddlePaddle book, chapter 09.gan.",
        epoch=20, batch_size=128, output="./output_dcgan",
        fixes={
            "double_sigmoid": "D ends in logits, not in a sigmoid before the loss's own",
            "max_pool": "D has strided convolutions in place of pooling, as the prose says",
            "adam_epsilon": "Adam's epsilon is corrected for the bias, as in Paddle today",
        }),
    "note6": Recipe(
        "Train the MNIST GAN of LearnPaddle2, note 6: 5 epochs, with --follow repository 20.",
        epoch=None, batch_size=128, output="./output_note6",
        fixes={
            "bn_activation": "ReLU after G's two batch norms, as the book has it",
            "double_sigmoid": "D ends in logits, not in a sigmoid before the loss's own",
            "shared_moments": "one set of Adam's moments for D on fakes and D on reals",
            "adam_epsilon": "Adam's epsilon is corrected for the bias, as in Paddle today",
            "colour_map": "the single pictures in grey, not in matplotlib's default colours",
            "own_range": "the single pictures in [-1, 1], not each stretched to its own range",
        }),
    "cgan": Recipe(
        "Train the conditional GAN of Packt's TensorFlow Deep Learning Projects, chapter 4: 16 epochs, "
        "64 of fashion, 32 of emnist.",
        epoch=None, batch_size=32, output="./output_cgan",
        fixes={
            "sampling_dropout": "no dropout when pictures are drawn",
            "generation_statistics": "generate.py draws with moving averages in batch norm, as previews do",
            "one_shuffle": "a new order in each epoch",
            "minus_one_layout": "class -1 is all, a class a column",
            "batch_norm_updates": "a step moves the moving averages of the network that it trains only",
            "adam_epsilon": "Adam's epsilon is corrected for the bias, as in Paddle today",
        },
        data=("MNIST", "Fashion-MNIST", "EMNIST balanced-train")),
}


def options(argv=None):
    """The command's options."""
    argv = sys.argv[1:] if argv is None else argv
    name = chosen_recipe(argv)
    recipe = RECIPES[name]
    parser = command.Parser(prog="train.py", description=(
        f"{recipe.description} "
        "Without MNIST at hand and without a network it trains on scikit-learn's embedded digits."))
    add = parser.add_argument
    add("--recipe", choices=RECIPES, default=name,
        help="the tutorial; --recipe NAME --help lists the options of each")
    command.add_training_options(parser, recipe.epoch, recipe.batch_size, recipe.output, recipe.fixes)
    if name == "book":
        add("--enable_ce", action="store_true",
            help="the book's continuous evaluation: one epoch, numpy seed 10, startup seed 90, "
                 "unshuffled, prints two kpis lines")
        add("--use_cudnn", action="store_true", help="use cuDNN for convolutions; needs --use_gpu")
        add("--dataset", choices=["auto", "mnist", "digits"], default="auto",
            help="auto: MNIST if it can be had, else the embedded digits; mnist: nothing else")
    else:
        add("--dataset", default="auto", type=known_or_folder, metavar="auto|mnist|fashion|emnist|digits|FOLDER",
            help="auto: MNIST if it can be had, else the embedded digits; "
                 "FOLDER: a sub-folder of pictures for each class")
        add("--resize", type=command.positive, nargs="?", const=28, metavar="N",
            help="bring the pictures of a FOLDER to N×N pixels by nearest neighbour; 28 when N is left out")
    if name == "note6":
        add("--follow", choices=["note", "repository"], default="note",
            help="repository: its script's uniform noise, the same at every step, 20 epochs, grey pictures")
    add("--data_dir", type=lambda text: expanded(text).absolute(), metavar="PATH",
        help="folder of the idx files, packed or not, or one EMNIST part's file of images (default: Paddle's cache); "
             "with --resume also where a FOLDER has moved to")
    add("--no_download", action="store_true", help="never ask the network for data")

    args = command.parse(parser, argv, recipe.fixes)
    return checked(parser, args, command.given(parser, argv))


def known_or_folder(text):
    """argparse type: a known data set, or the whole path of a folder, so that a run can be resumed from anywhere."""
    return text if text in datasets.CHOICES else str(expanded(text).absolute())


def chosen_recipe(argv):
    """The recipe that was typed, else that of the run to resume, else the book's."""
    parser = command.Parser(prog="train.py", add_help=False)
    parser.add_argument("--recipe", choices=RECIPES)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_known_args(argv)[0]
    if args.recipe is None and args.resume and args.output and (args.output / "config.json").is_file():
        from common.training.run_folder import read_config

        args.recipe = read_config(args.output)["recipe"]
    return args.recipe if args.recipe in RECIPES else "book"


def checked(parser, args, typed):
    """The options with the defaults that depend on each other; one line where two exclude each other."""
    enable_ce = getattr(args, "enable_ce", False)
    if enable_ce and not args.resume and "epoch" not in typed:
        args.epoch = 1
    if args.epoch is None:
        args.epoch = default_epoch(args)
    if not hasattr(args, "seed"):
        args.seed = 10 if enable_ce else 0
    if getattr(args, "use_cudnn", False) and not args.use_gpu:
        parser.error("--use_cudnn needs --use_gpu")
    if args.data_dir and not args.resume and args.dataset not in datasets.CHOICES:
        parser.error(f"--data_dir is for the known data sets, {args.dataset} is a folder of its own")
    if getattr(args, "resize", None) and args.dataset in datasets.CHOICES:
        parser.error(f"--resize is for a folder of pictures, not for {args.dataset}")
    return args


def default_epoch(args):
    """The tutorials' own numbers of epochs, where there are several."""
    if args.recipe == "note6":
        return 20 if args.follow == "repository" else 5
    return {"fashion": 64, "emnist": 32}.get(args.dataset, 16)


def main(argv=None):
    """Run the command; returns nothing or raises `UserError`."""
    args = options(argv)
    runtime.prepare(args.use_gpu)

    from common.data import folders
    from common.data.batches import Batches

    if args.dataset in datasets.CHOICES:
        pictures = datasets.load(args.dataset, args.data_dir, download=not args.no_download)
    else:
        pictures = folders.load(args.data_dir or args.dataset, (args.resize, args.resize) if args.resize else None)
    if args.recipe != "cgan" and pictures.images.shape[1:] != (28, 28):
        size = "×".join(map(str, pictures.images.shape[1:]))
        way_out = "name another folder with --data_dir" if args.dataset in datasets.CHOICES else (
            "--resize brings grey ones to 28×28, --recipe cgan takes colours")
        raise UserError(f"the pictures in {pictures.source} are {size}, the networks are made for 28×28; {way_out}")
    if len(pictures.images) < args.batch_size:
        raise UserError(f"--batch_size {args.batch_size} is more than the {len(pictures.images)} pictures "
                        f"of {pictures.name}; choose a smaller one")
    own = RECIPES[args.recipe].data
    description = {"name": pictures.name, "source": pictures.source, "pictures": len(pictures.images),
                   "checksum": pictures.checksum, "fallback": pictures.fallback,
                   "note": "" if pictures.name in own else f"data: {pictures.name}, not {' or '.join(own)}"}

    start = None
    if args.recipe == "book":
        data = Batches(pictures.images, args.batch_size, shuffle=0 if args.enable_ce else 60000, seed=args.seed)
    elif args.recipe == "note6":
        data = Batches(pictures.images, args.batch_size, shuffle=30000, drop_last=False, seed=args.seed)
    else:
        from static_mnist import cgan

        labels, classes = cgan.present(pictures)
        description |= {"shape": [*pictures.images.shape[1:3], *(pictures.images.shape[3:] or [1])], "classes": classes}
        data = Batches(pictures.images, args.batch_size, shuffle=len(labels), drop_last=False, seed=args.seed,
                       labels=labels, reshuffle="one_shuffle" in args.fix)

        def start(folder):
            cgan.show_original_images(folder / "real_samples.png", pictures.images, labels)

    from common.report.page import write_report

    config = {"recipe": args.recipe, "options": vars(args), "dataset": description}
    loop = command.train(args, data, description, lambda place: make_gan(config, place),
                         RECIPES[args.recipe].fixes, start, write_report)
    if loop and getattr(args, "enable_ce", False):
        loop.gan.print_kpis(loop.folder.metrics())


def make_gan(config, place):
    """The recipe's networks and programs, for a run's options and data as typed or as kept with it."""
    options = config["options"]
    if config["recipe"] == "note6":
        from static_mnist.note6 import Note6GAN

        return Note6GAN(place, options["fix"], options["seed"], options["batch_size"], options["follow"])
    if config["recipe"] == "cgan":
        from static_mnist.cgan import CGAN

        data = config["dataset"]
        batches = -(-data["pictures"] // options["batch_size"])
        return CGAN(place, data["shape"], data["classes"], options["fix"], options["seed"], options["epoch"], batches)
    from static_mnist.book import BookGAN

    seed = 90 if options["enable_ce"] else options["seed"]
    return BookGAN(place, options["fix"], seed, one_seed=options["enable_ce"], use_cudnn=options["use_cudnn"])


if __name__ == "__main__":
    sys.exit(run_command(main))
