"""Draw faces: ``python dygraph_celeba/generate.py --pretrained faces``, or ``--run work/Output`` from a trained run."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.errors import run_command


def main(argv=None):
    """Run the command; raises `UserError`."""
    from common.training import sampling

    args, typed = sampling.parser("dygraph_celeba", run="work/Output", output="work/Generate", count=100).both(argv)
    gan = sampling.load("dygraph_celeba", args, typed)

    import numpy as np

    pictures = sampling.draw(gan, args.count, np.random.RandomState(args.seed), args.interpolate)
    sampling.write(args.output, pictures, sampling.STEPS if args.interpolate else None)


if __name__ == "__main__":
    sys.exit(run_command(main))
