"""The command line: `lrpet analyze model.keras`, `lrpet export model.keras net.tflite`.

Each command has one row in `COMMANDS`. Flags live in a set of their own that is made when a command runs, so a program that
imports the library finds none of them among its own.
"""

import contextlib
import importlib.util
import os
import pathlib
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras

from lrpet_tf import decompositions, ranks
from lrpet_tf.analysis import analyze
from lrpet_tf.errors import LowRankError, MissingExtraError, NothingToFactorizeError
from lrpet_tf.export import check_path, export_tflite
from lrpet_tf.factorization import factorize
from lrpet_tf.files import write_atomically
from lrpet_tf.plan import Plan
from lrpet_tf.planning import check_reachable, make_plan
from lrpet_tf.quiet import without_native_logs
from lrpet_tf.report import picture
from lrpet_tf.version import __version__

_PICTURES = {"spectra": "spectra.png", "budget": "budget.png"}
_SUFFIXES = (".keras", ".h5", ".hdf5")


class Command(NamedTuple):
    """One command.

    Attributes:
        summary: What it does, in a line.
        arguments: Its arguments, as they are written.
        examples: Command lines.
        define: Defines its flags on an `absl.flags` module, in the set of flags given.
        run: Runs it, on its arguments and its flags.
        needs_tensorflow: Whether it runs on the TensorFlow backend alone.
    """

    summary: str
    arguments: Sequence[str]
    examples: Sequence[str]
    define: Callable[[Any, Any], None]
    run: Callable[[Sequence[str], Any], None]
    needs_tensorflow: bool = False


def _define_analyze(flags, values) -> None:
    forms = ["auto", *decompositions.DECOMPOSITIONS]
    flags.DEFINE_string(
        "rank", "MacsBudget(0.5)", "A share of each full rank (0.5), a rank (16), or a rule (Energy(0.95)).", flag_values=values
    )
    flags.DEFINE_enum("decomposition", "channel", forms, "The form of the chains.", flag_values=values)
    flags.DEFINE_multi_string(
        "include",
        None,
        "Regular expression of the layer paths to plan; may be given again. All by default.",
        flag_values=values,
    )
    flags.DEFINE_multi_string(
        "exclude", None, "Regular expression of layer paths to leave as they are; may be given again.", flag_values=values
    )
    flags.DEFINE_string(
        "output", None, "Folder to write to; by default <model name>_analysis beside the model.", flag_values=values
    )
    flags.DEFINE_boolean("json", False, "Print the plan as JSON instead of tables.", flag_values=values)
    _define_files(flags, values)


def _define_files(flags, values) -> None:
    """Defines the flags of every command that reads a model and writes files."""
    flags.DEFINE_boolean("force", False, "Replace files that are there.", flag_values=values)
    flags.DEFINE_boolean(
        "unsafe", False, "Load models with Lambda layers, which may run any code: for files that you trust.", flag_values=values
    )


def _run_analyze(arguments: Sequence[str], values) -> None:
    path = pathlib.Path(arguments[0])
    folder = path.with_name(f"{path.stem}_analysis") if values.output is None else pathlib.Path(values.output)
    rule = ranks.get(values.rank)
    targets = [folder / name for name in ("plan.json", *_PICTURES.values())]
    _check_targets(folder, targets, values.force)
    options = {"decomposition": values.decomposition, "include": values.include, "exclude": values.exclude}
    with contextlib.redirect_stdout(sys.stderr):  # the plan alone goes to stdout
        model = _load(path, values.unsafe)
        check_reachable(model, rule, **options)
        plan, drawings = analyze(model, rule, **options)
        contents, complaints = _draw(drawings)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"plan.json": plan.to_json().encode(), **contents}
    for name, content in contents.items():
        write_atomically(folder / name, content)
    print(plan.to_json() if values.json else plan)
    for line in (*complaints, f"Written: {', '.join(str(folder / name) for name in contents)}"):
        print(line, file=sys.stderr)


def _draw(drawings) -> tuple[dict[str, bytes], list[str]]:
    """Returns the pictures by the name of the file, and what to say about those that are missing."""
    contents, complaints = {}, []
    for name, file in _PICTURES.items():
        if name not in drawings:
            complaints.append(f"{file} is not drawn: no layer is factorized. The plan says why, layer by layer.")
            continue
        try:
            contents[file] = picture(drawings[name]())
        except MissingExtraError as error:
            complaints.append(f"{file} is not drawn. {error}")
    return contents, complaints


def _check_targets(folder: pathlib.Path, targets: Sequence[pathlib.Path], force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise LowRankError(
            f"Expected a folder to write to, and this is a file. Received: output='{folder}'. Give another --output."
        )
    there = [str(target) for target in targets if target.exists()]
    if there and not force:
        raise LowRankError(f"Nothing is overwritten: {', '.join(there)} is there already. Give --force, or another --output.")


def _define_export(flags, values) -> None:
    flags.DEFINE_string(
        "rank",
        None,
        "Ranks to cut the kernels to, as for analyze; by default those that training for low rank has given them.",
        flag_values=values,
    )
    flags.DEFINE_string("plan", None, "A plan.json, as analyze and Plan.save write it, instead of --rank.", flag_values=values)
    _define_files(flags, values)


def _run_export(arguments: Sequence[str], values) -> None:
    path, target = pathlib.Path(arguments[0]), check_path(arguments[1])
    if target.exists() and not values.force:
        raise LowRankError(f"Nothing is overwritten: {target} is there already. Give --force, or another file.")
    if values.rank is not None and values.plan is not None:
        raise LowRankError(f"Give --rank or --plan, not both. Received: rank='{values.rank}', plan='{values.plan}'")
    plan = None if values.plan is None else Plan.load(values.plan)
    rule = None if values.rank is None else ranks.get(values.rank)
    with contextlib.redirect_stdout(sys.stderr), _plain_warnings():  # the report alone goes to stdout
        model = _load(path, values.unsafe)
        small = _factorized(model, plan if rule is None else make_plan(model, rule))
        report = export_tflite(model, target) if small is None else export_tflite(small, target, reference=model)
    print(report)


def _factorized(model: keras.Model, plan: Plan | None) -> keras.Model | None:
    """Returns a model factorized as planned, or else at the ranks that its kernels have; `None` where none is of low rank."""
    try:
        return factorize(model, plan)
    except NothingToFactorizeError:
        print("No kernel is of low rank: the model is exported as it is.", file=sys.stderr)
        return None


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Shows warnings without the line of code that they come from."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *where, **more: print(f"Warning: {message}", file=sys.stderr)
        yield


def _load(path: pathlib.Path, unsafe: bool) -> keras.Model:
    """Loads a model.

    Raises:
        LowRankError: There is no such file, or it holds no model that Keras can load.
    """
    if not path.is_file() or path.suffix not in _SUFFIXES:
        found = (
            f"it ends in '{path.suffix}'" if path.is_file() else "it is a folder" if path.is_dir() else "there is no such file"
        )
        raise LowRankError(
            f"Expected a model saved by Keras, a file in {', '.join(_SUFFIXES)}; {found}. Received: model='{path}'"
        )
    try:
        with without_native_logs():
            return keras.models.load_model(path, compile=False, safe_mode=not unsafe)
    except Exception as error:  # whatever a file of another kind may cause deep inside of Keras
        why = " ".join(str(error).split()) or type(error).__name__
        why = f"{why[:300]}…" if len(why) > 300 else why
        hint = " Give --unsafe if you trust the file." if "safe_mode" in str(error) or "unsafe" in str(error) else ""
        raise LowRankError(f"Keras cannot load a model from this file: {why}{hint} Received: model='{path}'") from error


COMMANDS: dict[str, Command] = {
    "analyze": Command(
        "Prints the low-rank plan of a model, and draws where it cuts and what budgets cost, without training.",
        ("MODEL",),
        (
            "lrpet analyze model.keras",
            "lrpet analyze model.keras --rank='Energy(0.95)' --exclude=stem --exclude='head/.*'",
            "lrpet analyze model.keras --rank=0.25 --include='encoder/.*' --output=analysis --force",
            "lrpet analyze model.keras --json > plan.json",
        ),
        _define_analyze,
        _run_analyze,
    ),
    "export": Command(
        "Factorizes a model, whichever backend it was trained on, and writes a .tflite file that agrees with it.",
        ("MODEL", "FILE"),
        (
            "lrpet export model.keras net.tflite",
            "lrpet export model.keras net.tflite --plan=model_analysis/plan.json --force",
            "lrpet export model.keras net.tflite --rank='MacsBudget(0.5)'",
        ),
        _define_export,
        _run_export,
        needs_tensorflow=True,
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: The command line, the name of the program first; by default that of this process.

    Returns:
        The exit code: 0 where all went well, 1 for an error in what was given, 2 for wrong usage.
    """
    from absl import flags

    name, *arguments = sys.argv if argv is None else argv
    command = COMMANDS.get(arguments[0]) if arguments else None
    if command is None:
        return _without_command(arguments)
    values = flags.FlagValues()
    flags.DEFINE_boolean("help", False, "Show this help.", short_name="h", flag_values=values)
    command.define(flags, values)
    try:
        given = values([name, *arguments[1:]])[1:]
    except flags.Error as error:
        return _wrong_usage(str(error), arguments[0])
    if values.help:
        print(_help(arguments[0], values))
        return 0
    if len(given) != len(command.arguments):
        return _wrong_usage(f"Expected {' '.join(command.arguments)}. Received: {' '.join(given) or 'nothing'}", arguments[0])
    try:
        if command.needs_tensorflow and keras.backend.backend() != "tensorflow":
            return _in_tensorflow(arguments)
        command.run(given, values)
    except (LowRankError, OSError) as error:
        print(f"lrpet {arguments[0]}: {error}", file=sys.stderr)
        return 1
    return 0


def _in_tensorflow(arguments: Sequence[str]) -> int:
    """Runs a command in a process of its own on TensorFlow: the backend of this one is settled. Returns its exit code."""
    if importlib.util.find_spec("tensorflow") is None:
        raise MissingExtraError("tensorflow", "tensorflow")
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    return subprocess.run([sys.executable, "-m", "lrpet_tf", *arguments], env=environment, check=False).returncode


def _without_command(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] in ("--help", "-h", "-help", "help"):
        print(_overview())
        return 0
    if arguments and arguments[0] == "--version":
        print(f"lrpet_tf {__version__}")
        return 0
    found = f"Received: {arguments[0]!r}" if arguments else "Received: nothing"
    print(f"lrpet: expected a command, one of {', '.join(COMMANDS)}. {found}\n\n{_overview()}", file=sys.stderr)
    return 2


def _wrong_usage(why: str, name: str) -> int:
    print(f"lrpet {name}: {why}\nUsage: {_usage(name)}\nlrpet {name} --help tells more.", file=sys.stderr)
    return 2


def _usage(name: str) -> str:
    return f"lrpet {name} {' '.join(COMMANDS[name].arguments)} [--flag=value …]"


def _overview() -> str:
    commands = [f"  {name:10} {command.summary}" for name, command in COMMANDS.items()]
    examples = [f"  {command.examples[0]}" for command in COMMANDS.values()]
    parts = ["Low-rank training and edge export for Keras.", "", "Usage: lrpet COMMAND …", "", "Commands:", *commands, ""]
    return "\n".join([*parts, "Examples:", *examples, "", "lrpet COMMAND --help tells more."])


def _help(name: str, values) -> str:
    command = COMMANDS[name]
    lines = [command.summary, "", f"Usage: {_usage(name)}", "", "Flags:"]
    for flag in sorted({id(values[each]): values[each] for each in values}.values(), key=lambda flag: flag.name):
        default = "" if flag.default in (None, False) else f" Default: {flag.default}."
        text = " ".join(flag.help.split(";\n")[0].split())
        lines.append(f"  --{flag.name}{'' if flag.boolean else '=…'}\n      {text}{default}")
    return "\n".join([*lines, "", "Examples:", *(f"  {example}" for example in command.examples)])
