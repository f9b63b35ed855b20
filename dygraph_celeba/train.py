"""Train the CelebA DCGAN, in dynamic mode: ``python dygraph_celeba/train.py --data_dir img_align_celeba.zip``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.parallel.processes import run_command
from common.training import options


def main(argv=None):
    """Run the command; raises `UserError`."""
    recipe, args = options.read("dygraph_celeba", argv)

    from common.report.page import write_report  # after --help, which it would hold up
    from common.training.run import train

    train(recipe, args, write_report)


if __name__ == "__main__":
    sys.exit(run_command(main))
