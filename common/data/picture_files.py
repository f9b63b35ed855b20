"""The picture files of a folder, or of a zip archive without unpacking it."""

import hashlib
import itertools
import json
import os
import stat
import zipfile
from pathlib import Path, PurePosixPath

from common.data.picture import LARGEST, BadPicture, read_image
from common.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png")  # of the pictures that are written: these keep their names


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
