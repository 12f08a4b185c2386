import os

import pytest

from lrpet_tf.quiet import without_native_logs


def _write():
    os.write(2, b"native")


def test_native_logs_are_kept_from_stderr_and_come_back(capfd, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    with without_native_logs():
        _write()
    assert capfd.readouterr().err == ""
    with pytest.raises(KeyError), without_native_logs():
        raise KeyError
    _write()
    assert capfd.readouterr().err == "native"


def test_unless_they_are_asked_for(capfd, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    with without_native_logs():
        _write()
    assert capfd.readouterr().err == "native"
