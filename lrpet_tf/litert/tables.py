"""Flatbuffers without generated code: tables whose fields are told by number."""

import struct
from collections.abc import Mapping, Sequence

from lrpet_tf.errors import require


class Byte(int):
    """A number that takes one byte."""


class TableWriter:
    """Writes one flatbuffer; what is inside a table is made before it."""

    def __init__(self):
        self._builder = require("flatbuffers", "flatbuffers").Builder(256)

    def byte(self, value: int) -> Byte:
        """Returns a field of one byte."""
        return Byte(value)

    def floats(self, values: Sequence[float]) -> int:
        """Returns a vector of numbers of 32 bits."""
        self._builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self._builder.PrependFloat32(value)
        return self._builder.EndVector()

    def vector(self, tables: Sequence[int]) -> int:
        """Returns a vector of tables."""
        self._builder.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            self._builder.PrependUOffsetTRelative(table)
        return self._builder.EndVector()

    def table(self, fields: Mapping[int, str | int | None]) -> int:
        """Returns a table.

        Args:
            fields: By number: a text, what another method returned, or `None` or an empty text for a field that is left out.
        """
        builder = self._builder
        made = {
            slot: builder.CreateString(value) if isinstance(value, str) and value else value for slot, value in fields.items()
        }
        made = {slot: value for slot, value in made.items() if value is not None and value != ""}
        builder.StartObject(max(made, default=-1) + 1)
        for slot, value in made.items():
            if isinstance(value, Byte):
                builder.PrependInt8Slot(slot, value, 0)
            else:
                builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        return builder.EndObject()

    def finish(self, root: int, identifier: bytes) -> bytes:
        """Returns the flatbuffer."""
        self._builder.Finish(root, file_identifier=identifier)
        return bytes(self._builder.Output())


class Table:
    """A table of a flatbuffer, to be read; what points out of the data raises `struct.error` or `IndexError`.

    Args:
        data: The flatbuffer.
        position: Where the table begins.
    """

    def __init__(self, data: bytes, position: int):
        self._data, self._position = data, position

    @classmethod
    def root(cls, data: bytes) -> "Table":
        """Returns the outermost table."""
        return cls(data, struct.unpack_from("<I", data)[0])

    def _number(self, kind: str, position: int):
        if position < 0:
            raise IndexError(f"position {position}")
        return struct.unpack_from(f"<{kind}", self._data, position)[0]

    def _field(self, slot: int) -> int | None:
        offsets = self._position - self._number("i", self._position)
        entry = 4 + 2 * slot
        offset = self._number("H", offsets + entry) if entry < self._number("H", offsets) else 0
        return self._position + offset if offset else None

    def _followed(self, slot: int) -> int | None:
        field = self._field(slot)
        return None if field is None else field + self._number("I", field)

    def text(self, slot: int) -> str:
        """Returns a text, or an empty one."""
        start = self._followed(slot)
        return "" if start is None else self._data[start + 4 : start + 4 + self._number("I", start)].decode()

    def byte(self, slot: int) -> int:
        """Returns a number of one byte, or 0."""
        field = self._field(slot)
        return 0 if field is None else self._number("b", field)

    def table(self, slot: int) -> "Table | None":
        """Returns a table inside, or `None`."""
        start = self._followed(slot)
        return None if start is None else Table(self._data, start)

    def tables(self, slot: int) -> "list[Table]":
        """Returns a vector of tables inside, or an empty list."""
        start = self._followed(slot)
        places = [] if start is None else [start + 4 + 4 * index for index in range(self._number("I", start))]
        return [Table(self._data, place + self._number("I", place)) for place in places]

    def floats(self, slot: int) -> tuple[float, ...]:
        """Returns a vector of numbers of 32 bits, or an empty tuple."""
        start = self._followed(slot)
        return () if start is None else struct.unpack_from(f"<{self._number('I', start)}f", self._data, start + 4)
