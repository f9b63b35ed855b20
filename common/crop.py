"""Cropping CelebA to 64×64, after the section on data of the tutorial dcgan_face.

The short side is scaled to 64 (bilinear), then a box is cut out. A 178×218 picture becomes 64×78, and its rows 10 to
73 stay, as the tutorial's prose says. The tutorial's listing takes rows 20 to 83; the last six of them do not exist
and come out black.

A thread reads a picture's bytes, decodes, scales and encodes them in memory and writes them in one go. Pillow
scales, because only Pillow's bilinear scaling gives the tutorial's pixels.
"""

import contextlib
import errno
import io
import itertools
import json
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from PIL import Image, ImageFile
from tqdm import tqdm

from common.backend.runtime import cores
from common.errors import NO_ROOM, UserError, terminal
from common.files import CROP_RECORD, junk, no_link, replacing
from common.pictures.picture import BadPicture, decode_plain_jpeg, plain_jpeg_size, read_image, span_note
from common.pictures.sources import KEPT_SUFFIXES

PLAIN_LINES_EVERY = 10  # seconds
DISK_TROUBLE = NO_ROOM | {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


class DoesNotFit(BadPicture):
    """A picture that is smaller than the tutorial's box after scaling."""


@dataclass(frozen=True)
class Box:
    """The square that is cut out of a scaled picture: ``size`` × ``size`` pixels from (x, y) on.

    The picture's short side is scaled to ``size`` first. The default box refuses a picture that it does not fit into.
    Any other box was chosen on purpose: its pixels outside of the picture are black, as in the tutorial's listing.
    """

    x: int = 0
    y: int = 10
    size: int = 64

    def scaled(self, width, height):
        """The size that a picture of ``width`` × ``height`` is scaled to.

        It equals the tutorial's ``int(width // (min(width, height) / 64))``, computed in whole numbers.

        Raises:
            DoesNotFit: this is the default box, and it would reach beyond the scaled picture.
        """
        short = min(width, height)
        width, height = width * self.size // short, height * self.size // short
        if (self.x, self.y) == (Box.x, Box.y) and self.outside(width, height) != (0, 0):
            left, upper, right, lower = self.ends()
            raise DoesNotFit(f"{width}×{height} after scaling: the box from ({left},{upper}) to "
                             f"({right},{lower}) does not fit; --y {max(0, height - self.size)} would")
        return width, height

    @classmethod
    def middle(cls, width, height):
        """The box of the middle square of a picture of ``width`` × ``height``."""
        short = min(width, height)
        return cls((width * cls.size // short - cls.size) // 2, (height * cls.size // short - cls.size) // 2)

    def outside(self, width, height):
        """How many columns and rows of the box lie outside a scaled picture."""
        return max(0, self.x + self.size - width), max(0, self.y + self.size - height)

    def check(self, width, height):
        """Refuse a box that lies beside a picture of ``width`` × ``height``; warn if it reaches beyond it.

        Raises:
            UserError: no pixel of the picture is in the box.
        """
        try:
            width, height = self.scaled(width, height)
        except DoesNotFit:
            return
        left, upper, right, lower = self.ends()
        if left >= width or upper >= height:
            raise UserError(f"the box from ({left},{upper}) to ({right},{lower}) lies beside the pictures, which have "
                            f"{width}×{height} pixels after scaling; choose a smaller --x or --y")
        columns, rows = self.outside(width, height)
        for count, what in ((columns, "columns at the right"), (rows, "rows at the bottom")):
            if count:
                print(f"warning: the box from ({left},{upper}) reaches beyond the pictures: {count} black {what}, in "
                      "the first one at least; the default (0,10) has none", file=sys.stderr)

    def ends(self):
        """(left, upper, right, lower), as Pillow wants it."""
        return self.x, self.y, self.x + self.size, self.y + self.size


def crop(image, box):
    """An RGB Pillow image, scaled and cut as the tutorial does.

    Raises:
        BadPicture: see `Box.scaled`; or the picture is so long and thin that it would be huge when scaled.
    """
    width, height = box.scaled(*image.size)
    if width * height > Image.MAX_IMAGE_PIXELS:
        raise BadPicture(f"{image.width}×{image.height} pixels: so thin that it has {width}×{height} after scaling")
    return image.resize((width, height), Image.BILINEAR).crop(box.ends())


def crop_fast(data, box):
    """Decode a JPEG file at half its size or less, which saves most of the work, and scale the rest.

    Returns:
        uint8 array [size, size, 3], **BGR**. None when the file needs `read_image` and `crop`: it is not a plain
        whole JPEG, the picture is too small or of odd size, or the box reaches outside of it.

    Raises:
        BadPicture: as `Box.scaled`.
    """
    import cv2

    size = plain_jpeg_size(data)
    if size is None:
        return None
    width, height = size
    scaled = box.scaled(width, height)
    factor = next((n for n in (8, 4, 2) if min(size) // n >= box.size and width % n == height % n == 0), None)
    if factor is None or box.outside(*scaled) != (0, 0):
        return None
    picture = decode_plain_jpeg(data, f"IMREAD_REDUCED_COLOR_{factor}")
    if picture is None:
        return None
    left, upper, right, lower = box.ends()
    return cv2.resize(picture, scaled, interpolation=cv2.INTER_AREA)[upper:lower, left:right]


def cropped_file(data, suffix, box, fast=False, span=None):
    """Crop a picture: from the bytes of its file to the bytes of a JPEG of quality 75, or of a PNG.

    ``span`` as in `common.pictures.picture.read_image`.

    Raises:
        BadPicture: see `read_image` and `Box.scaled`.
    """
    picture = crop_fast(data, box) if fast else None
    if picture is not None:
        import cv2

        return cv2.imencode(suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, 75])[1].data
    stream = io.BytesIO()
    crop(read_image(data, span), box).save(stream, "PNG" if suffix == ".png" else "JPEG")
    return stream.getbuffer()


# ---- many pictures -----------------------------------------------------------------------------------------


def in_threads(work, todo, bad, threads=None, progress=True):
    """Call ``work`` for each item of a deque in a pool of threads, with a bar (or a plain line now and then).

    Args:
        work: function of an item.
        todo: deque, which is emptied. After an early end it holds the items that no thread has begun.
        bad: list, to which (item, reason) of each `BadPicture` is added.
        threads: how many; by default one for each core.

    Raises:
        Exception: the first exception of ``work`` other than `BadPicture`. It ends the run, and so does Ctrl-C.
    """
    stop = threading.Event()

    def run():
        while not stop.is_set():
            try:
                item = todo.popleft()
            except IndexError:
                return
            try:
                work(item)
            except BadPicture as error:
                bad.append((item, str(error)))
            except BaseException:
                stop.set()
                raise

    total, start = len(todo), time.perf_counter()
    threads, seen = min(threads or cores(), max(1, total)), terminal()
    with ThreadPoolExecutor(threads) as pool, \
            tqdm(total=total, unit=" pictures", disable=not progress or not seen, leave=False,
                 dynamic_ncols=True) as bar:
        running, line = [pool.submit(run) for _ in range(threads)], start + PLAIN_LINES_EVERY
        try:
            while wait(running, 0.1).not_done:
                done = total - len(todo)
                bar.update(done - bar.n)
                if progress and not seen and time.perf_counter() > line:
                    line += PLAIN_LINES_EVERY
                    rate = done / (time.perf_counter() - start)
                    print(f"{done} of {total} pictures, {rate:.0f} pictures/s", file=sys.stderr)
        finally:
            stop.set()
    for ended in running:
        ended.result()


@dataclass
class Summary:
    """The result for many pictures: how many are done, skipped and left; (name, reason) of each failed picture."""

    done: int
    skipped: int
    failed: list
    left: int
    seconds: float


def crop_folder(pictures, output, box, threads=None, overwrite=False, fast=False, progress=True):
    """Crop `PictureFiles` into a folder. Pictures that are there already are skipped, so a run can be continued.

    ``<output>.crop.json`` beside the folder records the box, so that pictures of two boxes do not get mixed.

    Args:
        pictures: `PictureFiles`.
        output: the folder.
        box: `Box`.
        threads: how many; by default one for each core.
        overwrite: crop pictures again that are there already.
        fast: decode at half size, see `crop_fast`.
        progress: show a bar, or plain lines.

    Returns:
        A `Summary`. Ctrl-C ends the run early, with some pictures left.

    Raises:
        UserError: the folder cannot be written, is the source folder, or holds the pictures uncropped or pictures of
            another box; or another process is cropping into it.
    """
    output = Path(output)
    if output.name in ("", ".."):  # "." has no name, and the record beside the folder needs it
        output = output.resolve()
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is not a folder; choose another --output")
    if output.is_dir() and output.samefile(pictures.path):
        raise UserError(f"{output} holds the pictures themselves; choose another --output")
    record = {**asdict(box), "fast": fast}
    record_path = output.with_name(output.name + CROP_RECORD)
    held, there = _take(output)
    with held:
        if not record_path.exists():
            _refuse_originals(output, there.intersection(pictures.names), box)
        todo = deque(name for name in pictures.names if overwrite or name not in there)
        skipped = len(pictures.names) - len(todo)
        if stay := there.difference(pictures.names if overwrite else ()):
            _check_record(record_path, record, min(stay) if overwrite else "")
        same = _recorded(record_path) == record  # then the crops there are as good as new ones
        # Until a run with ``overwrite`` has ended, the folder holds both old and new pictures.
        _write_record(record_path, {**record, "unfinished": True} if overwrite else record)

        span = pictures.span() if todo else None
        if span:
            print(span_note(span), file=sys.stderr)

        def work(name):
            path = output / name
            _put(path, cropped_file(pictures.read(name), path.suffix.lower(), box, fast, span))

        count, start, failed = len(todo), time.perf_counter(), []
        with contextlib.suppress(KeyboardInterrupt):
            in_threads(work, todo, failed, threads, progress)
            for name, _ in failed if overwrite and not same else ():  # its old crop may be of another box
                with contextlib.suppress(OSError):
                    (output / name).unlink()
            _write_record(record_path, record)
    return Summary(count - len(todo) - len(failed), skipped, sorted(failed + pictures.rejected), len(todo),
                   time.perf_counter() - start)


def _take(output):
    """Lock the folder: (the lock, the names of the pictures that are there)."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        held = FileLock(output.with_name(f".{output.name}.crop.lock"), timeout=0).acquire()
        return held, {each.name for each in output.iterdir()
                      if each.suffix.lower() in KEPT_SUFFIXES and not junk(each.name) and _finished(each)}
    except Timeout:
        raise UserError(f"another process is cropping into {output}; wait for it, or choose another --output") from None
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}; choose another --output") from error


def _finished(path):
    """Whether a file exists and is not empty; after a power failure a renamed file can be empty."""
    return path.is_file() and path.stat().st_size > 0


def _refuse_originals(output, names, box):
    """Refuse a folder of uncropped pictures: they would be passed over as if they were done, or be replaced.

    Args:
        output: the folder.
        names: of its pictures that the source has, too.
        box: `Box`.

    Raises:
        UserError: one of the pictures has another size than the box.
    """
    if not names:
        return
    with contextlib.suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError), \
            Image.open(output / min(names)) as image:
        if image.size != (box.size, box.size):
            raise UserError(f"{output} holds pictures of {image.width}×{image.height} pixels that this command has "
                            "not made; choose another --output")


def _recorded(path):
    """The record of a folder; None if it is missing or damaged."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text())
    return None


def _check_record(path, record, stays=""):
    """Refuse a folder whose pictures were cropped otherwise. ``stays``: one that no new picture will replace."""
    before = _recorded(path)
    if before == record or not path.exists():  # without a record: the tutorial's own script may have made the folder
        return
    says = f"{path} says {before}, not {record}"
    if stays:
        raise UserError(f"{stays} stays in the folder and was cropped otherwise: {says}; choose another --output")
    raise UserError(f"the pictures there were cropped otherwise, or an overwriting run was not finished: {says}; "
                    "--overwrite crops all anew, or choose another --output")


def _write_record(path, record):
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(record) + "\n")


def _put(path, data):
    """Write under a temporary name and rename, like `common.files.replacing`, but without waiting for the disk.

    A picture's temporary name is fixed, so that the next run replaces the file that a killed run has left.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with open(temporary, "wb", opener=no_link) as stream:
            stream.write(data)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if error.errno in DISK_TROUBLE:
            raise UserError(f"cannot write {path}: {error.strerror}; "
                            "mend that, and run again to continue") from error
        raise BadPicture(f"cannot be written: {error.strerror}") from error


# ---- the tutorial's own way, to compare with ---------------------------------------------------------------


def crop_like_the_tutorial(folder, output, y):
    """Crop as the tutorial's script does: eight threads, each with an eighth of the folder's files, by path.

    The benchmark measures against it, and the tests compare pixels. A file that cannot be opened ends its thread, as
    in the script. One difference: the script turns a truncated file into a half-grey picture.
    """
    assert not ImageFile.LOAD_TRUNCATED_IMAGES

    def convert(path):
        image = Image.open(path)
        width, height = image.size
        rate = min(width, height) / 64
        try:
            image = image.resize((int(width // rate), int(height // rate)), Image.BILINEAR)
            image = image.crop((0, y, 64, 64 + y))
            image.save(Path(output) / Path(path).name)
        except Exception as error:
            print(error)

    def run(paths):
        for path in paths:
            convert(path)

    paths = [str(each) for each in Path(folder).iterdir()]
    ends = [int(len(paths) / 8 * part) for part in range(9)]
    Path(output).mkdir(exist_ok=True)
    threads = [threading.Thread(target=run, args=(paths[a:b],)) for a, b in itertools.pairwise(ends)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
