"""Train the CelebA DCGAN, in dynamic mode: ``python dygraph_celeba/train.py --data_dir img_align_celeba.zip``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.backend import runtime
from common.errors import UserError, run_command
from common.training import command

WORKERS = 2  # processes of the tutorial's DataLoader
FIXES = {
    "data_range": "training pictures lie in [-1, 1], the range of tanh, not in [0, 1]",
    "orientation": "pictures are (C, H, W), not (C, W, H)",
    "bn_momentum": "batch norm's momentum is 0.5, as the prose says, not 0.8",
    "noise": "noise is uniform in 0..1, as the prose says, not N(0, 1)",
    "d_step": "D makes one step an iteration, on the sum of both losses, as the prose says, not one on each",
    "g_steps": "G makes two steps an iteration, as the prose says, not one",
    "two_outputs": "D has two output neurons, as the prose says, not one",
    "epochs": "8 epochs unless --epoch says otherwise, as the prose says, not 5",
    "fixed_noise": "pictures are drawn from constant noise with moving averages in batch norm, not from the last "
                   "training noise with that batch's own statistics",
}


def options(argv=None):
    """The command's options."""
    parser = command.Parser(prog="train.py", description=(
        "Train the DCGAN of the tutorial dcgan_face on CelebA's faces. "
        "Without CelebA at hand it trains on 100 small faces that come with scikit-image."))
    command.add_training_options(parser, epoch=5, batch_size=128, output="work/Output", fixes=FIXES)
    parser.add_argument("--dataset", choices=["auto", "celeba", "faces"], default="auto",
                        help="auto: CelebA if it is there, else the embedded faces; celeba: nothing else")
    parser.add_argument("--data_dir", type=Path, metavar="PATH",
                        help="folder of pictures, cropped or not, img_align_celeba.zip itself, or a packed .npy "
                             "(default: work/imgs, work/img_align_celeba, or img_align_celeba.zip, here or in work)")
    parser.add_argument("--reader", choices=["packed", "skimage"], default="packed",
                        help=f"packed: all pictures in one array; skimage: the tutorial's Dataset, {WORKERS} workers")

    args = command.parse(parser, argv, FIXES)
    typed = command.given(parser, sys.argv[1:] if argv is None else argv)
    if "epochs" in args.fix and not args.resume and "epoch" not in typed:
        args.epoch = 8
    if not hasattr(args, "seed"):
        args.seed = 0
    if args.dataset == "faces" and args.data_dir and not args.resume:
        parser.error("--dataset faces and --data_dir exclude each other")
    return args


def main(argv=None):
    """Run the command; returns nothing or raises `UserError`."""
    args = options(argv)
    runtime.prepare(args.use_gpu)

    from dygraph_celeba.data import Faces, open_faces

    dataset, description = open_faces(args.dataset, args.data_dir, args.reader)
    if len(dataset) < args.batch_size:
        raise UserError(f"--batch_size {args.batch_size} is more than the {len(dataset)} pictures "
                        f"in {description['source']}; choose a smaller one")
    data = Faces(dataset, args.batch_size, args.seed, WORKERS if args.reader == "skimage" else 0)
    from common.report.page import write_report

    command.train(args, data, description, lambda place: make_gan(vars(args), place), FIXES, report=write_report)


def make_gan(options, place):
    """The networks and optimisers, for the options as typed or as kept with a run."""
    from dygraph_celeba.gan import FaceGAN

    return FaceGAN(place, options["fix"], options["seed"])


if __name__ == "__main__":
    sys.exit(run_command(main))
