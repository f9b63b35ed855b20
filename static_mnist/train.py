"""Train one of the static-graph tutorials: ``python static_mnist/train.py --use_gpu``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import command, datafiles, runtime  # noqa: E402
from common.errors import UserError, run_command  # noqa: E402

RECIPES = ("book",)
FIXES = {
    "double_sigmoid": "D ends in logits, not in a sigmoid before the loss's own",
    "max_pool": "D has strided convolutions in place of pooling, as the prose says",
}


def options(argv=None):
    """The command's options."""
    parser = command.Parser(prog="train.py", description=(
        "Train the MNIST DCGAN of the PaddlePaddle book, chapter 09.gan. "
        "Without MNIST at hand and without a network it trains on scikit-learn's embedded digits."))
    command.add_training_options(parser, epoch=20, batch_size=128, output="./output_dcgan", fixes=FIXES)
    parser.add_argument("--enable_ce", action="store_true",
                        help="the book's continuous evaluation: one epoch, numpy seed 10, startup seed 90, "
                             "unshuffled, prints two kpis lines")
    parser.add_argument("--use_cudnn", action="store_true", help="use cuDNN for convolutions; needs --use_gpu")
    parser.add_argument("--dataset", choices=["auto", "mnist", "digits"], default="auto",
                        help="auto: MNIST if it can be had, else the embedded digits; mnist: nothing else")
    parser.add_argument("--data_dir", type=Path, metavar="DIR", help="folder of the idx files")
    parser.add_argument("--no_download", action="store_true", help="never ask the network for data")

    args = command.parse(parser, argv, FIXES)
    typed = command.given(parser, sys.argv[1:] if argv is None else argv)
    if args.enable_ce and not args.resume and "epoch" not in typed:
        args.epoch = 1
    if not hasattr(args, "seed"):
        args.seed = 10 if args.enable_ce else 0
    if args.use_cudnn and not args.use_gpu:
        parser.error("--use_cudnn needs --use_gpu")
    return args


def main(argv=None):
    """Run the command; returns nothing or raises `UserError`."""
    args = options(argv)
    runtime.prepare(args.use_gpu)

    from common.batches import Batches

    pictures = datafiles.load(args.dataset, args.data_dir, download=not args.no_download)
    if pictures.images.shape[1:] != (28, 28):
        height, width = pictures.images.shape[1:]
        raise UserError(f"the pictures in {pictures.source} are {height}×{width}, the networks are made for 28×28; "
                        "name another folder with --data_dir")
    if len(pictures.images) < args.batch_size:
        raise UserError(f"--batch_size {args.batch_size} is more than the {len(pictures.images)} pictures "
                        f"of {pictures.name}; choose a smaller one")
    data = Batches(pictures.images, args.batch_size, shuffle=0 if args.enable_ce else 60000, seed=args.seed)
    description = {"name": pictures.name, "source": pictures.source, "pictures": len(pictures.images),
                   "checksum": pictures.checksum, "fallback": pictures.fallback,
                   "note": "" if pictures.name == "MNIST" else f"data: {pictures.name}, not MNIST"}

    loop = command.train(args, data, description, lambda place: make_gan(vars(args), place))
    if loop and args.enable_ce:
        loop.gan.print_kpis(loop.folder.metrics())


def make_gan(options, place):
    """The recipe's networks and programs, for the options as typed or as kept with a run."""
    from static_mnist.book import BookGAN

    seed = 90 if options["enable_ce"] else options["seed"]
    return BookGAN(place, options["fix"], seed, one_seed=options["enable_ce"], use_cudnn=options["use_cudnn"])


if __name__ == "__main__":
    sys.exit(run_command(main))
