"""The faces: finding the pictures, the Datasets of section 3.1, and the DataLoader of section 3.2."""

import io
import itertools
import os
import re
import signal
import tempfile
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import paddle
from paddle.io import DataLoader, Dataset
from PIL import Image

from common.crop import Box, crop_folder
from common.data.batches import Batches, spread
from common.errors import UserError, announce, signals
from common.files import cache_folder, expanded, filled
from common.parallel import processes
from common.pictures.build_packed import TUTORIALS_BOX
from common.pictures.packed import UnpackedPictures, default_cache, open_packed
from common.pictures.picture_files import PictureFiles
from common.training.options import CROPPED, UNCROPPED

img_dim = 64  # width and height of a picture
PLACES = (CROPPED, *UNCROPPED)
CELEBA = 202_599  # pictures in the whole data set
WEB = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
SAMPLED = 1024  # pictures whose pixels go into a checksum
CELEBA_NAME, EMBEDDED_NAME = "CelebA", "embedded faces"  # in a run's config.json
EMBEDDED = "paddle/dataset/lfw_subset"  # in the cache folder
CELEBAS_NAME = re.compile(r"\d{6}\.(jpg|png)")
LEFT_TO_MAIN = signals("SIGINT", "SIGHUP")  # by worker processes
VARIANTS = 16  # pictures made of each of the 100 embedded faces: together 1600, twelve batches of 128


class DataGenerater(Dataset):
    """The tutorial's Dataset: scikit-image reads and scales each picture when it is asked for.

    Items are float32 [3, 64, 64] in [0, 1], (C, W, H). If a file is no picture, its item is NaN: an exception in a
    worker process would lose its cause on the way to the main process.

    Args:
        path: folder of 64×64 pictures.
    """

    def __init__(self, path):
        super().__init__()
        from skimage import io, transform  # imported once here, for the worker processes of all epochs

        self.imread, self.resize = io.imread, transform.resize
        self.dir = Path(path)
        self.datalist = PictureFiles(path).files  # sorted: the listing's os.listdir has no order
        self.image_size = (img_dim, img_dim)

    def __getitem__(self, idx):
        try:
            return self.load(idx)
        except UserError:
            return np.full([3, img_dim, img_dim], np.nan, "float32")

    def __len__(self):
        return len(self.datalist)

    def load(self, idx):
        """A picture.

        Raises:
            UserError: the picture cannot be read.
        """
        path = self.dir / self.datalist[idx]
        try:
            img = self.imread(path)
            img = self.resize(img, self.image_size)
            img = img.transpose()
            img = img.astype("float32")
            if img.shape != (3, img_dim, img_dim):
                raise ValueError("not red, green and blue")
        except Exception as error:  # scikit-image's readers raise nearly any exception
            raise UserError(f"{path} cannot be used: {' '.join(str(error).split())}; remove it, "
                            "or leave --reader skimage out, which leaves such pictures out") from error
        return img


def network_input(pictures):
    """Pictures as the tutorial's Dataset gives them to the networks: float32 in [0, 1], and **W before H**.

    For a 64×64 picture, the listing's ``io.imread``, ``transform.resize`` to 64×64, ``transpose()`` and
    ``astype('float32')`` give exactly x / 255.

    Args:
        pictures: uint8 [B, 64, 64, 3].

    Returns:
        float32 [B, 3, 64, 64], contiguous, as (B, C, W, H).
    """
    return np.divide(pictures.transpose(0, 3, 2, 1), 255, dtype=np.float32, order="C")


class PackedDataset(Dataset):
    """The items of `DataGenerater` from the packed array; no picture is decoded.

    Args:
        packed: `common.pictures.packed.PackedPictures`.
    """

    def __init__(self, packed):
        super().__init__()
        self.packed = packed

    def __getitem__(self, idx):
        return self.batch([idx])[0]

    def batch(self, numbers):
        """The pictures of an array of numbers: float32 [B, 3, 64, 64]."""
        return network_input(self.packed[numbers])

    def __len__(self):
        return len(self.packed)


class Faces(Batches):
    """Batches [B, 3, 64, 64] of a Dataset: shuffled, the short last one dropped.

    Of several processes each yields and reads only its share of each batch.

    The order depends only on the seed and the epoch, so that an epoch can begin at any of its batches.

    Args:
        dataset: `DataGenerater` or `PackedDataset`.
        batch_size: pictures in a batch.
        seed: of the order.
        workers: processes of the DataLoader, of all processes together. 0, for a `PackedDataset`, means that
            there is no DataLoader at all.
    """

    def __init__(self, dataset, batch_size, seed=0, workers=0):
        packed = getattr(dataset, "packed", None)  # the tutorial's Dataset has none
        self.unpacked = packed if isinstance(packed, UnpackedPictures) and not workers else None
        # A dry run decodes pictures that are not packed yet, and takes them in their own order: of a compressed archive
        # the first are the quickest to read.
        super().__init__(dataset, batch_size, 0 if self.unpacked else len(dataset), drop_last=True, seed=seed)
        self.workers = workers and max(1, len(processes.share(range(workers))))

    def epoch(self, epoch, first=0):
        """Yield the batches of an epoch from number ``first`` on. Closing the generator ends its worker processes.

        Raises:
            UserError: a picture cannot be read.
        """
        order = self.order(epoch)
        chosen = [processes.share(order[start:start + self.batch_size])
                  for start in range(first * self.batch_size, len(self) * self.batch_size, self.batch_size)]
        if self.workers:
            yield from self.load([numbers.tolist() for numbers in chosen])
        else:
            # Three to five times as fast as a DataLoader, whose thread, a new one for each epoch, keeps memory.
            yield from map(self.images.batch, chosen)

    def load(self, chosen):
        """Yield the batches of the pictures ``chosen``, a list of lists, through ``paddle.io.DataLoader``."""
        loader = DataLoader(self.images, batch_sampler=chosen, num_workers=self.workers, return_list=True,
                            use_buffer_reader=True, use_shared_memory=False, collate_fn=as_data,
                            worker_init_fn=settle_worker)
        with processes.withheld(LEFT_TO_MAIN):  # workers begin, and ignore these signals only a moment later
            batches = iter(loader)
        try:
            for numbers in chosen:
                [batch] = next(batches)  # the listing's data[0]
                bad = np.flatnonzero(np.isnan(batch[:, 0, 0, 0].numpy()))
                if bad.size:  # a worker gives NaN for an error; here `load` raises it, or finds that it has passed
                    pictures = batch.numpy()
                    pictures[bad] = [self.images.load(numbers[each]) for each in bad]
                    batch = paddle.to_tensor(pictures)
                yield batch
        finally:
            # An unfinished iterator never ends by itself: its thread keeps it alive, and it keeps its workers alive.
            batches._try_shutdown_all(**({"timeout": 5} if loader.num_workers else {}))  # macOS has no workers


def as_data(pictures):
    """A batch as a list of one array.

    A bare array would stay in memory. In Paddle 2.6 and 3.3 the function that restores a batch's structure forms a
    reference cycle with the batch, and it removes the batch from the cycle only if the batch is in a list.
    """
    return [np.stack(pictures)]


def settle_worker(_number):
    """Set up a worker process: it leaves signals to the main process, and ends when the main process has ended."""
    for number in LEFT_TO_MAIN:
        signal.signal(number, signal.SIG_IGN)
    # A launcher sends SIGTERM to the group of each process. A worker must not ignore it, because it would then outlive
    # `multiprocessing`, which ends it by SIGTERM. So it leaves the group.
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def open_faces(dataset="auto", data_dir=None, reader="packed", box=TUTORIALS_BOX, write=True):
    """The faces to train on.

    Args:
        dataset: ``auto`` takes ``data_dir``, else pictures at the tutorial's own paths (`PLACES`), else the embedded
            faces, with a notice. ``celeba`` never takes the embedded faces. ``faces`` takes the embedded faces.
        data_dir: folder of pictures, cropped or not, with its sub-folders; zip or tar archive of pictures; or a packed
            ``.npy``.
        reader: ``packed``; or ``skimage``, the tutorial's own reader, which needs cropped pictures.
        box: `common.crop.Box`, for pictures of the user's own that are not cropped.
        write: False writes nothing: pictures that are not packed yet are decoded when they are asked for.

    Returns:
        (dataset, description): the Dataset, and the description as in `common.recipe.Recipe.open_data`.

    Raises:
        UserError: there are no pictures, or they cannot be used.
    """
    named = expanded(data_dir) if data_dir else next(filter(filled, PLACES), None)
    source = None if dataset == "faces" else named
    if source is None and dataset == "celeba":
        raise UserError(f"there is no {PLACES[0]} and no {PLACES[-1]}: download img_align_celeba.zip (1.4 GB) from "
                        f"{WEB} and name it with --data_dir, as it is or unpacked (img_align_celeba/000001.jpg …)")
    embedded = source is None
    if embedded:
        if box != TUTORIALS_BOX:
            raise UserError("--x, --y and --size crop pictures of your own; name them with --data_dir, or leave these "
                            "options out")
        if dataset == "auto":
            announce_fallback()
        source = embedded_faces() if write else cache_folder(EMBEDDED) / "imgs"
    promised = embedded and not source.is_dir()
    if reader == "skimage" and not promised:
        pictures = skimage_dataset(source)
        names, bytes_of = pictures.datalist, lambda number: (pictures.dir / pictures.datalist[number]).read_bytes()
        left_out = 0
    else:
        packed = UnpackedPictures(PromisedFaces(source), default_cache(source), box) if promised else (
            open_packed(source, box=box, write=write))
        pictures = PackedDataset(packed)
        names, bytes_of, left_out = packed.names, lambda number: packed[number].tobytes(), len(packed.failed)
    name = EMBEDDED_NAME if embedded else CELEBA_NAME
    note = "data: 100 faces that come with scikit-image, not CelebA" if embedded else ""
    if not all(CELEBAS_NAME.fullmatch(Path(each).name) for each in names):
        name = source.resolve().name.encode(errors="replace").decode()  # for titles, which are UTF-8
        note = f"data: {name}, not CelebA"
    description = {"name": name, "source": str(source.resolve()), "pictures": len(pictures),
                   "left_out": left_out, "checksum": checksum(names, bytes_of) if write else "",
                   "fallback": embedded and dataset == "auto", "note": note}
    if not embedded:
        part = "" if note or len(pictures) >= CELEBA else f" (the whole of CelebA has {CELEBA})"
        print(f"{len(pictures)} pictures from {source}{part}" + (f", {left_out} left out" if left_out else ""))
    return pictures, description


def skimage_dataset(source):
    """`DataGenerater` over a folder of cropped pictures.

    Raises:
        UserError: ``source`` is no folder, or its pictures are not 64×64.
    """
    size = PictureFiles(source).first_size() if source.is_dir() else None
    if source.suffix == ".npy" or source.is_file() or size not in (None, (img_dim, img_dim)):
        raise UserError(f"--reader skimage wants a folder of cropped pictures, and {source} is "
                        + ("a file" if size is None else f"not cropped ({size[0]}×{size[1]})")
                        + f"; python tools/crop_celeba.py --input {source} makes one, work/imgs")
    return DataGenerater(source)


def checksum(names, bytes_of):
    """A checksum that does not depend on the folder: of all names, and of the contents of up to 1024 pictures."""
    result = zlib.crc32("\n".join(names).encode(errors="surrogateescape"))  # names need not be UTF-8
    for number in spread(len(names), SAMPLED):
        result = zlib.crc32(bytes_of(int(number)), result)
    return f"{result:08x}"


# The embedded default


def announce_fallback():
    """Say on stderr, in a box, that the run goes on without CelebA, why, and what to do."""
    announce([
        "NOT CELEBA: this run uses the 100 small faces that come with scikit-image.",
        f"They are 25x25 and grey, made into {100 * VARIANTS} pictures of CelebA's size and tinted.",
        "Losses and pictures will differ from the tutorial's.",
        "",
        f"CelebA is not in {PLACES[0].absolute()}",
        "",
        "To have CelebA:",
        "  download img_align_celeba.zip (1.4 GB) from",
        f"      {WEB}",
        "  and name it, no need to unpack it: --data_dir img_align_celeba.zip",
        "To have these faces without this notice: --dataset faces",
    ])


def embedded_faces():
    """The folder of scikit-image's faces, cropped as CelebA's pictures are; made at the first call.

    Raises:
        UserError: it cannot be written.
    """
    folder = cache_folder(EMBEDDED)
    ready = folder / "imgs"
    if ready.is_dir():
        return ready
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            whole = Path(temporary) / "img_align"
            whole.mkdir()
            for number, picture in enumerate(celeba_like(), 1):
                Image.fromarray(picture).save(whole / f"{number:06d}.jpg", quality=95)
            if crop_folder(PictureFiles(whole), Path(temporary) / "imgs", Box(), progress=False).left:
                raise KeyboardInterrupt  # the crop tool has caught Ctrl-C and returned early
            try:
                (Path(temporary) / "imgs").rename(ready)
            except OSError:
                if not ready.is_dir():  # else another process was faster
                    raise
    except OSError as error:
        raise UserError(f"cannot write the embedded faces to {folder}: {error.strerror}; "
                        "make room there, or name pictures with --data_dir") from error
    return ready


class PromisedFaces:
    """The pictures of `embedded_faces` before they are written, for a dry run; as `PictureFiles` gives pictures.

    Args:
        path: of the folder that a run would write them into.
    """

    rejected = ()

    def __init__(self, path):
        self.path = path
        self.names = [f"{number:06d}.jpg" for number in range(1, 100 * VARIANTS + 1)]
        self.first = [*itertools.islice(celeba_like(), 100)]

    def first_size(self):
        """(width, height) of all pictures."""
        return self.first[0].shape[1::-1]

    def read(self, name):
        """The bytes of a JPEG file of one of the first hundred faces."""
        stream = io.BytesIO()
        Image.fromarray(self.first[int(Path(name).stem) % 100]).save(stream, "JPEG", quality=95)
        return stream.getvalue()


def celeba_like():
    """Yield 178×218 pictures made of scikit-image's 100 faces, uint8 [218, 178, 3].

    The face fills the square that the crop keeps. Half of the pictures are flipped. Each is tinted, lit and shifted a
    little, with a fixed seed.
    """
    from skimage import data, transform

    random = np.random.RandomState(0)
    faces = data.lfw_subset()[:100]
    for variant in range(VARIANTS):
        for face in faces:
            face = face[:, ::-1] if variant % 2 else face
            large = transform.resize(face, (196, 196), order=3, mode="edge")
            top, left = random.randint(0, 19, 2)
            square = large[top:top + 178, left:left + 178]
            picture = np.pad(square, [(28, 12), (0, 0)], mode="edge")[:, :, None]
            tint = np.array([1.0, 0.8, 0.68]) + random.uniform(-0.04, 0.04, 3)
            light = random.uniform(0.85, 1.1)
            yield np.rint(np.clip(picture * light, 0, 1) ** (1 / tint) * 255).astype("uint8")
