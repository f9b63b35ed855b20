"""Features of pictures for which the project has no classifier: faces, a user's own. They need no download."""

from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import checksum

SIDE = 64  # pixels that all pictures are brought to
CELL = 16  # pixels of a cell of gradients, and of the grid of colours
DIRECTIONS = 8
GRADIENTS = 3.4  # weight of the gradients: with it they vary about as much as the colours, over CelebA's faces


class HogColour:
    """Features of edges and coarse colours.

    There are 176: a histogram of oriented gradients (Dalal and Triggs 2005) with 8 directions in each of 4×4 cells, and
    the 48 mean colours of the same cells. They depend on the build, the colours and the light of a face, not on the
    texture of its skin. A distance by them can be compared between runs of this project, not with published distances.
    """

    name = "hog-colour-176"
    labels = size = None  # it knows no classes, and takes pictures of any size

    def features(self, pictures):
        """The features, float32 [n, 176].

        Args:
            pictures: [n, H, W, 3] or [n, H, W, 1], float32 in [-1, 1]; they are resized to 64×64.
        """
        return np.stack([self._one(picture) for picture in _coloured(pictures, SIDE)])

    def _one(self, picture):
        from skimage.feature import hog

        edges = hog(picture, DIRECTIONS, (CELL, CELL), (2, 2), feature_vector=False, channel_axis=-1)
        # The 3×3 blocks of 2×2 cells overlap. The four blocks at the corners hold each cell once.
        colours = picture.reshape(SIDE // CELL, CELL, SIDE // CELL, CELL, 3).mean((1, 3))
        return np.concatenate([GRADIENTS * edges[::2, ::2].ravel(), colours.ravel()]).astype("float32")


class Inception:
    """Features by a network in an ONNX file of the user's own, such as FID's Inception.

    Args:
        path: the file. Its network takes pictures [n, 3, 299, 299] in [-1, 1], and gives [n, d] or [n, d, 1, 1].
            Larger pictures are scaled by the means of areas, smaller ones linearly.

    Raises:
        UserError: there is no such file, or OpenCV cannot read it.
    """

    AT_ONCE = 32  # pictures in one run of the network
    SIDE = 299  # pixels
    labels = size = None  # it knows no classes, and takes pictures of any size

    def __init__(self, path):
        import cv2

        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"--inception: there is no file {path}; export the network as ONNX and name it")
        try:
            str(path).encode()
        except UnicodeEncodeError:  # OpenCV would crash
            raise UserError(f"--inception: the name {str(path)!r} is no UTF-8; rename the file") from None
        try:
            self.network = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise UserError(f"--inception: {path} is no network in ONNX that OpenCV reads ({_reason(error)}); "
                            "export it anew") from error
        self.name = f"{'_'.join(self.path.stem.split())}-{checksum(path, 'sha256')[:8]}"

    def features(self, pictures):
        """[n, d], float32, of pictures [n, H, W, 3] or [n, H, W, 1] in [-1, 1].

        Raises:
            UserError: the network does not take pictures of this shape.
        """
        import cv2

        parts = []
        for start in range(0, len(pictures), self.AT_ONCE):
            x = _coloured(pictures[start:start + self.AT_ONCE], self.SIDE).transpose(0, 3, 1, 2)
            try:
                self.network.setInput(np.ascontiguousarray(x))
                parts.append(self.network.forward().reshape(len(x), -1))
            except (cv2.error, ValueError) as error:
                raise UserError(f"--inception: the network in {self.path} does not take pictures of "
                                f"{list(x.shape)} ({_reason(error)}); export it for them") from error
        return np.concatenate(parts)


def _reason(error):
    return " ".join(str(getattr(error, "err", None) or error).split())  # without file and line of OpenCV's code


def _coloured(pictures, side):
    """Pictures resized to float32 [n, side, side, 3]; grey pictures get three equal channels."""
    pictures = resized(np.asarray(pictures, "float32"), (side, side))
    return np.broadcast_to(pictures, [*pictures.shape[:3], 3])


def resized(pictures, size):
    """Resize pictures [n, H, W, C] to (height, width): by the mean of areas if they shrink, linearly if they grow."""
    import cv2

    if pictures.shape[1:3] == tuple(size):
        return pictures
    way = cv2.INTER_AREA if size[0] <= pictures.shape[1] and size[1] <= pictures.shape[2] else cv2.INTER_LINEAR
    return np.stack([cv2.resize(each, size[::-1], interpolation=way).reshape(*size, -1) for each in pictures])
