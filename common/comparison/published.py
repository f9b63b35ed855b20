"""What the tutorials published beside their texts: where their figures are had, and the losses that they show.

The figures are not part of the project. They are downloaded at commits that hold them, and known by their md5.
"""

from pathlib import Path

from common.data.download import Unavailable, fetch
from common.errors import UserError
from common.files import expanded

CACHE = Path("~/.cache/paddle/gan_figures")
LARGEST = 4_000_000  # bytes of a figure

# Both hosts serve a repository's files at a commit; the second is within reach where the first is not.
HOSTS = ("https://raw.githubusercontent.com/{repository}/{commit}/", "https://cdn.jsdelivr.net/gh/{repository}@{commit}/")

_NOTE6_MD5 = """
    0ef271524bf950b19607921bb668daa1 b46367c0940f00a699d3d81488528c2c 88eb47b084a68727bc6193a40247d322
    39e12bfedfcedda5d1cc16ae4c5ab863 8bf65091844f3eebe23c685ea51c8f02 255c25b1261a9e0a37682c2a5182c9ca
    33ab8bb85c50d8f92abe0f6c41f47449 50d9c7ab67b0f75b9dd7208a4a40e357 92dc0149bce37e2e8aaedf3289a9c7b8
    31bfde23d2de990793ff461879e67a99 6baae22d31309a4e032faf94681fbb0f 0a3380d6ce7067a3dc53068da39157e9
    b329799680a39b86bf6923e8f8328b33 24ab7f5cd4d292bc7a0ceeb7cf3f5f4a c38cbc356d10ccf698402520bc124ef4
    be8652dcf6d88a0d331bbae92c043afd 2785fda0e476126d43fc3356c7a8dada 262a9c2d452f1877e5554e584bf00913
    aa238eb22292d9d2a578541d56d380a5 166a5587184b21ac34fd48772447dfee 440e2e7f94337b54ce7e96356d80bf21
    19580b202d4f0bdcd51076615394eda8 2a9bc5b378c677517b0e9a5b4af6175f bfeb16be3d673e6402f204c758e72118
    cabe1f9e947ad9f134dc77a6c9b2f986 8a55065441e9a1d5d41ad62210080093 f6a68f1398c9d9d1a9ca7045dcbd75dc
    61de577df46651b788017cef72438517 59fbd169f42d1804686bc4eae6f5fbf9 fff76bb43243b853718f6cc8eb22324c
    dd8f73803048223f3e82e08bc358ce2c 5b628ce150ef83f9e0b28b6a2af82d27 0cacc99eaf2bdc6be6b2a90587451ac0
    b8325d3f1cfdb92ea17c0d4b317cca0e 7b2f9c78d8f076a4e86d867a57f5a46b a36aa1f2bd8aba0c4acab282b50db71c
    28e369b6188b7f20b595712b0bebad61 56ab8ff397bedf0c28b8ae8b92f6e1f1 1e729e510cad562ce8e8d947840e2a13
    15ae6e9d7242efeff6e82e87b62b3d3b 73e1e2f86b987525d8f23346f66e4301 0d8c9337a9d3acfcbc965e6d8acc3448
    8f130b57e384f7976bee5d2336dd3235 924602d2e30b6cd4a995aaace98b0b98 4a01d2210544acfd3bbcf253bea75a43
    c4a78e9128a002caa146f7e53605c85e 6f2b41b3c801bcd94842cce6cd79f923 28944e35147f450bfc090b37708dfcdf
    7ec97cd3468fded147099d010c477f99 ded78407b3cb2744d2fdbd2ecb73c82c f27631a7f7365ecb5ad28a8c89b3d4a6
    8d73cd2b6e449930fb8b959c51b65041 0cceb4d22a8a6ad02a8db404786a63cf 50939b3488985fc7cdfca3a294fdf137
    8cb0c8186fbf93094579ee223aa4d09e 76fb351f5667bdf73ed1796f1dcec4d1 35f69b2d79cfba9941658db0a7b6eeb3
    b00e2e7d2a9629d0f92f5ad89a0e18d0 65f08c0d59bddef8a11749550a8e145c e86690eca4b6b31aaec5a9d947dae485
    6695442b70b23be40ac86535593a870c 7bb9bc3c07609f7b3f94b4a3e3d84121 672486b330c4067e3534fc82603ce76f
    b21a46738065246020ea58ce27184cc3
""".split()  # noqa: SIM905  one on a line would be a page

FIGURES = {  # recipe: repository, folder in it, commits that may hold the files, md5 of each file
    "book": ("PaddlePaddle/book", "09.gan/image/", ("af3b2f13d57eaa2d22321f24ae3f3bf3ed57950d",), {
        "dcgan_demo.png": "22bc85f0f92b88cee13445d10027db92"}),
    # The note's pictures were replaced four times.
    "note6": ("yeyupiaoling/LearnPaddle2", "note6/image/", (
        "9927cb3ac9a5fd909c9fd561c072bb4d6a4cb4fa", "6eb337dfabf1622f497937d0afad81f7f8ccd5d6",
        "07beaea55855b632e97c658613a041c958158a0c", "263d615a092371bbde704581d92be0018ab46a30",
        "3f12117a05079230074c26b70f2667ca62b09b88"),
        {f"test_{i}.png": md5 for i, md5 in enumerate(_NOTE6_MD5)}),
    # The chapter's own figures are in print only; these are of another conditional GAN on MNIST, by Paddle.
    "cgan": ("PaddlePaddle/models", "PaddleCV/gan/c_gan/images/", ("df1d8f80e26c42607ce72335e7056d2604adabf3",), {
        "conditionalGAN_demo.png": "97d123a06af6ae96cf4b53ed32d95675"}),
    "faces": ("PaddlePaddle/book", "paddle2.0_docs/dcgan_face/images/", (
        "2141339d8e6877c226f7eae570402a5f88f96b6b", "afc9b77a1830cef028d36f48434a1c3d3ac0ae55"), {
        "face_image1.jpeg": "9c5eb9ad5a32d7ce7d6cd87b512000ac",
        "face_image2.jpeg": "1918f42533cad35b31c939858f3e81ca"}),
}

# The book: the title of dcgan_demo.png, and its continuous evaluation, a mean over one epoch, accepted within 2 %.
BOOK_EPOCH, BOOK_BATCH = 19, 460
BOOK_LOSSES = {"D-Loss": 1.1586, "DG-Loss": 0.6668}
BOOK_CE = {"D-Loss": 1.161403, "DG-Loss": 0.665533}
CE_BATCHES = 468  # of 128 pictures, the whole epoch
CE_TOLERANCE = 0.02

# dcgan_face: read off the curves of loss.png. For 300 batches D wins outright, then within any ten batches G goes
# through about 3.6 … 6.9 and D through 0.3 … 1.1, spikes apart.
FACES_SETTLED = 300
FACES_HIGHEST, FACES_FIRST = 39.0, 15.0  # G's loss at its height, and what it stays above until it settles
FACES_LOSSES = {"G-Loss": 5.0, "D-Loss": 0.5}


def download(recipe, folder=CACHE):
    """The published figures of a tutorial, from the network if they are not there yet.

    Args:
        recipe: ``book``, ``note6``, ``cgan`` or ``faces``.
        folder: to keep them in, a sub-folder for each recipe.

    Returns:
        The sub-folder.

    Raises:
        UserError: they cannot be had.
    """
    repository, inside, commits, files = FIGURES[recipe]
    folder = expanded(folder) / recipe
    mirrors = [host.format(repository=repository, commit=commit) + inside for host in HOSTS for commit in commits]
    for name, md5 in files.items():
        if (folder / name).is_file():
            continue
        try:
            good = fetch(name, mirrors, folder, md5, LARGEST)
        except Unavailable as error:
            reasons = "; ".join(dict.fromkeys(str(error).split("; ")))
            raise UserError(f"the tutorial's {name} is not in {folder} and cannot be downloaded ({reasons}); "
                            "name the figure, or its folder, with --reference") from None
        mirrors.sort(key=lambda mirror, good=good: mirror != good)
    return folder
