"""The faces as one memory-mapped array. It is built once; afterwards no epoch decodes a picture."""

import contextlib
import glob
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
from filelock import FileLock, Timeout
from PIL import Image

from common.crop import Box, DoesNotFit, crop, crop_fast, in_threads
from common.data.picture import UNREAD, BadPicture, Unread, read_image, span_note
from common.data.picture_files import PictureFiles
from common.data.sources import CACHE, is_compressed_tar
from common.errors import UserError, say
from common.files import NPY_FAULTS, cache_folder, exists, expanded, refuse_other, refuse_pipe, replacing

VERSION = 1
SIZE = Box.size
TUTORIALS_BOX = Box()
SHOWN = 50  # bad pictures that are printed one by one
LEFTOVER = 3600  # an unfinished array without a change for so many seconds is left over from a killed process


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
        pictures: `common.data.picture_files.PictureFiles`.
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
                picture, _ = _cropped(self.pictures.read(name), self.box, False, None)
            except BadPicture as error:
                reason = error
                continue
            self.seconds.append(time.perf_counter() - start)
            return np.asarray(picture)
        raise _no_picture(self.pictures, reason)


def array_bytes(count):
    """The bytes of an array of ``count`` pictures."""
    return count * SIZE * SIZE * 3


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
            else:
                if _readable(pictures, [name for name, reason in packed.failed if reason.startswith(UNREAD)]):
                    # Not of itself: a run that was trained without these pictures could not be resumed
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


def build(pictures, cache, box, checksum, why="", progress=True, fast=False, threads=None):
    """Build the array of `PictureFiles` under a temporary name, and rename it when it is complete.

    Args:
        pictures: `PictureFiles`.
        cache: path of the ``.npy``.
        box: `Box`, for pictures that are not 64×64 already.
        checksum: of the pictures' listing and the way of cropping; it is kept beside the array.
        why: why the array is built anew; the message begins with it.
        progress, fast, threads: as in `open_packed`.

    Raises:
        UserError: the array cannot be written, the disk has too little room, or none of the pictures can be used.
    """
    total = len(pictures.names)
    size = pictures.first_size()
    if size == (SIZE, SIZE):
        if box != TUTORIALS_BOX:
            print(f"note: the pictures in {pictures.path} have {SIZE}×{SIZE} pixels and are not cropped again; --x, "
                  "--y and --size concern larger pictures", file=sys.stderr)
    elif size:
        box.check(*size)
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
        check_room(cache, cache.parent, array_bytes(total))
    except OSError as error:
        raise UserError(f"cannot write {cache}: {error.strerror}; mend that, or let tools/crop_celeba.py with an "
                        "--output that ends in .npy pack them elsewhere") from error
    about = cache.with_suffix(".json")
    with replacing(cache) as temporary:
        failed, squares = _pack(pictures, temporary, box, progress, fast, threads, span)
        about.unlink(missing_ok=True)  # from here until both files are written, no ``.json`` vouches for the array
    names = [name for index, name in enumerate(pictures.names) if index not in failed]
    failed = sorted([(pictures.names[index], reason) for index, reason in failed.items()] + pictures.rejected)
    with replacing(about) as temporary:
        temporary.write_text(json.dumps({
            "version": VERSION, "source": str(pictures.path.resolve()), "checksum": checksum,
            "box": box.ends(), "fast": fast, "failed": failed, "names": names}), encoding="utf-8")
    if squares:
        print(f"the tutorial's box from {box.ends()[:2]} to {box.ends()[2:]} does not fit into low pictures, so their "
              f"middle square is taken: {squares} of {len(names)} pictures", file=sys.stderr)
    for name, reason in failed[:SHOWN]:
        say(f"left out: {name}: {reason}")
    if len(failed) > SHOWN:
        print(f"left out: {len(failed) - SHOWN} more, all listed in {about}", file=sys.stderr)


def check_room(what, folder, needed):
    """Refuse to write a file where too few bytes are free: a full disk under a memory map would kill the process.

    Raises:
        UserError: they are too few.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(f"{what} needs {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free in {folder}; free some "
                        "space, or let tools/crop_celeba.py with an --output that ends in .npy pack them elsewhere")


def _pack(pictures, path, box, progress, fast, threads, span):
    """Write the array without the bad pictures.

    Returns:
        ({index: reason} of the bad pictures, number of pictures that were cropped to their middle square).
    """
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (len(pictures.names), SIZE, SIZE, 3))
    failed, squares = [], []

    def work(index):
        array[index], square = _cropped(pictures.read(pictures.names[index]), box, fast, span)
        if square:
            squares.append(index)

    in_threads(work, deque(range(len(array))), failed, threads, progress)
    if len(failed) == len(array):
        _, reason = min(failed + pictures.rejected, key=str)
        raise _no_picture(pictures, reason)
    failed = dict(failed)
    if failed:
        array = _without(array, failed, path)
    array.flush()
    return failed, len(squares)


def _no_picture(pictures, reason):
    return UserError(f"no picture in {pictures.path} can be used; the reason of one: {reason}")


def _cropped(data, box, fast, span):
    """(a picture as the array holds it, whether its middle square was taken because the box did not fit)."""
    try:
        return _packed(data, box, fast, span), False
    except DoesNotFit:
        image = read_image(data, span)
        return crop(image, Box.middle(*image.size)), image.size != (SIZE, SIZE)


def _packed(data, box, fast, span):
    """A picture as the array holds it: a 64×64 picture as it is, any other picture cropped."""
    picture = crop_fast(data, box) if fast else None
    if picture is not None:
        return _scaled(Image.fromarray(picture[:, :, ::-1]))
    image = read_image(data, span)
    return image if image.size == (SIZE, SIZE) else _scaled(crop(image, box))


def _scaled(image):
    """A cropped Pillow image, scaled to 64×64 if the box had another size."""
    return image if image.size == (SIZE, SIZE) else image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)


def _without(array, failed, path):
    """Remove the failed pictures' rows from the array; the file is written anew with the rows that are left."""
    kept = np.flatnonzero([index not in failed for index in range(len(array))])
    shorter = path.with_suffix(".shorter")
    check_room("the array without the pictures that cannot be used", path.parent, array_bytes(len(kept)))
    try:
        result = np.lib.format.open_memmap(shorter, "w+", np.uint8, (len(kept), SIZE, SIZE, 3))
        for start in range(0, len(kept), 1024):
            result[start:start + 1024] = array[kept[start:start + 1024]]
        shorter.replace(path)
    finally:
        shorter.unlink(missing_ok=True)
    return result


def _remove_leftovers(cache):
    """Delete the unfinished arrays that killed processes have left."""
    for path in cache.parent.glob(f".{glob.escape(cache.stem)}.*.part*"):
        if time.time() - path.stat().st_mtime > LEFTOVER:
            path.unlink(missing_ok=True)
