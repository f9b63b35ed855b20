"""The project's own classifier of 28×28 grey pictures; it judges the pictures of a run.

    mnist = Classifier.load("mnist")      # or fashion, emnist
    mnist.name                            # "mnist-cnn-" and the first digits of its file's sha256
    features, probabilities = mnist.outputs(pictures)

``tools/train_classifier.py`` trains it. A file of weights carries its record: accuracy, labels, seed, command.
Import this module after ``common.backend.runtime.prepare()``.
"""

import json
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.base import dygraph
from safetensors import SafetensorError, safe_open

from common.backend import fast
from common.errors import UserError
from common.evaluation.classifier_training import WEIGHTS
from common.files import checksum

SIDE = 28  # pixels
AT_ONCE = 500  # pictures in one run of the network


class Network(nn.Layer):
    """Pictures [B, 1, 28, 28] in [-1, 1] to features [B, 128] and logits [B, classes].

    Args:
        classes: how many.
    """

    def __init__(self, classes):
        super().__init__()
        channels = [(1, 32, 5, 2), (32, 64, 3, 2), (64, 96, 3, 2)]
        self.convs = nn.LayerList([fast.Conv2D(inputs, outputs, kernel, stride, kernel // 2, bias_attr=False)
                                   for inputs, outputs, kernel, stride in channels])
        self.norms = nn.LayerList([nn.BatchNorm2D(outputs) for _, outputs, _, _ in channels])
        self.dense = nn.Linear(1536, 128)
        self.dropout = nn.Dropout(0.3)
        self.logits = nn.Linear(128, classes)

    def forward(self, x):
        """(features [B, 128], logits [B, classes]) of pictures [B, 1, 28, 28] in [-1, 1], float32."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))                  # [B, 32, 14, 14], [B, 64, 7, 7], [B, 96, 4, 4]
        features = F.relu(self.dense(x.flatten(1)))    # [B, 128]
        return features, self.logits(self.dropout(features))


class Classifier:
    """A trained `Network`; see `load`.

    Attributes:
        name: data set, kind and a hash of the weights, such as ``mnist-cnn-3f2a91bc``. Names of metrics contain it.
        labels: the names of the classes.
        record: the record in the file of weights: accuracy, labels, seed, command and more.
        size: (height, width) of the pictures that it takes.
    """

    size = SIDE, SIDE

    def __init__(self, network, name, record):
        self.network, self.name, self.record = network, name, record
        self.labels = tuple(record["labels"])
        network.eval()

    @classmethod
    def load(cls, dataset, folder=WEIGHTS):
        """The committed classifier for ``mnist``, ``fashion`` or ``emnist``.

        Raises:
            UserError: its file is missing or damaged.
        """
        path = Path(folder) / f"{dataset}.safetensors"
        try:
            with safe_open(path, "numpy") as file:
                record = json.loads(file.metadata()["record"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
            with dygraph.guard():
                network = Network(len(record["labels"]))
                for name, parameter in network.state_dict().items():
                    parameter.set_value(arrays[name].astype("float32"))
            return cls(network, f"{dataset}-cnn-{checksum(path, 'sha256')[:8]}", record)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, AssertionError) as error:
            raise UserError(f"{path} is no file of a classifier ({' '.join(str(error).split())}); restore it, or make "
                            f"it anew with python tools/train_classifier.py --dataset {dataset}") from error

    def outputs(self, pictures):
        """Features and probabilities at once.

        Args:
            pictures: [n, 28, 28] or [n, 28, 28, 1], float32 in [-1, 1].

        Returns:
            ([n, 128], [n, classes]), float32.

        Raises:
            UserError: the pictures have another shape.
        """
        pictures = np.asarray(pictures, "float32")
        if pictures.shape[1:] not in ((SIDE, SIDE), (SIDE, SIDE, 1)):
            raise UserError(f"{self.name} is made for grey pictures of {SIDE}×{SIDE}, not for arrays of shape "
                            f"{list(pictures.shape[1:])}")
        features, probabilities = [], []
        with dygraph.guard(), paddle.no_grad():
            for start in range(0, len(pictures), AT_ONCE):
                x = paddle.to_tensor(pictures[start:start + AT_ONCE].reshape([-1, 1, SIDE, SIDE]))
                found, logits = self.network(x)
                features.append(found.numpy())
                probabilities.append(F.softmax(logits, axis=1).numpy())
        return np.concatenate(features), np.concatenate(probabilities)

    def features(self, pictures):
        """The outputs [n, 128] of the last layer but one, see `outputs`."""
        return self.outputs(pictures)[0]

    def probabilities(self, pictures):
        """The probabilities [n, classes] of the classes, see `outputs`."""
        return self.outputs(pictures)[1]
