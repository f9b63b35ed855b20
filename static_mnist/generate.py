"""Draw pictures from a trained run: ``python static_mnist/generate.py --run output_dcgan --count 64``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import runtime  # noqa: E402
from common.errors import UserError, run_command  # noqa: E402


def main(argv=None):
    """Run the command; raises `UserError`."""
    from common import sampling

    args = sampling.parser(run="./output_dcgan", output="./generated").parse_args(argv)
    config, arrays = sampling.read_run(args.run, args.checkpoint)
    runtime.prepare(args.use_gpu)

    import numpy as np

    from static_mnist.train import RECIPES, make_gan

    if config["recipe"] not in RECIPES:
        raise UserError(f"{args.run} is a run of the recipe {config['recipe']}, which has its own generate.py")
    gan = make_gan(config["options"], runtime.place(args.use_gpu))
    gan.load_state(arrays)
    random = np.random.RandomState(args.seed)
    if args.interpolate:
        ends = gan.noise(2 * args.count, random)
        noise = sampling.interpolation(ends.reshape([args.count, 2, *ends.shape[1:]]))
    else:
        noise = gan.noise(args.count, random)
    pictures = sampling.in_batches(gan.sample, noise)
    grid, raw = sampling.write(args.output, pictures, sampling.STEPS if args.interpolate else None)
    print(f"{len(pictures)} pictures: {grid}, {raw}, {args.output / 'generated_1.png'} …")


if __name__ == "__main__":
    sys.exit(run_command(main))
