"""Amounts as a user writes them: `"20 M"`, `"300 kB"`, `"12 ms"`."""

import re

_PREFIXES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}


def parse_quantity(text: str, unit: str) -> float | None:
    """Returns the amount that a text names, in units.

    Args:
        text: A number, a prefix (k, M, G, Ki, Mi, Gi) and a unit, of which the last two may be left out: `"300 kB"` is 300,000
            with the unit `"B"`.
        unit: The unit that the text may end with.

    Returns:
        The amount, or `None` where the text is something else.
    """
    found = re.fullmatch(rf"\s*(\d+(?:\.\d*)?(?:e\d+)?)\s*([kKMG]i?)?(?:{unit})?\s*", text)
    return None if found is None else float(found[1]) * _PREFIXES[found[2] or ""]
