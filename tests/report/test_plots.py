import numpy as np
import pytest

from lrpet_tf import errors
from lrpet_tf.report import save_spectra


def test_a_picture_is_written(tmp_path):
    image = pytest.importorskip("matplotlib.image")
    values = np.geomspace(1.0, 0.01, 16)
    spectra = {f"conv{index}": {"dense": values, "low-rank": np.where(np.arange(16) < 4, values, 0)} for index in range(5)}
    save_spectra(tmp_path / "spectra.png", spectra, {"conv0": 4})
    picture = image.imread(tmp_path / "spectra.png")
    assert min(picture.shape[:2]) > 300
    assert picture[..., :3].std() > 0.02  # something is drawn on it


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(errors.MissingExtraError, match=r"matplotlib.*lrpet-tf\[plot\]"):
        save_spectra("nowhere.png", {"a": {"b": np.ones(3)}}, {})
