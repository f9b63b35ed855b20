"""The faces as one memory-mapped array: built once, read by all epochs with no decoding at all."""

import hashlib
import json
import os
import shutil
import sys
import time
import zlib
from collections import deque
from pathlib import Path

import numpy as np

from common.crop import Box, DoesNotFit, crop, crop_fast, in_threads
from common.data.picture import read_image, span_note
from common.data.picture_files import PictureFiles, is_compressed_tar
from common.errors import UserError
from common.files import cache_folder, expanded, replacing

VERSION = 1
SIZE = Box.size
SHOWN = 50  # bad pictures that are printed one by one
LEFTOVER = 3600  # seconds without a change after which an unfinished array belongs to nobody


class PackedPictures:
    """Pictures in a memory-mapped array; ``len`` and indexing read it, processes share it.

    Attributes:
        array: uint8 memory map [N, 64, 64, 3], RGB, sorted by name.
        names: the N file names.
        failed: [name, reason] of the pictures that were left out.
        checksum: of the listing and the way of cropping: the same checksum means the same array.
        source: the folder or archive.
        path: the ``.npy`` file; all but the array is in ``.json`` beside it.
    """

    def __init__(self, path):
        self.path = Path(path)
        try:
            about = json.loads(self.path.with_suffix(".json").read_text(encoding="utf-8"))
            self.array = np.load(self.path, mmap_mode="r", allow_pickle=False)
            self.names, self.failed = about["names"], about["failed"]
            self.checksum, self.source = about["checksum"], Path(about["source"])
            fits = self.array.dtype == np.uint8 and self.array.shape == (len(self.names), SIZE, SIZE, 3)
            if about["version"] != VERSION or not fits:
                raise ValueError("other contents than expected")
        except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError) as error:
            raise UserError(f"cannot read the packed pictures {self.path}: {error}; "
                            "name the folder or archive that it was made of, and it is built anew") from error

    def __len__(self):
        return len(self.array)

    def __getitem__(self, indices):
        """uint8 array [B, 64, 64, 3] in memory for B indices or a slice, [64, 64, 3] for one index."""
        return np.array(self.array[indices], subok=False)

    def __reduce__(self):  # worker processes map the file themselves; pickling would copy the whole array
        return PackedPictures, (self.path,)


def network_input(pictures):
    """What the tutorial's Dataset feeds: float32 in [0, 1], and **W before H**.

    The listing's ``io.imread``, ``transform.resize`` to 64×64, ``transpose()`` and ``astype('float32')``
    come to x / 255 for a 64×64 picture, to the bit.

    Args:
        pictures: uint8 [B, 64, 64, 3].

    Returns:
        float32 [B, 3, 64, 64], contiguous, as (B, C, W, H).
    """
    return np.divide(pictures.transpose(0, 3, 2, 1), 255, dtype=np.float32, order="C")


def open_packed(source, cache=None, y=Box.y, progress=True, fast=False, threads=None, overwrite=False):
    """Open the packed array of a source of pictures; build it first when it is missing or out of date.

    64×64 pictures go in as they are, others are cropped on the way: by the tutorial's box, or to the middle square
    where the box does not fit. Each call compares the source's listing (names, sizes, and times, or the archive's
    CRCs; of a compressed tar archive its own size and time) with the one that the array was built from.

    Args:
        source: folder of pictures, cropped or not; zip archive of them; or a packed ``.npy`` itself.
        cache: where the ``.npy`` goes (a ``.json`` beside it); by default into the user's cache folder. An array
            that lies beside the source, where earlier versions put it, is read there as long as it is up to date.
        y: where the crop begins, for pictures that are not cropped.
        progress: show a bar, or plain lines, while building.
        fast: crop with scaled decoding, see `common.crop.crop_fast`.
        threads: for building; the cores by default.
        overwrite: build it anew, whatever is there.

    Returns:
        `PackedPictures`.

    Raises:
        UserError: the source is missing, damaged or empty; the array cannot be written, or ``cache`` is another file.
    """
    source = expanded(source)
    if source.suffix == ".npy":
        return PackedPictures(source)
    named = cache is not None
    cache = expanded(cache) if named else default_cache(source, y, fast)
    if cache.suffix != ".npy":
        raise UserError(f"the packed pictures need a name that ends in .npy, not {cache.name}")
    pictures = None if is_compressed_tar(source) else PictureFiles(source)
    way = {"version": VERSION, "y": y, "fast": fast}
    checksum = pictures.checksum(**way) if pictures else _stamp(source, way)
    why = ""
    for place in [cache] if named else [cache, beside(source, y, fast)]:
        if not place.exists() or overwrite:
            continue
        try:
            packed = PackedPictures(place)
            if packed.checksum == checksum and not any("does not fit" in reason for _, reason in packed.failed):
                return packed
            why = why or f"{source} or the way of cropping has changed: "
        except UserError as error:
            if named:
                raise UserError(f"{cache} is there and is no packed array ({error}); choose another name, or "
                                "--overwrite it") from error
            why = why or f"{place} is damaged: "
    build(pictures or PictureFiles(source), cache, Box(y=y), checksum, why, progress, fast, threads)
    return PackedPictures(cache)


def _stamp(path, way):
    """A checksum of a file by its size and time, without reading it."""
    info = path.stat()
    return hashlib.sha256(json.dumps([info.st_size, info.st_mtime_ns, way]).encode()).hexdigest()


def default_cache(source, y=Box.y, fast=False):
    """Where the packed pictures of a source lie: in the user's cache folder, under its name and a mark of its place."""
    old = beside(source, y, fast)
    mark = zlib.crc32(os.fsencode(old))
    return cache_folder("paddle/dataset/celeba") / old.name.replace(".packed", f"-{mark:08x}.packed")


def beside(source, y=Box.y, fast=False):
    """Where earlier versions put the packed pictures: beside the source."""
    source = source.resolve()
    name = source.stem if source.is_file() else source.name
    return source.with_name(f"{name}.packed" + (f"-y{y}" if y != Box.y else "") + ("-fast" if fast else "") + ".npy")


def build(pictures, cache, box, checksum, why="", progress=True, fast=False, threads=None):
    """Build the array of `PictureFiles` aside, and give it its name when all is done.

    Args:
        pictures: `PictureFiles`.
        cache: path of the ``.npy``.
        box: `Box`, for pictures that are not 64×64 already.
        checksum: of the pictures' listing and the way of cropping, to be kept beside the array.
        why: a first half of a line that tells why it is built anew.
        progress, fast, threads: as `open_packed` has them.

    Raises:
        UserError: it cannot be written, there is too little room, or none of the pictures can be used.
    """
    total = len(pictures.names)
    size = pictures.first_size()
    span = pictures.span()
    if progress or why:
        way = "" if size == (SIZE, SIZE) else f", cropping to {box.ends()[:2]}-{box.ends()[2:]} on the way"
        print(f"{why}packing {total} pictures from {pictures.path} into {cache}{way}", file=sys.stderr)
    pictures.announce()
    if span:
        print(span_note(span), file=sys.stderr)
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(cache)
        free, needed = shutil.disk_usage(cache.parent).free, total * SIZE * SIZE * 3
    except OSError as error:
        raise UserError(f"cannot write {cache}: {error.strerror}; mend that, or let tools/crop_celeba.py with an "
                        "--output that ends in .npy pack them elsewhere") from error
    if free < needed:  # a full disk under a memory map would kill the process
        raise UserError(f"{cache} needs {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free; free some space, or let "
                        "tools/crop_celeba.py with an --output that ends in .npy pack them elsewhere")
    about = cache.with_suffix(".json")
    with replacing(cache) as temporary:
        failed, squares = _pack(pictures, temporary, box, progress, fast, threads, span)
        about.unlink(missing_ok=True)  # from here to the end there is no valid pair
    names = [name for index, name in enumerate(pictures.names) if index not in failed]
    failed = sorted([(pictures.names[index], reason) for index, reason in failed.items()] + pictures.rejected)
    with replacing(about) as temporary:
        temporary.write_text(json.dumps({
            "version": VERSION, "source": str(pictures.path.resolve()), "checksum": checksum,
            "box": box.ends(), "fast": fast, "failed": failed, "names": names}), encoding="utf-8")
    if squares:
        print(f"{squares} of {len(names)} pictures are too low for the tutorial's box from {box.ends()[:2]} to "
              f"{box.ends()[2:]}: their middle square is taken", file=sys.stderr)
    for name, reason in failed[:SHOWN]:
        print(f"left out: {name}: {reason}", file=sys.stderr)
    if len(failed) > SHOWN:
        print(f"left out: {len(failed) - SHOWN} more, all listed in {about}", file=sys.stderr)


def _pack(pictures, path, box, progress, fast, threads, span):
    """Write the array; without the pictures that are bad.

    Returns:
        ({index: reason} of the bad ones, number of pictures of which the middle square was taken).
    """
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (len(pictures.names), SIZE, SIZE, 3))
    failed, squares = [], []

    def work(index):
        data = pictures.read(pictures.names[index])
        try:
            array[index] = _packed(data, box, fast, span)
        except DoesNotFit:
            image = read_image(data, span)
            array[index] = crop(image, Box.middle(*image.size))
            if image.size != (SIZE, SIZE):
                squares.append(index)

    in_threads(work, deque(range(len(array))), failed, threads, progress)
    if len(failed) == len(array):
        _, reason = min(failed + pictures.rejected, key=str)
        raise UserError(f"no picture in {pictures.path} can be used; the reason of one: {reason}")
    failed = dict(failed)
    if failed:
        array = _without(array, failed, path)
    array.flush()
    return failed, len(squares)


def _packed(data, box, fast, span):
    """A picture as it goes into the array: 64×64 pictures as they are, others cropped."""
    picture = crop_fast(data, box) if fast else None
    if picture is not None:
        return picture[:, :, ::-1]
    image = read_image(data, span)
    return image if image.size == (SIZE, SIZE) else crop(image, box)


def _without(array, failed, path):
    """The same array without some rows: the others move up, the file is written anew with what is left."""
    kept = np.flatnonzero([index not in failed for index in range(len(array))])
    shorter = path.with_suffix(".shorter")
    try:
        result = np.lib.format.open_memmap(shorter, "w+", np.uint8, (len(kept), SIZE, SIZE, 3))
        for start in range(0, len(kept), 1024):
            result[start:start + 1024] = array[kept[start:start + 1024]]
        shorter.replace(path)
    finally:
        shorter.unlink(missing_ok=True)
    return result


def _remove_leftovers(cache):
    """Take away the unfinished arrays of killed builds."""
    for path in cache.parent.glob(f".{cache.stem}.*.part*"):
        if time.time() - path.stat().st_mtime > LEFTOVER:
            path.unlink(missing_ok=True)
