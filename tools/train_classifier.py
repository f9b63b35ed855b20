"""Train the small classifier that runs are judged by: ``python tools/train_classifier.py --dataset fashion``.

MNIST and Fashion-MNIST are trained on their training pictures and tested on their test pictures. Of EMNIST any part
with its 47 classes serves; where the folder holds no test part of its own, every tenth picture is one.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.backend import runtime
from common.data import datasets
from common.errors import UserError, run_command
from common.files import expanded
from common.training import command

ROOT = Path(__file__).resolve().parents[1]
EPOCHS = {"mnist": 4, "fashion": 10, "emnist": 4}
BATCH_SIZE = 128
RATE = 2e-3  # Adam's highest, from which it falls to 0 along a cosine
SHIFT = 2  # pixels that a training picture is moved by at the most, at random
TENTH = 10
UNEVEN = 0.5  # of a class's even share: with fewer pictures of the rarest, frequent ones would be guessed too often


def options(argv=None):
    """The command's options."""
    parser = command.Parser(prog="train_classifier.py", description=__doc__.splitlines()[0].split(":")[0] + ".")
    add = parser.add_argument
    add("--dataset", choices=EPOCHS, required=True, help="what to train on")
    add("--data_dir", type=Path, metavar="PATH", help="folder of the idx files, or one EMNIST part's file of images")
    add("--epochs", type=command.positive, metavar="N",
        help="default: " + ", ".join(f"{count} for {name}" for name, count in EPOCHS.items()))
    add("--seed", type=command.seed, default=0, metavar="N", help="of initial values, order, shifts and dropout")
    add("--output", type=Path, metavar="FILE",
        help="of the weights (default: common/evaluation/weights/DATASET.safetensors)")
    args = parser.parse_args(argv)
    args.epochs = args.epochs or EPOCHS[args.dataset]
    args.output = args.output or ROOT / "common" / "weights" / f"{args.dataset}.safetensors"
    return args


def split(dataset, data_dir):
    """Pictures to train on and to test with.

    Returns:
        ((images, labels), (images, labels), the classes' names, how they were parted in words); images uint8.
    """
    train = datasets.load(dataset, data_dir, "train")
    if train.labels is None:
        raise UserError(f"{train.name} in {train.source} has no labels; put their file beside the images")
    one_file = expanded(data_dir or "").is_file()  # one part of EMNIST, all of it in ``train``
    test = train if one_file else datasets.load(dataset, data_dir, "test")
    if test.labels is not None and test.checksum != train.checksum and test.classes == train.classes:
        parts = (train.images, train.labels), (test.images, test.labels)
        return *parts, train.classes, f"trained on {train.name} train, tested on its test part"

    import numpy as np

    tested = np.arange(len(train.images)) % TENTH == TENTH - 1
    parts = ((train.images[chosen], train.labels[chosen]) for chosen in (~tested, tested))
    return *parts, train.classes, f"every tenth picture of {train.name} tested, trained on the others"


def main(argv=None):
    """Run the command; raises `UserError`."""
    args = options(argv)
    train, test, classes, protocol = split(args.dataset, args.data_dir)
    runtime.prepare()

    import numpy as np

    from common.data.batches import scale
    from common.evaluation.classifier import Classifier
    from common.evaluation.metrics import label_agreement

    network = fit(train, len(classes), args.epochs, args.seed)
    arrays = {name: value.numpy().astype("float16") for name, value in network.state_dict().items()}
    shares = np.bincount(train[1], minlength=len(classes)) / len(train[1])
    if shares.min() < UNEVEN / len(classes):
        even(arrays, shares)
        protocol += "; as for classes that are all equally frequent"
    for name, value in network.state_dict().items():  # what is tested is what is kept
        value.set_value(arrays[name].astype("float32"))
    network = Classifier(network, args.dataset, {"accuracy": None, "labels": classes})
    found = network.probabilities(scale(test[0])).argmax(1)
    accuracy, recall = label_agreement(test[1], found, len(classes))
    record = {"dataset": args.dataset, "protocol": protocol, "accuracy": round(accuracy, 6),
              "balanced_accuracy": round(float(np.nanmean(recall)), 6),
              "recall": [round(float(value), 4) for value in recall], "labels": list(classes),
              "pictures": {"train": len(train[0]), "test": len(test[0])},
              "epochs": args.epochs, "batch_size": BATCH_SIZE, "seed": args.seed,
              "command": f"python tools/train_classifier.py --dataset {args.dataset} --epochs {args.epochs} "
                         f"--seed {args.seed}",
              **runtime.describe()}
    save(args.output, arrays, record)
    report(args.output, record)


def fit(pictures, classes, epochs, seed):
    """Train a network.

    Args:
        pictures: (uint8 [N, 28, 28], labels [N]).
        classes: how many.
        epochs, seed: the same seed makes the same weights, on one machine with one number of threads.

    Returns:
        `common.evaluation.classifier.Network`.
    """
    import numpy as np
    import paddle
    from tqdm import tqdm

    from common.data.batches import Batches
    from common.evaluation.classifier import SIDE, Network

    paddle.seed(seed)
    random = np.random.RandomState(seed)
    batches = Batches(*pictures[:1], BATCH_SIZE, shuffle=len(pictures[0]), seed=seed, labels=pictures[1])
    network = Network(classes)
    rate = paddle.optimizer.lr.CosineAnnealingDecay(RATE, epochs * len(batches))
    adam = paddle.optimizer.Adam(rate, parameters=network.parameters())
    progress = tqdm(total=epochs * len(batches), disable=not sys.stderr.isatty(), unit="batch", leave=False)
    for epoch in range(epochs):
        losses = []
        for images, labels in batches.epoch(epoch):
            images = shifted(images.reshape([-1, SIDE, SIDE]), random)
            _, logits = network(paddle.to_tensor(images[:, None]))
            loss = paddle.nn.functional.cross_entropy(logits, paddle.to_tensor(labels.astype("int64")))
            loss.backward()
            adam.step()
            adam.clear_grad()
            rate.step()
            losses.append(float(loss))
            progress.update()
        progress.clear()
        print(f"epoch {epoch + 1} of {epochs}: loss {np.mean(losses):.4f}", flush=True)
    progress.close()
    return network


def even(arrays, shares):
    """Take the classes' frequencies out of the last layer: logits less their logarithms (Menon et al. 2021).

    EMNIST's rarest letter would never be recognised otherwise, beside a frequent one of nearly the same look.
    """
    import numpy as np

    bias, shares = arrays["logits.bias"], np.maximum(shares, shares[shares > 0].min())
    arrays["logits.bias"] = (bias.astype("float32") - np.log(shares)).astype(bias.dtype)


def shifted(images, random):
    """The pictures [B, 28, 28], each moved by up to `SHIFT` pixels each way; -1, which is black, comes in."""
    import numpy as np

    side = images.shape[1]
    padded = np.pad(images, [(0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)], constant_values=-1)
    rows, columns = (random.randint(0, 2 * SHIFT + 1, len(images))[:, None] + np.arange(side) for _ in range(2))
    return padded[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None]]


def save(path, arrays, record):
    """Write the weights as safetensors, with the record in the header."""
    from safetensors.numpy import save_file

    from common.files import replacing

    with replacing(path) as temporary:
        save_file(arrays, temporary, {"record": json.dumps(record, ensure_ascii=False)})


def report(path, record):
    """Print what came of it."""
    from common.files import checksum

    worst = sorted(zip(record["recall"], record["labels"], strict=True))[:5]
    print(f"{record['dataset']}: {record['protocol']}, {record['pictures']['train']} and {record['pictures']['test']}")
    print(f"accuracy {record['accuracy']:.2%}, mean recall of the classes {record['balanced_accuracy']:.2%}, "
          "the least: " + ", ".join(f"{name} {recall:.1%}" for recall, name in worst))
    print(f"{path}: {path.stat().st_size} bytes, sha256 {checksum(path, 'sha256')}")


if __name__ == "__main__":
    sys.exit(run_command(main))
