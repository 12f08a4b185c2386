"""The same files run on 64-bit ARM, emulated, and agree with x86."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests import deploying
from tools import arm64

RUN_PY = pathlib.Path(__file__).parents[2] / "examples" / "deploy" / "run.py"
# Without and with the instructions for products of int8, as in a Raspberry Pi 3 and a Raspberry Pi 5.
PROCESSORS = ("cortex-a53", "cortex-a76")
# Integers are the same to the bit; floats are added up in another order.
TOLERANCES = {"float32": 1e-5, "float16": 1e-5, "int8": 0.0, "int8_io": 0.0}


@pytest.fixture(scope="module")
def machine():
    if not os.environ.get("LRPET_ARM64"):
        pytest.skip("ARM is emulated where LRPET_ARM64 names a folder for it, of 250 MB: see tools/arm64.py")
    try:
        return arm64.prepare()
    except arm64.UnavailableError as error:
        pytest.skip(f"ARM cannot be emulated here. {error}")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return deploying.write(tmp_path_factory.mktemp("files"), TOLERANCES)


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("processor", PROCESSORS)
def test_arm_agrees_with_x86_and_with_keras(machine, files, processor, tmp_path):
    which = arm64.run(["-c", "import platform; print(platform.machine())"], cpu=processor, folder=machine, capture_output=True)
    assert which.stdout.strip() == b"aarch64", which.stderr
    for name, tolerance in TOLERANCES.items():
        outputs = {}
        for where in ("here", "arm"):
            path = tmp_path / f"{name}_{where}.npy"
            arguments = [RUN_PY, files.path(name), files.folder / "samples.npy", path, "--runs=1"]
            if where == "arm":
                result = arm64.run(arguments, cpu=processor, folder=machine, capture_output=True, text=True)
            else:
                result = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
            outputs[where] = np.load(path)
        assert deploying.far_apart(outputs["arm"], outputs["here"]) <= tolerance, name
        assert deploying.far_apart(outputs["arm"], files.expected) < deploying.TOLERANCES[name], name


def test_a_machine_that_is_not_fit_is_told_why_and_nothing_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(arm64.platform, "machine", lambda: "riscv64")
    with pytest.raises(arm64.UnavailableError, match="Received: Linux on riscv64"):
        arm64.prepare(tmp_path / "folder")
    monkeypatch.setattr(arm64.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(arm64.shutil, "which", lambda program: None)
    with pytest.raises(arm64.UnavailableError, match="without apt-get, dpkg-deb"):
        arm64.prepare(tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def test_packages_that_cannot_be_fetched_leave_nothing_behind(tmp_path, monkeypatch):
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, script in {"apt-get": "echo 'E: no route to host'; exit 100", "dpkg-deb": "exit 0"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setattr(arm64.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(arm64, "KEYRING", programs / "apt-get")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(arm64.UnavailableError, match=r"list of packages: apt-get .*no route to host"):
        arm64.prepare(tmp_path / "cache" / "folder")
    assert not list((tmp_path / "cache").iterdir())
