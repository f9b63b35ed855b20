from common import errors  # noqa: F401  imported first: it handles Ctrl-C while a command is still importing
