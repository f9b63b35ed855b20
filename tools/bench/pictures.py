"""The two rows that are no training: pictures to crop and to load, and the ways to do both."""

import tempfile
import zipfile
from collections import deque
from pathlib import Path

from common.errors import UserError
from tools.bench.ways import WRITTEN

# The crop row: way → (short description, the way that does nothing but its decoding)
CROP = {
    "as written": ("the tutorial's script, 8 threads", None),
    "same pixels": ("folder to folder, the same pixels", "decoding"),
    "fast": ("folder to folder, `--fast`", "half decoding"),
    "packed": ("archive to packed cache, the same pixels", "decoding"),
    "packed fast": ("archive to packed cache, `--fast`", "half decoding"),
    "decoding": ("decoding alone", None),
    "half decoding": ("decoding alone, at half size", None),
}


def make_pictures(folder, count, source=None):
    """Write ``img_align_celeba/`` and ``img_align_celeba.zip`` of 178×218 JPEG files, about 7 kB each as CelebA's.

    Args:
        folder: where.
        count: how many.
        source: archive to take pictures from; None: they are cut out of scikit-image's photographs.

    Raises:
        UserError: the archive has fewer than ``count`` pictures.
    """
    import numpy as np
    from PIL import Image

    pictures = folder / "img_align_celeba"
    pictures.mkdir()
    if source:
        from common.pictures.picture import BadPicture
        from common.pictures.picture_files import PictureFiles

        whole = PictureFiles(source)
        if len(whole.names) < count:
            raise UserError(f"{source} has {len(whole.names)} pictures only; choose a smaller --count")
        for name in whole.names[:count]:
            try:
                (pictures / name).write_bytes(whole.read(name))
            except BadPicture as error:
                raise UserError(f"{name} of {source} cannot be used: {error}; take a whole copy") from error
    else:
        from skimage import data

        random = np.random.RandomState(0)
        photographs = [data.astronaut(), data.chelsea(), data.coffee()]
        for number in range(count):
            photograph = photographs[number % 3]
            scale = random.uniform(0.8, 1.3)
            width, height = round(178 * scale), round(218 * scale)
            left = random.randint(photograph.shape[1] - width + 1)
            top = random.randint(photograph.shape[0] - height + 1)
            picture = Image.fromarray(photograph[top:top + height, left:left + width])
            picture.resize((178, 218), Image.BICUBIC).save(pictures / f"{number + 1:06d}.jpg", quality=75)
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for path in sorted(pictures.iterdir()):
            archive.write(path, f"img_align_celeba/{path.name}")


def prepare_crop(way, folder):
    """(number of pictures, a function that crops or decodes all of them once)."""
    import cv2
    import numpy as np

    from common import crop
    from common.pictures import packed
    from common.pictures.picture_files import PictureFiles

    outputs = (Path(tempfile.mkdtemp(dir=folder)) / "imgs.npy" for _ in iter(int, 1))
    source, archive = PictureFiles(folder / "img_align_celeba"), folder / "img_align_celeba.zip"

    def decode(flag):
        crop.in_threads(lambda name: cv2.imdecode(np.frombuffer(source.read(name), np.uint8), flag),
                        deque(source.names), [], progress=False)

    run = {
        # y=10 as in the tutorial's prose. The listing's y=20 leaves six rows black, so its pictures would differ
        "as written": lambda: crop.crop_like_the_tutorial(source.path, next(outputs), y=10),
        "same pixels": lambda: crop.crop_folder(source, next(outputs), crop.Box(), progress=False),
        "fast": lambda: crop.crop_folder(source, next(outputs), crop.Box(), fast=True, progress=False),
        "packed": lambda: packed.open_packed(archive, next(outputs), progress=False),
        "packed fast": lambda: packed.open_packed(archive, next(outputs), progress=False, fast=True),
        "decoding": lambda: decode(cv2.IMREAD_COLOR),
        "half decoding": lambda: decode(cv2.IMREAD_REDUCED_COLOR_2),
    }[way]
    return len(source.names), run


def prepare_loader(way, folder, batch):
    """(number of batches, a function that loads an epoch of them)."""
    if way == WRITTEN:
        from tools.bench.as_written import loader

        batches = loader(folder / "imgs", batch)
        return len(batches), lambda: [None for _ in batches]
    from common.pictures.packed import open_packed
    from dygraph_celeba.data import Faces, PackedDataset

    faces = Faces(PackedDataset(open_packed(folder / "imgs", folder / "imgs.npy", progress=False)), batch)
    return len(faces), lambda: [None for _ in faces.epoch(0)]
