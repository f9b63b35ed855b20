"""What the tutorials and the tools share. For a program of your own, and for notebooks:

    from common import load, show
    gan = load("output_cgan")
    show(gan.generate(count=64, seed=1))

`common.generator` has both functions.
"""

from common import errors  # noqa: F401  imported first: it handles Ctrl-C while a command is still importing

__all__ = ["load", "show"]


def __getattr__(name):
    """Import the two functions when they are asked for, because matplotlib would delay every ``--help``.

    ``folders`` is the earlier place of `common.data.folders`, for programs that import it from here.
    """
    if name == "folders":
        from common.data import folders

        return folders
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from common import generator

    return getattr(generator, name)
