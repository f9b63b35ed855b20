"""Training the small classifier that runs are judged by."""

import json
from pathlib import Path

import numpy as np

from common.errors import UserError, terminal
from common.files import expanded, write_arrays

EPOCHS = {"mnist": 4, "fashion": 10, "emnist": 4}  # by data set; there is a classifier for each
WEIGHTS = Path(__file__).with_name("weights")
BATCH_SIZE = 128
RATE = 2e-3  # Adam's highest learning rate; it falls to 0 along a cosine
SHIFT = 2  # a training picture is moved at random, by at most this many pixels
TENTH = 10
UNEVEN = 0.5  # of an even share: with a rarer class, a network guesses the frequent classes too often


def split(dataset, data_dir):
    """Pictures to train on and to test with.

    Returns:
        (training, test, classes, words): (images, labels) to train on; (images, labels) to test with; the classes'
        names; how the two sets were separated, in words. Images are uint8 [N, 28, 28].

    Raises:
        UserError: the pictures have no labels, or a file cannot be used.
        common.data.datasets.NotThere: there is no test part.
    """
    from common.data import datasets  # for which --help need not wait

    train = datasets.load(dataset, data_dir, "train")
    if train.labels is None:
        raise UserError(f"{train.name} in {train.source} has no labels; put their file beside the images")
    try:
        test = datasets.load(dataset, data_dir, "test")
    except datasets.NotThere:
        if not (data_dir and expanded(data_dir).is_file()):
            raise
        test = train  # one part of EMNIST, all of it in ``train``
    if test.labels is not None and test.checksum != train.checksum and test.classes == train.classes:
        parts = (train.images, train.labels), (test.images, test.labels)
        return *parts, train.classes, f"trained on {train.name} train, tested on its test part"

    tested = np.arange(len(train.images)) % TENTH == TENTH - 1
    parts = ((train.images[chosen], train.labels[chosen]) for chosen in (~tested, tested))
    return *parts, train.classes, f"every tenth picture of {train.name} tested, trained on the others"


def fit(pictures, classes, epochs, seed):
    """Train a network.

    Args:
        pictures: (uint8 [N, 28, 28], labels [N]).
        classes: how many.
        epochs: how many.
        seed: the same seed gives the same weights on the same machine with the same number of threads.

    Returns:
        `common.evaluation.classifier.Network`.
    """
    import paddle
    from tqdm import tqdm

    from common.data.batches import Batches
    from common.evaluation.classifier import SIDE, Network

    paddle.seed(seed)
    random = np.random.RandomState(seed)
    batches = Batches(*pictures[:1], BATCH_SIZE, shuffle=len(pictures[0]), seed=seed, labels=pictures[1])
    if not len(batches):
        raise UserError(f"{len(pictures[0])} pictures are too few to learn from; {BATCH_SIZE} are the least")
    network = Network(classes)
    rate = paddle.optimizer.lr.CosineAnnealingDecay(RATE, epochs * len(batches))
    adam = paddle.optimizer.Adam(rate, parameters=network.parameters())
    progress = tqdm(total=epochs * len(batches), disable=not terminal(), unit="batch", leave=False)
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
    """Subtract the logarithm of each class's frequency from its logit, in the last layer's bias (Menon et al. 2021).

    Otherwise EMNIST's rarest letter would never be recognised, because a frequent letter looks nearly the same.
    """
    bias, shares = arrays["logits.bias"], np.maximum(shares, shares[shares > 0].min())
    arrays["logits.bias"] = (bias.astype("float32") - np.log(shares)).astype(bias.dtype)


def shifted(images, random):
    """The pictures [B, 28, 28], each moved at random by up to `SHIFT` pixels both ways; the new rim is -1, black."""
    side = images.shape[1]
    padded = np.pad(images, [(0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)], constant_values=-1)
    rows, columns = (random.randint(0, 2 * SHIFT + 1, len(images))[:, None] + np.arange(side) for _ in range(2))
    return padded[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None]]


def save(path, arrays, record):
    """Write the weights as safetensors, with the record in the header."""
    write_arrays(path, arrays, {"record": json.dumps(record, ensure_ascii=False)})


def train(dataset, data_dir, epochs, seed):
    """Train and test a classifier.

    Args:
        dataset, data_dir: see `split`.
        epochs, seed: see `fit`.

    Returns:
        (arrays, record): the weights, float16, and what the file says about them.

    Raises:
        UserError: the data are missing or have no labels.
    """
    from common.backend import runtime
    from common.data.batches import scale
    from common.evaluation.classifier import Classifier
    from common.evaluation.metrics import label_agreement

    pictures, test, classes, protocol = split(dataset, data_dir)
    runtime.prepare()
    network = fit(pictures, len(classes), epochs, seed)
    arrays = {name: value.numpy().astype("float16") for name, value in network.state_dict().items()}
    shares = np.bincount(pictures[1], minlength=len(classes)) / len(pictures[1])
    if shares.min() < UNEVEN / len(classes):
        even(arrays, shares)
        protocol += "; as for classes that are all equally frequent"
    for name, value in network.state_dict().items():  # the test uses the same weights that are saved
        value.set_value(arrays[name].astype("float32"))
    classifier = Classifier(network, dataset, {"labels": classes})
    found = classifier.probabilities(scale(test[0])).argmax(1)
    accuracy, recall = label_agreement(test[1], found, len(classes))
    return arrays, {
        "dataset": dataset, "protocol": protocol, "accuracy": round(accuracy, 6),
        "balanced_accuracy": round(float(np.nanmean(recall)), 6),
        "recall": [round(float(value), 4) for value in recall], "labels": list(classes),
        "pictures": {"train": len(pictures[0]), "test": len(test[0])},
        "epochs": epochs, "batch_size": BATCH_SIZE, "seed": seed,
        "command": f"python tools/train_classifier.py --dataset {dataset} --epochs {epochs} --seed {seed}",
        **runtime.describe()}
