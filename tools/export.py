"""Export a generator to Paddle Inference or ONNX: ``python tools/export.py --pretrained book --format onnx``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import pretrained
from common.errors import UserError, run_command
from common.files import expanded
from common.training.options import Parser
from common.training.sampling import add_source, source


def options(argv=None):
    """The command's options."""
    parser = Parser(prog="export.py", description=(
        "Export a trained generator for programs that do not have this project: noise [n, …] to pictures "
        "[n, H, W, C] in [-1, 1], with any n. It draws with moving averages and without dropout. Its pictures are "
        "compared with the project's own at once."))
    add = parser.add_argument
    add_source(parser)
    add("--format", choices=["paddle", "onnx"], default="paddle",
        help="paddle: files for Paddle Inference; onnx: one file for any runtime; wants the packages onnx, onnxruntime")
    add("--output", type=expanded, default=Path("./exported"), metavar="DIR", help="folder for the files")
    return parser.parse_args(argv)


def main(argv=None):
    """Run the command; raises `UserError`."""
    args = options(argv)
    if (args.run is None) == (args.pretrained is None):
        raise UserError("name either --run DIR or --pretrained " + ("|".join(pretrained.names()) or "NAME"))

    from common import generator

    gan = generator.load(source(args), args.checkpoint, fix=None)

    from common import export

    files, difference = export.export(gan, args.format, args.output)
    print(*(f"{path}: {path.stat().st_size / 1e6:.2f} MB" for path in files), sep="\n")
    print(f"largest difference from the project's own pictures: {difference:.1e}")
    print("\nTo draw from it:\n")
    print(export.example(gan, args.format, args.output, gan.generate(1).shape[1:]))


if __name__ == "__main__":
    sys.exit(run_command(main))
