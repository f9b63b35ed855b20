"""Download the figures that the tutorials published beside their texts.

The figures are not part of the project. They come from fixed commits and are checked by their md5.
"""

from common.data.download import Unavailable, fetch
from common.errors import UserError
from common.files import cache_folder, expanded

CACHE = "paddle/gan_figures"  # in the cache folder
LARGEST = 4_000_000  # bytes of a figure

# Both hosts serve a repository's files at a commit; some networks reach only the second.
HOSTS = ("https://raw.githubusercontent.com/{repository}/{commit}/", "https://cdn.jsdelivr.net/gh/{repository}@{commit}/")


class NotPublished(UserError):
    """A published figure that cannot be downloaded."""


def download(recipe, folder=None):
    """Get the published figures of a tutorial; figures that are there already are not downloaded again.

    Args:
        recipe: `common.recipe.Recipe` with ``figures``.
        folder: the figures go into its sub-folder with the recipe's name; None: the user's cache folder.

    Returns:
        The sub-folder's path.

    Raises:
        NotPublished: a figure cannot be downloaded.
    """
    figures, folder = recipe.figures, (expanded(folder) if folder else cache_folder(CACHE)) / recipe.name
    mirrors = [host.format(repository=figures.repository, commit=commit) + figures.folder
               for host in HOSTS for commit in figures.commits]
    for name, md5 in figures.files.items():
        if (folder / name).is_file():
            continue
        try:
            good = fetch(name, mirrors, folder, md5, LARGEST)
        except Unavailable as error:
            reasons = "; ".join(dict.fromkeys(str(error).split("; ")))
            raise NotPublished(f"the tutorial's {name} is not in {folder} and cannot be downloaded ({reasons}); "
                               "name the figure, or its folder, with --reference") from None
        mirrors.sort(key=lambda mirror, good=good: mirror != good)
    return folder
