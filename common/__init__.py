from common import errors  # noqa: F401  first: it sees to Ctrl-C while a command is still importing
