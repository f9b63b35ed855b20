"""Train the small classifier that runs are judged by: ``python tools/train_classifier.py --dataset fashion``.

For MNIST and Fashion-MNIST it is trained on the training pictures and tested on the test pictures. For EMNIST any part
with its 47 classes will do; if the folder has no test part, every tenth picture is kept for the test.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.errors import run_command
from common.evaluation import classifier_training
from common.evaluation.classifier_training import EPOCHS, WEIGHTS
from common.files import checksum, expanded, refuse_other
from common.training import options as command


def options(argv=None):
    """The command's options."""
    parser = command.Parser(prog="train_classifier.py", description=__doc__.splitlines()[0].split(":")[0] + ".")
    add = parser.add_argument
    add("--dataset", choices=EPOCHS, required=True, help="the data set to train on")
    add("--data_dir", type=expanded, metavar="PATH",
        help="folder of the set's files, or one npz, CSV or mat file, or one EMNIST part's idx file of images")
    add("--epochs", type=command.positive, metavar="N",
        help="epochs to train (default: " + ", ".join(f"{count} for {name}" for name, count in EPOCHS.items()) + ")")
    add("--seed", type=command.seed, default=0, metavar="N", help="seed of initial values, order, shifts and dropout")
    add("--output", type=expanded, metavar="FILE",
        help="file for the weights (default: common/evaluation/weights/DATASET.safetensors)")
    args = parser.parse_args(argv)
    args.epochs = args.epochs or EPOCHS[args.dataset]
    args.output = args.output or WEIGHTS / f"{args.dataset}.safetensors"
    return args


def main(argv=None):
    """Run the command; raises `UserError`."""
    args = options(argv)
    refuse_other(args.output, b"balanced_accuracy", "file of a classifier")
    arrays, record = classifier_training.train(args.dataset, args.data_dir, args.epochs, args.seed)
    classifier_training.save(args.output, arrays, record)
    report(args.output, record)


def report(path, record):
    """Print how the classifier was trained, its accuracy, and its file."""
    worst = sorted(zip(record["recall"], record["labels"], strict=True))[:5]
    print(f"{record['dataset']}: {record['protocol']}, {record['pictures']['train']} and {record['pictures']['test']}")
    print(f"accuracy {record['accuracy']:.2%}, mean recall of the classes {record['balanced_accuracy']:.2%}, "
          "the least: " + ", ".join(f"{name} {recall:.1%}" for recall, name in worst))
    print(f"{path}: {path.stat().st_size} bytes, sha256 {checksum(path, 'sha256')}")


if __name__ == "__main__":
    sys.exit(run_command(main))
