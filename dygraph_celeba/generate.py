"""Draw faces from a trained run: ``python dygraph_celeba/generate.py --run work/Output --count 100``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.errors import run_command


def main(argv=None):
    """Run the command; raises `UserError`."""
    from common import generator
    from common.training import sampling

    args = sampling.parser(run="work/Output", output="work/Generate", count=100).parse_args(argv)
    gan = generator.load(args.run, args.checkpoint, use_gpu=args.use_gpu, package="dygraph_celeba")

    import numpy as np

    pictures = sampling.draw(gan, args.count, np.random.RandomState(args.seed), args.interpolate)
    sampling.write(args.output, pictures, sampling.STEPS if args.interpolate else None)


if __name__ == "__main__":
    sys.exit(run_command(main))
