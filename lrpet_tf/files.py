"""Writing files whole or not at all, and what is kept in JSON files."""

import abc
import os
import pathlib
import tempfile
from typing import Self


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


class JsonFile(abc.ABC):
    """What can be saved to a JSON file and loaded again."""

    @abc.abstractmethod
    def to_json(self) -> str:
        """Returns it as JSON; `from_json` reads it."""

    @classmethod
    @abc.abstractmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Reads what `to_json` wrote.

        Args:
            text: JSON.

        Returns:
            An equal object.

        Raises:
            LowRankError: The text is something else.
        """

    def save(self, path: str | os.PathLike) -> None:
        """Writes it to a JSON file, whole or not at all."""
        write_atomically(path, self.to_json().encode())

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Reads a file written by `save`.

        Args:
            path: The file.

        Returns:
            An equal object.

        Raises:
            LowRankError: The file holds something else.
        """
        # As bytes: a file that is no text at all is for `from_json` to refuse.
        return cls.from_json(pathlib.Path(path).read_bytes())
