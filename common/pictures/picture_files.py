"""The picture files of a folder and its sub-folders, or of a zip or tar archive without unpacking it."""

import contextlib
import hashlib
import itertools
import json
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np

from common.errors import UserError, say
from common.files import CROP_RECORD, expanded, junk
from common.pictures.picture import LARGEST, BadPicture, common_span, decode, extremes, is_picture, size_of
from common.pictures.sources import HEAD, KEPT_SUFFIXES, source

SHOWN = 3  # names in a message about files that are passed over


class PictureFiles:
    """The pictures of a folder and its sub-folders, or of an archive without unpacking it.

    The operating system's own files and the files that our commands have written are passed over.

    Attributes:
        path: the folder or archive.
        names: a file name for each cropped picture, sorted. It is the picture's own name; the ending becomes .png
            unless it is .jpg, .jpeg or .png. If two names would be equal, the folder's name goes before them.
        files: the pictures' own paths in the folder or archive, in the order of ``names``.
        rejected: (path, reason) of pictures that cannot be used, as far as that is known without reading them.
        others: paths of files that are no pictures.
        listing: (name, bytes, time or CRC) of each picture, in the order of ``names``.

    Raises:
        UserError: there is no such folder or archive, it is damaged or in an unknown format, or it has no pictures.

    Args:
        path: of the folder or archive.
        write: False leaves a compressed tar archive packed, which makes reading slow.
    """

    def __init__(self, path, write=True):
        self.path = expanded(path)
        self.rejected, self.others, self._places = [], [], {}
        self._source = source(self.path, write)
        found = [member for member in self._source.members()
                 if not any(junk(part) for part in PurePosixPath(member.path).parts)]
        self._sort_out(found)
        if not self._places:
            raise UserError(self._nothing(found))
        self.names = sorted(self._places)
        self.files = [self._places[name].path for name in self.names]
        self.listing = [(name, self._places[name].size, self._places[name].mark) for name in self.names]

    def _sort_out(self, found):
        """Sort the members into pictures, rejected pictures and other files."""
        pictures = []
        for member in found:
            name = PurePosixPath(member.path).name
            if member.problem:
                self.rejected.append((member.path, member.problem))
            elif not is_picture(name, lambda place=member.place: self._head(place)):
                self.others.append(member.path)
            elif member.size > LARGEST:
                self.rejected.append((member.path, f"{member.size:,} bytes are too many for a picture"))
            else:
                pictures.append(member)
        short = Counter(_target(PurePosixPath(member.path).name) for member in pictures)
        for member in pictures:
            name = PurePosixPath(member.path).name
            target = _target(name)
            if short[target] > 1:
                whole = member.path.replace("/", "_")
                target = whole if whole.lower().endswith(KEPT_SUFFIXES) else f"{whole}.png"
            if target in self._places:
                self.rejected.append((member.path, f"another picture is called {target} too"))
            else:
                self._places[target] = member

    def _nothing(self, found):
        """The message for a source without pictures."""
        if self.rejected:
            reason, count = Counter(reason for _, reason in self.rejected).most_common(1)[0]
            return (f"no picture in {self.path} can be used; the reason of {count} of the {len(self.rejected)} files: "
                    f"{reason}")
        archives = [member.path for member in found if member.path.lower().endswith((".zip", ".tar", ".gz", ".tgz"))]
        crops = [each.with_name(each.name.removesuffix(CROP_RECORD))
                 for each in sorted(self.path.glob("*" + CROP_RECORD))]
        if crops:
            return f"{self.path} holds no pictures but what tools/crop_celeba.py has cropped; did you mean {crops[0]}?"
        if archives and self.path.is_dir():
            return f"{self.path} holds no pictures; did you mean {self.path / archives[0]}?"
        if archives:
            return f"{self.path} holds no pictures, but the archive {archives[0]}; unpack it"
        return f"{self.path} holds no pictures; name the folder of the pictures"

    def _head(self, place):
        try:
            return self._source.read(place, HEAD)
        except BadPicture:
            return b""

    def read(self, name):
        """The bytes of the picture that belongs to one of ``names``. Several threads may call this at the same time.

        Raises:
            BadPicture: it cannot be read.
        """
        return self._source.read(self._places[name].place)

    def checksum(self, **more):
        """SHA-256 of the listing and of ``more``, the values that decide what is made of the pictures."""
        return hashlib.sha256(json.dumps([self.listing, self.rejected, more]).encode()).hexdigest()

    def first(self):
        """The first picture that can be read, see `common.pictures.picture.decode`; or None."""
        for name in itertools.islice(self.names, 100):
            with contextlib.suppress(BadPicture):
                return decode(self.read(name))
        return None

    def first_size(self):
        """(width, height) of the first picture that can be read, or None."""
        picture = self.first()
        return None if picture is None else size_of(picture)

    def span(self):
        """Black and white of pictures with more than 8 bits a channel, see `common.pictures.picture.common_span`.

        If the first picture has more than 8 bits, all pictures are read for it. If not, the result is None.
        """
        if not isinstance(self.first(), np.ndarray):
            return None
        found = []
        for name in self.names:
            with contextlib.suppress(BadPicture):
                found.append(extremes(decode(self.read(name))))
        return common_span(found)

    def announce(self):
        """Say on stderr which files are passed over because they are no pictures."""
        if self.others:
            more = f" and {len(self.others) - SHOWN} more" if len(self.others) > SHOWN else ""
            say(f"passed over, for they are no pictures: {', '.join(self.others[:SHOWN])}{more}")


def _target(name):
    """The name of the cropped picture."""
    return name if Path(name).suffix.lower() in KEPT_SUFFIXES else f"{Path(name).stem}.png"
