import pytest

from lrpet_tf.report import kilobytes, megas, render


@pytest.mark.parametrize(
    ("count", "text"), [(125485696, "125.49 M"), (640, "0.64 k"), (99_999, "100.00 k"), (None, "?"), (0, "0.00 k")]
)
def test_megas(count, text):
    assert megas(count) == text


def test_kilobytes():
    assert [kilobytes(size) for size in (999, 558_700, 1_084_480)] == ["1.0 kB", "558.7 kB", "1.08 MB"]


def test_cells_are_kept_whole_even_where_they_look_like_markup():
    text = render("Title [x]", ("name", "value"), [("[bold]a[/]", "1"), ("b" * 300, "2")], footer=("sum", "3"))
    assert "Title [x]" in text
    assert "[bold]a[/]" in text
    assert text.count("b") >= 300
    assert "sum" in text
    assert max(map(len, text.splitlines())) <= 140
