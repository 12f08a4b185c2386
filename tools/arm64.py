"""Runs Python programs on an emulated 64-bit ARM processor, to see that an exported file says the same there as here.

    python tools/arm64.py prepare                                     # once: 250 MB, from Debian's packages and PyPI's wheels
    python tools/arm64.py run examples/deploy/run.py net.tflite samples.npy outputs.npy
    python tools/arm64.py run --cpu=cortex-a53 examples/deploy/run.py …

QEMU's user mode, Python, LiteRT and NumPy for ARM are kept in the folder that `LRPET_ARM64` names, by default in
`lrpet_tf/arm64` in the user's cache folder. Nothing is installed outside of it, and no special rights are needed; what it takes
is an x86-64 Linux with apt-get. Emulation shows whether results agree. It says nothing about time.
"""

import argparse
import importlib.metadata
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping

# The QEMU of this release computes the int8 products of ARM's SME rightly; that of the release before does not.
RELEASE = "trixie"
KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DEFAULT_CPU = "cortex-a76"
# LiteRT looks at the processor through these files, and would find those of the machine that emulates it.
PROCESSOR = {
    "proc/cpuinfo": (
        "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n"
        "CPU part\t: 0xd08\nCPU revision\t: 3\n\n"
    ),
    "sys/devices/system/cpu/possible": "0\n",
    "sys/devices/system/cpu/present": "0\n",
    "sys/devices/system/cpu/kernel_max": "0\n",
}


class UnavailableError(RuntimeError):
    """ARM cannot be emulated here, or what it takes cannot be had."""


def cache_folder() -> pathlib.Path:
    """Returns where everything is kept for the LiteRT that is installed here, so that both sides run the same version."""
    default = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "lrpet_tf" / "arm64"
    version = importlib.metadata.version("ai-edge-litert")
    return pathlib.Path(os.environ.get("LRPET_ARM64") or default) / f"{RELEASE}-litert-{version}"


def _call(command: list, what: str, changes: Mapping[str, str] | None = None) -> None:
    command, environment = [*map(str, command)], {**os.environ, **(changes or {})}
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    if result.returncode:
        raise UnavailableError(f"{what}: {' '.join(command)} failed with: {result.stdout.strip()[-800:]}")


def _check_host() -> None:
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise UnavailableError(f"Expected x86-64 Linux. Received: {platform.system()} on {platform.machine()}")
    missing = [program for program in ("apt-get", "dpkg-deb") if shutil.which(program) is None]
    if not KEYRING.exists():
        missing.append(f"{KEYRING} (package debian-archive-keyring)")
    if missing:
        raise UnavailableError(f"Debian's packages cannot be fetched without {', '.join(missing)}")


def _fetch(folder: pathlib.Path, architecture: str, packages: list[str], target: pathlib.Path) -> None:
    """Unpacks Debian packages, with all that they need, into a folder, through an apt of its own."""
    for each in ("lists/partial", "archives/partial"):
        (folder / each).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] http://deb.debian.org/debian {RELEASE} main\n")
    (folder / "apt.conf").write_text(
        f'APT {{ Architecture "{architecture}"; Architectures {{ "{architecture}"; }}; Install-Recommends "false"; }};\n'
        f'APT::Sandbox::User "root"; Acquire::Retries "1"; Acquire::http::Timeout "20";\n'
        f'Dir::Etc {{ SourceList "{folder}/sources.list"; SourceParts "-"; }};\n'
        f'Dir::State "{folder}"; Dir::State::Lists "{folder}/lists"; Dir::State::status "{folder}/status";\n'
        f'Dir::Cache "{folder}"; Dir::Cache::Archives "{folder}/archives"; Dir::Log "{folder}";\n'
    )
    apt = {"APT_CONFIG": str(folder / "apt.conf")}
    # Without the option a mirror that cannot be reached is only a warning.
    _call(["apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update"], "Debian's list of packages", apt)
    _call(["apt-get", "-q", "-y", "--download-only", "install", *packages], "Debian's packages", apt)
    for package in sorted((folder / "archives").glob("*.deb")):
        _call(["dpkg-deb", "-x", package, target], "Unpacking")


def _install_wheels(root: pathlib.Path) -> None:
    (python,) = (root / "usr" / "bin").glob("python3.[0-9]*[0-9]")
    platforms = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, 42))]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", root / "wheels", "--only-binary=:all:"]
    command += [f"--platform={each}" for each in platforms]
    command += ["--implementation=cp", f"--python-version={python.name.removeprefix('python')}"]
    _call([*command, f"ai-edge-litert=={importlib.metadata.version('ai-edge-litert')}", "numpy"], "PyPI's wheels for ARM")


def prepare(folder: pathlib.Path | None = None) -> pathlib.Path:
    """Fetches the emulator and what runs in it, unless that was done before.

    Args:
        folder: Where to keep it; by default `cache_folder()`. It appears only once it is complete.

    Returns:
        The folder.

    Raises:
        UnavailableError: The machine is not fit for it, or Debian or PyPI cannot be reached; it tells why.
    """
    folder = folder or cache_folder()
    if folder.exists():
        return folder
    _check_host()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as partial:
        work, ready = pathlib.Path(partial), pathlib.Path(partial) / "ready"
        root = ready / "root"
        root.mkdir(parents=True)
        _fetch(work / "amd64", "amd64", ["qemu-user"], work / "qemu")
        shutil.copy2(work / "qemu" / "usr" / "bin" / "qemu-aarch64", ready)
        _fetch(work / "arm64", "arm64", ["python3", "libstdc++6"], root)
        if not (root / "lib").exists():  # a package that is not unpacked here makes this link
            (root / "lib").symlink_to("usr/lib")
        _install_wheels(root)
        for name, content in PROCESSOR.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
        ready.replace(folder)
    return folder


def run(
    arguments: list, *, cpu: str = DEFAULT_CPU, folder: pathlib.Path | None = None, **options
) -> subprocess.CompletedProcess:
    """Runs a Python program on ARM, in the current folder.

    Args:
        arguments: The program and its arguments.
        cpu: The processor, as QEMU names it: `"cortex-a53"` of a Raspberry Pi 3, `"cortex-a72"` of a Raspberry Pi 4,
            `"cortex-a76"` of a Raspberry Pi 5 and of many phones, `"max"` for all that QEMU can do.
        folder: What `prepare` made.
        options: Further ones of `subprocess.run`.

    Returns:
        What became of it, a `subprocess.CompletedProcess`.
    """
    folder = folder or cache_folder()
    root = folder / "root"
    inside = {"PYTHONHOME": str(root / "usr"), "PYTHONPATH": str(root / "wheels"), "QEMU_CPU": cpu}
    command = [folder / "qemu-aarch64", "-L", root, root / "usr" / "bin" / "python3", *arguments]
    return subprocess.run([*map(str, command)], env={**os.environ, **inside}, **options)


def main() -> int:
    """Prepares, or runs a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="fetch the emulator and what runs in it")
    running = commands.add_parser("run", help="run a Python program on ARM")
    running.add_argument("--cpu", default=DEFAULT_CPU, help="the processor, as QEMU names it")
    running.add_argument("arguments", nargs=argparse.REMAINDER, help="the program and its arguments")
    given = parser.parse_args()
    try:
        folder = prepare()
    except UnavailableError as error:
        sys.exit(f"ARM cannot be emulated here. {error}")
    if given.command == "prepare":
        print(folder)
        return 0
    return run(given.arguments, cpu=given.cpu, folder=folder).returncode


if __name__ == "__main__":
    sys.exit(main())
