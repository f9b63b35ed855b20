"""The faces as one memory-mapped array. It is built once; afterwards no epoch decodes a picture."""

import contextlib
import hashlib
import json
import os
import sys
import time
import zlib
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from common.crop import Box
from common.errors import UserError, say
from common.files import NPY_FAULTS, cache_folder, exists, expanded, refuse_other, refuse_pipe
from common.pictures.build_packed import SIZE, TUTORIALS_BOX, VERSION, array_bytes, build, cropped, no_picture
from common.pictures.picture import UNREAD, BadPicture, Unread
from common.pictures.picture_files import PictureFiles
from common.pictures.sources import CACHE, is_compressed_tar


class PackedPictures:
    """Pictures in a memory-mapped array; ``len`` and indexing read it, processes share it.

    Attributes:
        array: uint8 memory map [N, 64, 64, 3], RGB, sorted by name.
        names: the N file names.
        failed: [name, reason] of the pictures that were left out.
        checksum: of the listing and the way of cropping; equal checksums mean equal arrays, unless some pictures could
            not be read for a while.
        source: the folder or archive.
        path: of the ``.npy`` file; a ``.json`` file beside it has the other attributes.
    """

    def __init__(self, path):
        self.path = Path(path)
        refuse_pipe(self.path)
        record = self.path.with_suffix(".json")
        refuse_pipe(record)
        for needed in self.path, record:
            if not exists(needed):
                raise UserError(f"there is no {needed}; tools/crop_celeba.py packs pictures into two files, .npy and "
                                ".json: put both there, or name the folder or archive of the pictures")
        try:
            about = json.loads(record.read_text(encoding="utf-8"))
            self.array = np.load(self.path, mmap_mode="r", allow_pickle=False)
            self.names, self.failed = about["names"], about["failed"]
            self.checksum, self.source = about["checksum"], Path(about["source"])
            fits = self.array.dtype == np.uint8 and self.array.shape == (len(self.names), SIZE, SIZE, 3)
            if about["version"] != VERSION or not fits:
                raise ValueError("other contents than expected")
        except (*NPY_FAULTS, KeyError, AttributeError) as error:
            raise UserError(f"cannot read the packed pictures {self.path}: {error}; "
                            "name the folder or archive that it was made of, and it is built anew") from error

    def __len__(self):
        return len(self.array)

    def __getitem__(self, indices):
        """uint8 array [B, 64, 64, 3] in memory for B indices or a slice, [64, 64, 3] for one index."""
        return np.array(self.array[indices], subok=False)

    def __reduce__(self):  # worker processes map the file themselves; pickling would copy the whole array
        return PackedPictures, (self.path,)


class UnpackedPictures:
    """Pictures that are not packed yet, for a dry run: each is decoded when it is asked for.

    Args:
        pictures: `common.pictures.picture_files.PictureFiles`.
        path: of the array that a run would build of them.
        box: `common.crop.Box`.

    Attributes:
        names, failed, source: as in `PackedPictures`.
        bytes: of the array that a run would build.
        seconds: for each picture that was decoded, how long it took.
    """

    def __init__(self, pictures, path, box):
        self.pictures, self.path, self.box = pictures, path, box
        self.names, self.failed, self.source = pictures.names, pictures.rejected, pictures.path
        self.bytes, self.seconds = array_bytes(len(self.names)), []
        size = pictures.first_size()
        if size and size != (SIZE, SIZE):
            box.check(*size)

    def __len__(self):
        return len(self.names)

    def __getitem__(self, indices):
        """uint8 array [B, 64, 64, 3] for B indices; in place of a bad picture the next good one is taken.

        Raises:
            UserError: none of the pictures can be used.
        """
        return np.array([self._decoded(index) for index in indices])

    def _decoded(self, index):
        for number in range(index, index + len(self.names)):
            start, name = time.perf_counter(), self.names[number % len(self.names)]
            try:
                picture, _ = cropped(self.pictures.read(name), self.box, False, None)
            except BadPicture as error:
                reason = error
                continue
            self.seconds.append(time.perf_counter() - start)
            return np.asarray(picture)
        raise no_picture(self.pictures, reason)


def open_packed(source, cache=None, box=TUTORIALS_BOX, progress=True, fast=False, threads=None, overwrite=False,
                write=True):
    """Open the packed array of a source of pictures; build it first when it is missing or out of date.

    64×64 pictures are stored as they are. Pictures of other sizes are cropped, and scaled to 64×64 if the box has
    another size. If the tutorial's box does not fit into a picture, its middle square is taken. Each call compares the
    source's listing with the listing that the array was built from: names, sizes and times of a folder; the CRCs of an
    archive; size and time of a compressed tar archive.

    Args:
        source: folder of pictures, cropped or not; zip or tar archive of pictures; or a packed ``.npy`` itself.
        cache: path of the ``.npy`` (with a ``.json`` beside it); by default in the user's cache folder. Earlier
            versions put the array beside the source; it is read there as long as it is up to date.
        box: `common.crop.Box`, for pictures that are not cropped.
        progress: show a bar, or plain lines, while building.
        fast: crop with scaled decoding, see `common.crop.crop_fast`.
        threads: how many build the array; by default one for each core.
        overwrite: build the array anew even if it is up to date.
        write: False builds nothing.

    Returns:
        `PackedPictures`; without ``write`` `UnpackedPictures`, where the array is missing or out of date.

    Raises:
        UserError: the source is missing, damaged or empty; the box lies beside the pictures; the array cannot be
            written, or ``cache`` is another file.
    """
    source = expanded(source)
    if source.suffix == ".npy":
        if box != TUTORIALS_BOX:
            raise UserError(f"{source} is cropped already; leave --x, --y and --size out, or name the pictures")
        return PackedPictures(source)
    named = cache is not None
    cache = expanded(cache) if named else default_cache(source, box, fast)
    if cache.suffix != ".npy":
        raise UserError(f"the packed pictures need a name that ends in .npy, not {cache.name}")
    if named and cache.with_suffix(".json").is_file():
        refuse_other(cache.with_suffix(".json"), b'"checksum"', "record of packed pictures")
    pictures = None if is_compressed_tar(source) else PictureFiles(source, write)
    way = {"version": VERSION, "y": box.y, "fast": fast}
    if (box.x, box.size) != (Box.x, SIZE):
        way |= {"x": box.x, "size": box.size}
    checksum = pictures.checksum(**way) if pictures else _stamp(source, way)
    why = ""
    places = [cache] if named else [cache, beside(source, box, fast)]
    if not overwrite:
        found, why = _up_to_date(source, places, checksum, named, pictures)
        if found:
            return found
    if not write:
        return UnpackedPictures(pictures or PictureFiles(source, write), cache, box)
    with _alone(cache):
        if not overwrite:  # another process may have packed them in the meantime
            found, why = _up_to_date(source, places, checksum, named, pictures)
            if found:
                return found
        build(pictures or PictureFiles(source), cache, box, checksum, why, progress, fast, threads)
        return PackedPictures(cache)


@contextlib.contextmanager
def _alone(cache):
    """Hold the lock of an array, so that no other process packs it.

    Where the lock cannot be written, as in a cache folder that may only be read, the array is packed without it.
    """
    folder = cache_folder(CACHE)
    lock = FileLock(folder / f".{zlib.crc32(os.fsencode(cache.resolve())):08x}.lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        print(f"another process is packing {cache}; waiting for it", file=sys.stderr)
        lock.acquire(timeout=-1)
    except (OSError, NotImplementedError):  # `build` reports a folder that cannot be written
        pass
    try:
        yield
    finally:
        lock.release()


def _up_to_date(source, places, checksum, named, pictures):
    """(`PackedPictures` from the first of ``places`` that is up to date, or None; why there is none, in words)."""
    why = ""
    for place in filter(Path.exists, places):
        try:
            packed = PackedPictures(place)
            if packed.checksum != checksum or any("does not fit" in reason for _, reason in packed.failed):
                why = why or f"{source} or the way of cropping has changed: "
                continue
            if _readable(pictures, [name for name, reason in packed.failed if reason.startswith(UNREAD)]):
                # They are not packed unasked: a run that was trained without them could not be resumed
                say(f"note: {place} lacks pictures that could not be read when it was packed, and can be now; "
                    "delete it, and all are packed")
            return packed, ""
        except UserError as error:
            if named:
                raise UserError(f"{place} is there and is no packed array ({error}); choose another name, or "
                                "--overwrite it") from error
            why = why or f"{place} is damaged: "
    return None, why


def _readable(pictures, names):
    """Whether the system can read one of these pictures; those of a compressed archive are not tried."""
    for name in names if pictures else ():
        try:
            pictures.read(name)
        except Unread:
            continue
        except BadPicture:  # it can be read, and is damaged
            pass
        return True
    return False


def _stamp(path, way):
    """A checksum of a file by its size and time, without reading it."""
    info = path.stat()
    return hashlib.sha256(json.dumps([info.st_size, info.st_mtime_ns, way]).encode()).hexdigest()


def default_cache(source, box=TUTORIALS_BOX, fast=False):
    """The path of a source's packed pictures in the user's cache folder: the source's name and a hash of its path."""
    old = beside(source, box, fast)
    mark = zlib.crc32(os.fsencode(old))
    return cache_folder(CACHE) / old.name.replace(".packed", f"-{mark:08x}.packed")


def beside(source, box=TUTORIALS_BOX, fast=False):
    """The path where earlier versions put the packed pictures: beside the source."""
    source = source.resolve()
    name = source.stem if source.is_file() else source.name
    of_box = "".join(f"-{sign}{value}" for sign, value, usual in (
        ("x", box.x, Box.x), ("y", box.y, Box.y), ("s", box.size, SIZE)) if value != usual)
    return source.with_name(f"{name}.packed{of_box}" + ("-fast" if fast else "") + ".npy")
