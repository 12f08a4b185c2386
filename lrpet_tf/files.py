"""Writing files whole or not at all."""

import os
import pathlib
import tempfile


def write_atomically(path: str | os.PathLike, content: bytes) -> pathlib.Path:
    """Writes a file under a temporary name in the same folder, then renames it.

    Args:
        path: Where the file is to be; an existing one is replaced only once the new one is complete.
        content: What it is to hold.

    Returns:
        The path.

    Raises:
        OSError: The folder cannot be written to, or the disk is full; nothing is left behind then.
    """
    path = pathlib.Path(path)
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        pathlib.Path(partial).chmod(0o666 & ~umask)  # mkstemp makes it private; a plain `open` would not
        pathlib.Path(partial).replace(path)
    except BaseException:
        pathlib.Path(partial).unlink()
        raise
    return path
