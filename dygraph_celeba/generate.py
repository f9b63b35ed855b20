"""Draw faces from a trained run: ``python dygraph_celeba/generate.py --run work/Output --count 100``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.backend import runtime
from common.errors import UserError, run_command

AT_ONCE = 100  # pictures that the tutorial generates, all in one batch


def main(argv=None):
    """Run the command; raises `UserError`."""
    from common.training import sampling

    parser = sampling.parser(run="work/Output", output="work/Generate")
    parser.set_defaults(count=AT_ONCE)
    args = parser.parse_args(argv)
    config, arrays = sampling.read_run(args.run, args.checkpoint)
    runtime.prepare(args.use_gpu)

    import numpy as np

    from dygraph_celeba.gan import FaceGAN, load_network
    from dygraph_celeba.train import make_gan

    if config["recipe"] != FaceGAN.name:
        raise UserError(f"{args.run} is a run of the recipe {config['recipe']}, which has its own generate.py")
    gan = make_gan(config["options"], runtime.place(args.use_gpu))
    load_network(gan.netG, "G", arrays)
    random = np.random.RandomState(args.seed)
    if args.interpolate:
        noise = sampling.interpolation(gan.noise(2 * args.count, random))
        pictures = sampling.in_batches(gan.sample, noise)
    else:
        pictures = draw(gan, args.count, random)
    grid, raw = sampling.write(args.output, pictures, sampling.STEPS if args.interpolate else None)
    print(f"{len(pictures)} pictures: {grid}, {raw}, {args.output / 'generated_1.png'} …")


def draw(gan, count, random):
    """``count`` pictures, normalised as in the listing by the statistics of the hundred that each is one of.

    With the fix ``fixed_noise`` by moving averages, so that a picture depends on its own noise alone.
    """
    from common.training import sampling

    if "fixed_noise" in gan.fix:
        return sampling.in_batches(gan.sample, gan.noise(count, random), AT_ONCE)
    whole = -(-count // AT_ONCE) * AT_ONCE
    return sampling.in_batches(gan.sample_in_training, gan.noise(whole, random), AT_ONCE)[:count]


if __name__ == "__main__":
    sys.exit(run_command(main))
