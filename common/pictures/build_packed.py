"""Build the packed array of faces: decode or crop each picture once, leave out the bad ones, and say which."""

import glob
import json
import shutil
import sys
import time
from collections import deque

import numpy as np
from PIL import Image

from common.crop import Box, DoesNotFit, crop, crop_fast, in_threads
from common.errors import UserError, say
from common.files import replacing
from common.pictures.picture import read_image, span_note

VERSION = 1
SIZE = Box.size
TUTORIALS_BOX = Box()
SHOWN = 50  # bad pictures that are printed one by one
LEFTOVER = 3600  # an unfinished array without a change for so many seconds is left over from a killed process


def array_bytes(count):
    """The bytes of an array of ``count`` pictures."""
    return count * SIZE * SIZE * 3


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
        array[index], square = cropped(pictures.read(pictures.names[index]), box, fast, span)
        if square:
            squares.append(index)

    in_threads(work, deque(range(len(array))), failed, threads, progress)
    if len(failed) == len(array):
        _, reason = min(failed + pictures.rejected, key=str)
        raise no_picture(pictures, reason)
    failed = dict(failed)
    if failed:
        array = _without(array, failed, path)
    array.flush()
    return failed, len(squares)


def no_picture(pictures, reason):
    return UserError(f"no picture in {pictures.path} can be used; the reason of one: {reason}")


def cropped(data, box, fast, span):
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
