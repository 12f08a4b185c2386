import pytest

from lrpet_tf.ranks import quantities


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [
        ("300 kB", "B", 300e3), ("300kB", "B", 300e3), ("1.5 MB", "B", 1.5e6), ("2 KiB", "B", 2048), ("7", "B", 7),
        ("20 M", "MACs", 20e6), ("20 MMACs", "MACs", 20e6), ("12 ms", "ms", 12), ("2e3", "B", 2000), ("12 s", "ms", None),
    ],
)  # fmt: skip
def test_quantities(text, unit, amount):
    assert quantities.parse_quantity(text, unit) == amount
