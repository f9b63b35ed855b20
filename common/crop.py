"""Cropping CelebA to 64×64, after the section on data of the tutorial dcgan_face.

The short side is scaled to 64 (bilinear), then a box is cut out: 178×218 pictures become 64×78, and of
these rows 10 to 73 stay, as the tutorial's prose says. Its listing takes rows 20 to 83, of which the last six
do not exist and come out black.

A thread reads a picture's bytes, decodes, scales and encodes them in memory and writes them in one go. OpenCV
decodes where its pixels are the same as Pillow's, in two thirds of the time; Pillow scales, because
only Pillow's bilinear scaling gives the tutorial's pixels.
"""

import contextlib
import errno
import functools
import hashlib
import io
import itertools
import json
import os
import stat
import struct
import sys
import threading
import time
import zipfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from common.backend.runtime import cores
from common.errors import UserError
from common.files import replacing

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # EPS, for one, would start Ghostscript
SUFFIXES = (".jpg", ".jpeg", ".png")  # of the pictures that we write
LARGEST = 256 << 20  # bytes of a file that can be a picture
PLAIN_LINES_EVERY = 10  # seconds
DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
ORIENTATION = 0x112  # the EXIF tag


class BadPicture(Exception):
    """A picture that cannot be used. The message is the reason; it costs no other picture."""


@dataclass(frozen=True)
class Box:
    """What is cut out after the short side was scaled to ``size``: ``size`` × ``size`` pixels from (x, y) on.

    The default refuses pictures that it does not fit into. Another box was chosen on purpose: what it
    takes from outside the picture is black, as in the tutorial's listing.
    """

    x: int = 0
    y: int = 10
    size: int = 64

    def scaled(self, width, height):
        """The size to scale a picture of ``width`` × ``height`` to.

        The same as the tutorial's ``int(width // (min(width, height) / 64))``, in whole numbers.

        Raises:
            BadPicture: this is the default box, and it would reach beyond the scaled picture.
        """
        short = min(width, height)
        width, height = width * self.size // short, height * self.size // short
        if (self.x, self.y) == (Box.x, Box.y) and self.outside(width, height) != (0, 0):
            left, upper, right, lower = self.ends()
            raise BadPicture(f"{width}×{height} after scaling: the box from ({left},{upper}) to "
                             f"({right},{lower}) does not fit; --y {max(0, height - self.size)} would")
        return width, height

    def outside(self, width, height):
        """How many columns and rows of the box lie outside a scaled picture."""
        return max(0, self.x + self.size - width), max(0, self.y + self.size - height)

    def ends(self):
        """(left, upper, right, lower), as Pillow wants it."""
        return self.x, self.y, self.x + self.size, self.y + self.size


# ---- one picture -------------------------------------------------------------------------------------------


def read_file(path):
    """The bytes of a file that can be a picture.

    Raises:
        BadPicture: it is no file, as a pipe is not, which would be waited for; or it is too large.
        OSError: it cannot be read.
    """
    info = path.stat()
    if not stat.S_ISREG(info.st_mode):
        raise BadPicture("not a file")
    if info.st_size > LARGEST:
        raise BadPicture(f"{info.st_size:,} bytes are too many for a picture")
    return path.read_bytes()


def read_image(data):
    """A picture's bytes as an upright RGB Pillow image. Transparent pixels become white.

    Raises:
        BadPicture: empty, truncated, damaged, no picture, or too large to be decoded safely.
    """
    if not data:
        raise BadPicture("empty file")
    picture = _decode_plain_jpeg(data) if opencv_agrees() else None
    if picture is not None:
        height, width, _ = picture.shape
        return Image.frombuffer("RGB", (width, height), picture, "raw", "BGR", 0, 1)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > Image.MAX_IMAGE_PIXELS:
            raise BadPicture(f"{image.width}×{image.height} pixels: a decompression bomb?")
        image.load()
        if (image.format != "JPEG" or "exif" in image.info) and image.getexif().get(ORIENTATION, 1) != 1:
            image = ImageOps.exif_transpose(image)
        return image if image.mode == "RGB" else _rgb(image)
    except BadPicture:
        raise
    except UnidentifiedImageError:
        raise BadPicture("not a picture, or of an unknown format") from None
    except Exception as error:  # for damaged files Pillow raises nearly everything: OSError, SyntaxError, ...
        raise BadPicture(str(error).partition("\n")[0] or type(error).__name__) from error


def _rgb(image):
    """Any mode as RGB."""
    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow itself would cut off at 255 instead of scaling
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise BadPicture("grey values of more than 16 bits")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise BadPicture("floating-point grey values of unknown range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def crop(image, box):
    """An RGB Pillow image, scaled and cut as the tutorial does.

    Raises:
        BadPicture: see `Box.scaled`.
    """
    return image.resize(box.scaled(*image.size), Image.BILINEAR).crop(box.ends())


def crop_fast(data, box):
    """Decode a JPEG file at half its size or less, which saves most of the work, and scale the rest.

    Returns:
        uint8 array [size, size, 3], **BGR**; None when the file needs `read_image` and `crop`: not a plain
        whole JPEG, too small, of odd size, or with parts outside.

    Raises:
        BadPicture: as `Box.scaled`.
    """
    import cv2

    size = _plain_jpeg_size(data)
    if size is None:
        return None
    width, height = size
    scaled = box.scaled(width, height)
    factor = next((n for n in (8, 4, 2) if min(size) // n >= box.size and width % n == height % n == 0), None)
    if factor is None or box.outside(*scaled) != (0, 0):
        return None
    picture = _decode_plain_jpeg(data, f"IMREAD_REDUCED_COLOR_{factor}")
    if picture is None:
        return None
    left, upper, right, lower = box.ends()
    return cv2.resize(picture, scaled, interpolation=cv2.INTER_AREA)[upper:lower, left:right]


@functools.cache
def opencv_agrees():
    """Whether OpenCV is there and decodes a JPEG file to Pillow's pixels, as libjpeg-turbo does in both."""
    noise = np.random.RandomState(0).randint(0, 256, (12, 10, 3), np.uint8)
    image = Image.fromarray(noise).resize((178, 218), Image.BICUBIC)
    for options in {"quality": 75}, {"quality": 95, "subsampling": 0}, {"quality": 30, "progressive": True}:
        stream = io.BytesIO()
        image.save(stream, "JPEG", **options)
        try:
            picture = _decode_plain_jpeg(stream.getvalue())
        except ImportError:
            return False
        if picture is None or not np.array_equal(picture[:, :, ::-1], Image.open(stream)):
            return False
    return True


def _decode_plain_jpeg(data, flag="IMREAD_COLOR"):
    """uint8 [height, width, 3], BGR, of a plain JPEG file decoded by OpenCV; None for any other file."""
    import cv2

    if _plain_jpeg_size(data) is None:
        return None
    return cv2.imdecode(np.frombuffer(data, np.uint8), getattr(cv2, flag))


def _plain_jpeg_size(data):
    """(width, height) of a whole RGB JPEG file without EXIF; None for anything else."""
    if data[:2] != b"\xff\xd8" or data[-2:] != b"\xff\xd9":
        return None
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in (0xC0, 0xC1, 0xC2):  # the frame's header: precision, height, width, components
            height, width, components = struct.unpack_from(">HHB", data, at + 5)
            usable = components == 3 and 0 < width * height <= Image.MAX_IMAGE_PIXELS
            return (width, height) if usable else None
        if marker == 0xE1:
            return None
        at += 2 + int.from_bytes(data[at + 2:at + 4], "big")
    return None


def cropped_file(data, suffix, box, fast=False):
    """A picture's bytes → bytes of the cropped picture, encoded as JPEG of quality 75 or as PNG.

    Raises:
        BadPicture: see `read_image` and `Box.scaled`.
    """
    picture = crop_fast(data, box) if fast else None
    if picture is not None:
        import cv2

        return cv2.imencode(suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, 75])[1].data
    stream = io.BytesIO()
    crop(read_image(data), box).save(stream, "PNG" if suffix == ".png" else "JPEG")
    return stream.getbuffer()


# ---- many pictures -----------------------------------------------------------------------------------------


class PictureFiles:
    """The pictures of a folder, or of a zip archive without unpacking it.

    Attributes:
        path: the folder or archive.
        names: a file name for each cropped picture, sorted: the picture's own if that ends in .jpg, .jpeg or
            .png, else with .png for its ending.
        files: the pictures' own file names, in the order of ``names``.
        rejected: (name, reason) of what cannot be used, known without reading it.
        listing: (name, bytes, time or CRC) of each picture, in the order of ``names``.

    Raises:
        UserError: there is no such folder or archive, it is damaged, or holds no pictures.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.rejected = []
        self._places = {}
        if self.path.is_dir():
            self._list_folder()
        elif self.path.is_file():
            self._list_archive()
        else:
            raise UserError(f"no such folder or archive: {self.path}; name the folder of the pictures, "
                            "or img_align_celeba.zip itself")
        if not self._places and not self.rejected:
            inner = next((each for each in sorted(self.path.glob("*/")) if any(each.glob("*.jpg"))), None)
            raise UserError(f"{self.path} holds no pictures; "
                            + (f"did you mean {inner}?" if inner else "name the folder of the pictures"))
        self.names = sorted(self._places)
        self.files = [self._places[name][1] for name in self.names]
        self.listing = [(name, *self._places[name][2:]) for name in self.names]

    def _list_folder(self):
        self._read = self._read_file
        with os.scandir(self.path) as entries:
            for entry in entries:
                if _junk(entry.name):
                    continue
                try:
                    info = entry.stat()
                except OSError as error:  # a dangling link
                    self.rejected.append((entry.name, error.strerror))
                    continue
                if stat.S_ISREG(info.st_mode):
                    self._add(entry.name, entry.name, entry.path, info.st_size, info.st_mtime_ns)
                elif not stat.S_ISDIR(info.st_mode):
                    self.rejected.append((entry.name, "not a file"))
                elif Path(entry.name).suffix.lower() in SUFFIXES:
                    self.rejected.append((entry.name, "a folder, not a picture"))

    def _list_archive(self):
        try:
            # A file of ours: zipfile counts the readers of its own one, and closes it after the last.
            self._archive = zipfile.ZipFile(open(self.path, "rb"))  # noqa: SIM115
            members = self._archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
            raise UserError(f"{self.path} is not a zip archive, or is damaged ({error}); "
                            "download it again") from error
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror}") from error
        self._read = self._read_member
        for member in members:
            name = member.orig_filename
            path = PurePosixPath(name)
            climbs = name.startswith("/") or ".." in path.parts or "\\" in name or ":" in name
            if climbs or not name.isprintable():
                self.rejected.append((name, "unsafe name"))
            elif any(_junk(part) for part in path.parts):
                continue
            elif not member.is_dir():
                self._add(path.name, name, member, member.file_size, member.CRC)
            elif path.suffix.lower() in SUFFIXES:
                self.rejected.append((name, "a folder, not a picture"))

    def _add(self, base, name, place, size, mark):
        target = base if Path(base).suffix.lower() in SUFFIXES else f"{Path(base).stem}.png"
        if target in self._places:
            self.rejected.append((name, f"another picture is called {target} too"))
        elif size > LARGEST:
            self.rejected.append((name, f"{size:,} bytes are too many for a picture"))
        else:
            self._places[target] = place, base, size, mark

    def read(self, name):
        """The bytes of the picture that belongs to one of ``names``. Threads may call this at once.

        Raises:
            BadPicture: it cannot be read.
        """
        return self._read(self._places[name][0])

    def _read_file(self, path):
        try:
            with open(path, "rb", buffering=0) as stream:
                return stream.read()
        except OSError as error:
            raise BadPicture(error.strerror) from error

    def _read_member(self, member):
        try:
            return self._archive.read(member)
        except Exception as error:  # damaged: BadZipFile, zlib.error, EOFError; encrypted: RuntimeError; ...
            raise BadPicture(f"damaged in the archive: {error}") from error

    def checksum(self, **more):
        """SHA-256 of the listing, and of whatever else decides what comes of it."""
        return hashlib.sha256(json.dumps([self.listing, self.rejected, more]).encode()).hexdigest()

    def first_size(self):
        """(width, height) of the first picture that can be read, or None."""
        for name in itertools.islice(self.names, 100):
            try:
                return read_image(self.read(name)).size
            except BadPicture:
                continue
        return None


def _junk(name):
    """Files that systems leave behind, and our own unfinished ones."""
    return name.startswith(".") or name.lower() in ("__macosx", "thumbs.db", "desktop.ini")


def in_threads(work, todo, bad, threads=None, progress=True):
    """Call ``work`` for each item of a deque in a pool of threads, with a bar (or a plain line now and then).

    Args:
        work: function of an item.
        todo: deque, emptied. A run that ends early leaves in it what no thread has begun.
        bad: list, to which (item, reason) of each `BadPicture` is added.
        threads: how many; by default one for each core.

    Raises:
        Exception: whatever else ``work`` raises; the first such exception ends the run. So does Ctrl-C.
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
    threads, terminal = min(threads or cores(), max(1, total)), sys.stderr.isatty()
    with ThreadPoolExecutor(threads) as pool, \
            tqdm(total=total, unit=" pictures", disable=not progress or not terminal, leave=False,
                 dynamic_ncols=True) as bar:
        running, line = [pool.submit(run) for _ in range(threads)], start + PLAIN_LINES_EVERY
        try:
            while wait(running, 0.1).not_done:
                done = total - len(todo)
                bar.update(done - bar.n)
                if progress and not terminal and time.perf_counter() > line:
                    line += PLAIN_LINES_EVERY
                    rate = done / (time.perf_counter() - start)
                    print(f"{done} of {total} pictures, {rate:.0f} pictures/s", file=sys.stderr)
        finally:
            stop.set()
    for ended in running:
        ended.result()


@dataclass
class Summary:
    """What came of many pictures: how many are done, were skipped, and are left; (name, reason) of the failed."""

    done: int
    skipped: int
    failed: list
    left: int
    seconds: float


def crop_folder(pictures, output, box, threads=None, overwrite=False, fast=False, progress=True):
    """Crop `PictureFiles` into a folder. What is there already is skipped, so that a run can be continued.

    ``<output>.crop.json`` beside the folder keeps the box, lest two boxes get mixed.

    Args:
        pictures: `PictureFiles`.
        output: the folder.
        box: `Box`.
        threads: how many; by default one for each core.
        overwrite: crop again what is there already.
        fast: decode at half size, see `crop_fast`.
        progress: show a bar, or plain lines.

    Returns:
        A `Summary`. Ctrl-C ends the run early, with some left.

    Raises:
        UserError: the folder cannot be written, is the pictures' own, holds pictures of another box, or another process
            is cropping into it.
    """
    output = Path(output)
    if output.name in ("", ".."):  # "." has no name, and what lies beside it needs one
        output = output.resolve()
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is not a folder; choose another --output")
    if output.is_dir() and output.samefile(pictures.path):
        raise UserError(f"{output} holds the pictures themselves; choose another --output")
    held, there = _take(output, overwrite)
    with held:
        todo = deque(name for name in pictures.names if name not in there)
        skipped = len(pictures.names) - len(todo)
        record = {**asdict(box), "fast": fast}
        record_path = output.with_name(f"{output.name}.crop.json")
        if skipped:
            _check_record(record_path, record)
        # Until an overwriting run is through, old and new pictures lie side by side.
        _write_record(record_path, {**record, "unfinished": True} if overwrite else record)

        def work(name):
            path = output / name
            _put(path, cropped_file(pictures.read(name), path.suffix.lower(), box, fast))

        count, start, failed = len(todo), time.perf_counter(), []
        with contextlib.suppress(KeyboardInterrupt):
            in_threads(work, todo, failed, threads, progress)
            _write_record(record_path, record)
    return Summary(count - len(todo) - len(failed), skipped, sorted(failed + pictures.rejected), len(todo),
                   time.perf_counter() - start)


def _take(output, overwrite):
    """The folder's lock, held, and the names of the pictures that are there and stay."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        held = FileLock(output.with_name(f".{output.name}.crop.lock"), timeout=0).acquire()
        return held, set() if overwrite else {each.name for each in output.iterdir() if _finished(each)}
    except Timeout:
        raise UserError(f"another process is cropping into {output}; wait for it, or choose another --output") from None
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}; choose another --output") from error


def _finished(path):
    """A file with something in it: after a power failure a renamed file can be empty."""
    return path.is_file() and path.stat().st_size > 0


def _check_record(path, record):
    try:
        before = json.loads(path.read_text())
    except FileNotFoundError:
        return  # made by the tutorial's own script, perhaps
    except (OSError, ValueError):
        before = None
    if before != record:
        raise UserError(f"the pictures there were cropped otherwise, or an overwriting run was not finished: "
                        f"{path} says {before}, not {record}; "
                        "--overwrite crops all anew, or choose another --output")


def _write_record(path, record):
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(record) + "\n")


def _put(path, data):
    """Write aside and rename, like `common.files.replacing`, but without waiting for the disk each time.

    The temporary name is always the same, so that the next run takes away what a killed one has left.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with open(temporary, "wb", buffering=0) as stream:
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


def crop_like_the_tutorial(folder, output, y=20):
    """The tutorial's script: eight threads, each with an eighth of the folder's files, by path.

    The benchmark measures against it, and the tests compare pixels. A file that cannot be opened ends its
    thread, as it did there. One difference: the script lets truncated files pass as half-grey pictures.
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
