"""Pack a run's generator into one small file: ``python tools/pack_generator.py --run output_cgan --name cgan``."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import pretrained
from common.errors import UserError, run_command
from common.files import expanded
from common.training.options import Parser, positive


def options(argv=None):
    """The command's options."""
    parser = Parser(prog="pack_generator.py", description=(
        "Pack a run's generator, rounded to six or eight bits a weight, into common/weights/NAME.safetensors. Pictures "
        "of the file itself are measured; the numbers go into its record. --pretrained NAME then draws from it."))
    add = parser.add_argument
    add("--run", type=expanded, metavar="DIR", help="folder of the run")
    add("--checkpoint", type=expanded, metavar="FILE",
        help="one of its checkpoints, or best, as evaluate.py found it (default: the newest)")
    add("--name", metavar="NAME", help="of the generator")
    add("--data_dir", type=expanded, metavar="PATH", help="where the run's data set lies now, if it has moved")
    add("--count", type=positive, default=10_000, help="pictures to draw, and real ones to hold them against")
    add("--overwrite", action="store_true", help="replace the file of this name")
    add("--cards", action="store_true",
        help="pack nothing; bring the tables and pictures of docs/models.md up to date with the files")
    return parser.parse_args(argv)


def main(argv=None):
    """Run the command; raises `UserError`."""
    args = options(argv)
    if args.cards:
        from common.report import cards

        print(*cards.write(), sep="\n")
        return
    if args.run is None or args.name is None:
        raise UserError("--run and --name are missing; pack_generator.py --help lists the options")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", args.name):
        raise UserError(f"--name {args.name!r}: a name has small letters and digits, and single hyphens between them")
    path = pretrained.WEIGHTS / f"{args.name}.safetensors"
    if path.exists() and not args.overwrite:
        raise UserError(f"there is a generator called {args.name}; choose another --name, or replace it by --overwrite")

    from common.evaluation.packing import pack

    print(*pack(args.run, args.checkpoint, path, args.data_dir, args.count), sep="\n")


if __name__ == "__main__":
    sys.exit(run_command(main))
