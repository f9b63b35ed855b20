"""The published sets of 28×28 pictures: their addresses, checksums (md5) and classes.

A further set with files like MNIST's is one more entry of `PUBLISHED`; ``--dataset`` takes the entry's key.
"""

import string
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import exists

IDX = {"images": "idx3", "labels": "idx1"}  # in the names of idx files
PREFIXES = {"train": "train", "test": "t10k"}  # split: how the names of MNIST's idx files begin


@dataclass(frozen=True)
class Published:
    """A published data set: the mirrors that serve it, and the md5 of its files."""

    name: str
    mirrors: tuple[str, ...]
    classes: tuple[str, ...]
    downloads: dict[str, str]  # file on the mirrors: its md5
    contents: dict[str, str]  # file: md5 of the unpacked file, which does not depend on who packed it
    folder: str  # in the cache folder; Paddle's own, so downloads of `paddle.vision.datasets` are found
    tables: str  # pattern of the names of npz, CSV and mat files in a folder; {} is the split
    limit: int = 100_000_000  # bytes that a mirror may send for one file
    pictures: int = 60_000  # for training; of EMNIST's balanced part


# EMNIST's 47 classes: lower-case letters that look like their capitals are merged with them.
_EMNIST_47 = string.digits + string.ascii_uppercase + "abdefghnqrt"

PUBLISHED = {
    "mnist": Published(
        name="MNIST",
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://dataset.bj.bcebos.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        classes=tuple(string.digits),
        downloads={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        contents={
            "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
            "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
            "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
        },
        folder="paddle/dataset/mnist",
        tables=r"mnist\.npz|(?:mnist[-_])?{}\.csv(?:\.gz)?",
    ),
    "fashion": Published(
        name="Fashion-MNIST",
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://dataset.bj.bcebos.com/fashion_mnist/",
        ),
        classes=("t-shirt", "trouser", "pullover", "dress", "coat",
                 "sandal", "shirt", "sneaker", "bag", "ankle boot"),
        downloads={
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        contents={
            "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
        },
        folder="paddle/dataset/fashion-mnist",
        tables=r"fashion[-_]?mnist\.npz|(?:fashion[-_]?mnist[-_])?{}\.csv(?:\.gz)?",
    ),
    "emnist": Published(
        name="EMNIST",
        # No other public address serves this archive; NIST's older one answers with a page of text.
        mirrors=("https://biometrics.nist.gov/cs_links/EMNIST/",),
        classes=tuple(_EMNIST_47),
        downloads={"gzip.zip": "58c8d27c78d21e728a6bc7b3cc06412e"},  # every part of EMNIST in one archive
        contents={},
        folder="paddle/dataset/emnist",
        tables=r"emnist-.+-{}\.csv(?:\.gz)?|emnist-.+\.mat",
        limit=700_000_000,
        pictures=112_800,
    ),
}


def compare(published, prefix, kind, array, path, digest):
    """Refuse a file with the name and the number of pictures of a published file, but another content.

    A file with another number of pictures passes: it is the user's own.

    Args:
        published: `Published`.
        prefix: of the idx file's name; only ``train`` and ``t10k`` are checked.
        kind: ``images`` or ``labels``.
        array: what the file holds, [N, …].
        path: of the file, for the message.
        digest: the md5 of the unpacked idx file, or that the array would have as one.

    Raises:
        UserError: the file has another md5 than the published one.
    """
    name = f"{prefix}-{kind}-" + IDX[kind] + "-ubyte"
    if name not in published.contents or len(array) != (60000 if prefix == "train" else 10000):
        return
    if digest != published.contents[name]:
        for key, other in PUBLISHED.items():
            if digest in other.contents.values():
                raise UserError(f"{path} is a file of {other.name}, not this file of {published.name}; "
                                f"name {key} as the data set, or the folder of {published.name}")
        raise UserError(f"{path} has the name and size of {published.name}'s file but other contents, md5 {digest}: "
                        "another set of its form, as Kuzushiji-MNIST is, or a damaged copy; to train on it as it is, "
                        f"name its folder {Path(path).parent} as the data set")


def emnist_classes(folder, prefix, labels, mapping=None):
    """(labels that count from 0, the names of the classes) of a part of EMNIST.

    The names come from ``mapping``, {label: name}; else from ``emnist-PART-mapping.txt`` beside the files, with lines
    "label code"; else from what is known of the part. EMNIST's own labels of the part "letters" count from 1.

    Raises:
        UserError: the mapping cannot be read, or a label has no name.
    """
    part = prefix.removeprefix("emnist-").split("-")[0]
    path = folder / f"emnist-{part}-mapping.txt"
    if mapping:
        pass
    elif exists(path):
        try:
            rows = [line.split()[:2] for line in path.read_text().splitlines() if line.strip()]
            mapping = {int(label): chr(int(code)) for label, code in rows}
        except (ValueError, OverflowError, OSError) as error:
            raise UserError(f"cannot read {path}: {error}; replace it, or take it away") from None
    elif part == "letters":
        mapping = dict(enumerate(string.ascii_uppercase, start=1))
    else:
        names = {"digits": string.digits, "mnist": string.digits,
                 "byclass": string.digits + string.ascii_uppercase + string.ascii_lowercase}
        mapping = dict(enumerate(names.get(part, _EMNIST_47)))
    unknown = set(np.unique(labels).tolist()) - set(mapping)
    if unknown:
        raise UserError(f"the labels of {prefix} in {folder} include {min(unknown)}, which has no name; "
                        f"put {path.name} beside them")
    known = np.array(sorted(mapping))
    return np.searchsorted(known, labels).astype(np.uint8), tuple(mapping[label] for label in known.tolist())
