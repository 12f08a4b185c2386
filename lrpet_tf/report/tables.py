"""Tables of plain text, drawn with rich."""

import io
from collections.abc import Iterable, Sequence


def megas(count: int | None) -> str:
    """Returns a count in millions with two decimals, or in thousands when it is small; `?` for an unknown one."""
    if count is None:
        return "?"
    return f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count / 1e3:.2f} k"


def kilobytes(size: int) -> str:
    """Returns a size in kB (1,000 bytes), or MB when it is large."""
    return f"{size / 1e6:.2f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def render(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    footer: Sequence[str] | None = None,
    text_columns: int = 1,
    width: int = 140,
) -> str:
    """Draws a table.

    Args:
        title: Stands above the table.
        columns: Headings.
        rows: Cells as text, one sequence a row.
        footer: A last row of totals.
        text_columns: How many columns, from the left, are aligned left; the others are numbers and are aligned right.
        width: Widest line, in characters.

    Returns:
        The table as lines of text, without colours.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", show_footer=footer is not None, header_style="bold")
    for index, column in enumerate(columns):
        text = index < text_columns
        table.add_column(
            column,
            Text(footer[index]) if footer else "",
            justify="left" if text else "right",
            no_wrap=not text,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    buffer = io.StringIO()
    Console(file=buffer, width=width, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())
