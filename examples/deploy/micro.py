"""Writes a `.tflite` file as a C++ header for LiteRT for Microcontrollers: its bytes, and a resolver of its operators.

    python micro.py net.tflite net_model.h

It needs `pip install ai-edge-litert` alone. The bytes are constant and aligned, so that they stay in flash memory.
"""

import argparse
import pathlib
import re
import sys

from ai_edge_litert import schema_py_generated as schema

# Where `MicroMutableOpResolver` writes a name in another way than the schema of the file.
NAMES = {"CUMSUM": "CumSum", "LSTM": "Lstm", "PADV2": "PadV2", "SELECT_V2": "SelectV2", "SPLIT_V": "SplitV", "TANH": "Tanh"}

HEADER = """\
// Made by micro.py from {file}, {size} bytes.
#pragma once
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

alignas(16) constexpr unsigned char k{name}Model[] = {{
{rows}
}};

inline tflite::MicroMutableOpResolver<{count}> Make{name}Resolver() {{
  tflite::MicroMutableOpResolver<{count}> resolver;
{operators}
  return resolver;
}}
"""


def operators(content: bytes) -> list[str]:
    """Returns the names of the operators that a file holds, as its schema writes them.

    Args:
        content: The bytes of a `.tflite` file.

    Returns:
        Names such as `"CONV_2D"`, each once, in alphabetical order; `"CUSTOM …"` for one that is not builtin.
    """
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    used = {each.opcodeIndex for graph in model.subgraphs for each in graph.operators}
    codes = [model.operatorCodes[index] for index in used]
    # Old files tell their operators in an older field of one byte.
    found = {names[max(code.builtinCode, code.deprecatedBuiltinCode)]: code for code in codes}
    return sorted(name if name != "CUSTOM" else f"CUSTOM {code.customCode.decode()}" for name, code in found.items())


def method(operator: str) -> str:
    """Returns the method of `MicroMutableOpResolver` that adds an operator, such as `AddConv2D` for `CONV_2D`."""
    words = "".join(word.capitalize() for word in operator.split("_"))
    return "Add" + NAMES.get(operator, re.sub(r"(\d)d", r"\1D", words))


def header(content: bytes, file: str) -> str:
    """Returns the header.

    Args:
        content: The bytes of a `.tflite` file.
        file: Its name, which the names in the header are made of.

    Returns:
        C++.

    Raises:
        SystemExit: The file is none, or holds operators that are not builtin.
    """
    if content[4:8] != b"TFL3":
        sys.exit(f"{file} is no .tflite file.")
    needed = operators(content)
    custom = [name for name in needed if name.startswith("CUSTOM")]
    if custom:
        sys.exit(f"{file} holds operators that are not builtin: {', '.join(custom)}.")
    rows = (", ".join(map(str, content[start : start + 24])) for start in range(0, len(content), 24))
    return HEADER.format(
        file=file,
        size=len(content),
        name="".join(part.capitalize() for part in re.findall(r"[A-Za-z0-9]+", pathlib.Path(file).stem)),
        rows=",\n".join(rows),
        count=len(needed),
        operators="\n".join(f"  resolver.{method(name)}();" for name in needed),
    )


def main() -> None:
    """Writes the header, and prints the operators."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, help="the .tflite file")
    parser.add_argument("header", type=pathlib.Path, help="where the header goes")
    arguments = parser.parse_args()
    content = arguments.model.read_bytes()
    arguments.header.write_text(header(content, arguments.model.name))
    print(f"{len(content)} bytes, operators: {', '.join(operators(content))}")


if __name__ == "__main__":
    main()
