import io
import re

import numpy as np
import pytest

from lrpet_tf import errors
from lrpet_tf.report import Kept, Progress, check_picture, draw_budgets, draw_spectra, energy_kept, save_spectra, track

VALUES = np.geomspace(1.0, 0.01, 16)


def _texts(figure):
    import matplotlib.text

    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def test_a_picture_is_written(tmp_path):
    image = pytest.importorskip("matplotlib.image")
    spectra = {f"conv{index}": {"dense": VALUES, "low-rank": np.where(np.arange(16) < 4, VALUES, 0)} for index in range(5)}
    save_spectra(tmp_path / "spectra.png", spectra, {"conv0": 4})
    picture = image.imread(tmp_path / "spectra.png")
    assert min(picture.shape[:2]) > 300
    assert picture[..., :3].std() > 0.02  # something is drawn on it
    assert [path.name for path in tmp_path.iterdir()] == ["spectra.png"]


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(errors.MissingExtraError, match=r"matplotlib.*lrpet-tf\[plot\]"):
        save_spectra("nowhere.png", {"a": {"b": np.ones(3)}}, {})


def test_energy_kept():
    values = np.sqrt(np.array([6.0, 3.0, 1.0]))
    np.testing.assert_allclose([energy_kept(values, rank) for rank in range(4)], [0, 0.6, 0.9, 1], rtol=1e-15)
    assert energy_kept(np.zeros(3), 1) == 1.0


@pytest.mark.parametrize("count", [1, 2, 7, 24, 25, 60])
def test_every_layer_shows_its_cut_and_its_energy(count):
    pytest.importorskip("matplotlib")
    layers = {f"stage{index}/conv": {"singular values": VALUES ** (1 + index / 9)} for index in range(count)}
    ranks = {layer: 1 + index % 16 for index, layer in enumerate(layers)}
    figure = draw_spectra(layers, ranks)
    written = "\n".join(_texts(figure))
    for layer, rank in ranks.items():
        assert layer in written
        assert f"{rank} of 16" in written
        assert f"{energy_kept(layers[layer]['singular values'], rank):.3f}" in written
    assert figure.get_figwidth() == 9
    assert figure.get_figheight() < 14


@pytest.mark.parametrize("count", [1, 30])
def test_odd_spectra_are_drawn(count):
    pytest.importorskip("matplotlib")
    odd = [np.zeros(4), np.ones(1), np.array([1.0, 1e-30])]
    layers = {f"{'long_' * 30}{index}": {"now": odd[index % 3]} for index in range(count)}
    figure = draw_spectra(layers, dict.fromkeys(layers, 1))
    written = "\n".join(_texts(figure))
    assert re.findall(r"\b1 of (\d+)", written) == [str(len(odd[index % 3])) for index in range(count)]
    assert len(re.findall(r"\b1\.000\b", written)) == count  # a kernel of zeros has no energy to lose
    assert set(re.findall(r"…\w*long_(\d+)", written)) == {str(index) for index in range(count)}  # long names lose their start
    figure.savefig(io.BytesIO())


def test_where_a_picture_cannot_go(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(errors.LowRankError, match="known format.*Received: path='picture.xyz'"):
        check_picture("picture.xyz")
    with pytest.raises(errors.LowRankError, match="known format"):
        check_picture(tmp_path / "picture")
    with pytest.raises(errors.LowRankError, match="folder that exists"):
        check_picture(tmp_path / "nowhere" / "picture.png")
    check_picture(tmp_path / "picture.PNG")


def test_curves_are_drawn_by_ascending_cost():
    pytest.importorskip("matplotlib")
    points = [Kept(0.8, 0.9, 0.8), Kept(0.2, 0.5, 0.1)]
    figure = draw_budgets({"MacsBudget": points}, Kept(0.2, 0.5, 0.1), cost="MACs", title="net")
    mean, least, *_ = figure.axes[0].lines
    np.testing.assert_array_equal(mean.get_xydata(), [[0.2, 0.5], [0.8, 0.9]])
    np.testing.assert_array_equal(least.get_xydata(), [[0.2, 0.1], [0.8, 0.8]])
    assert "least reachable: 0.200" in _texts(figure)


class Clock:
    def __init__(self, step):
        self.now, self.step = 0.0, step

    def perf_counter(self):
        self.now += self.step
        return self.now


@pytest.mark.parametrize(("step", "shown"), [(0.01, False), (0.3, True)])
def test_a_bar_appears_for_what_takes_over_two_seconds(monkeypatch, capsys, step, shown):
    monkeypatch.setattr("lrpet_tf.report.progress.time", Clock(step))
    assert list(track(range(20), "Reading")) == list(range(20))
    streams = capsys.readouterr()
    assert ("Reading" in streams.err) == ("20/20" in streams.err) == shown
    assert streams.out == ""


def test_a_bar_ends_with_an_error(monkeypatch, capsys):
    monkeypatch.setattr("lrpet_tf.report.progress.time", Clock(1.0))
    with pytest.raises(KeyError), Progress("Reading", 5) as progress:
        progress.advance()
        raise KeyError
    assert "1/5" in capsys.readouterr().err
