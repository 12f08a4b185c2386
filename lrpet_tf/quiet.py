"""Silence, where TensorFlow's native side tells about itself at length."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without_native_logs() -> Iterator[None]:
    """Keeps native code from writing to stderr, unless the environment variable TF_CPP_MIN_LOG_LEVEL is 0.

    What it has to say of errors comes as an exception too.
    """
    kept = None if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0" else _duplicate_stderr()
    if kept is None:
        yield
        return
    sys.stderr.flush()
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _duplicate_stderr() -> int | None:
    try:
        return os.dup(2)
    except OSError:  # a program without a console has none
        return None
