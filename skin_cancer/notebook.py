"""What the notebooks begin with: their folder, versions, and parameters checked at once."""

import ast
import os
import platform
import sys
import typing
from importlib.metadata import version
from pathlib import Path

from matplotlib_inline.backend_inline import set_matplotlib_formats

from skin_cancer.errors import ParameterError

ROOT = Path(__file__).resolve().parent.parent
INJECTED = "# Parameters"  # papermill begins the cell with the caller's parameters so


def start(*packages: str) -> None:
    """Go to the project's folder, from which relative paths count, and print the versions.

    In a notebook figures become JPEG, a third of the size of PNG, and what TensorFlow and LiteRT
    write about their own start goes to the terminal of Jupyter; so this comes before they are
    imported.

    Args:
        packages: names of installed packages.
    """
    os.chdir(ROOT)
    terminal = getattr(sys.stderr, "_original_stdstream_copy", None)  # of ipykernel
    if terminal is not None:
        os.dup2(terminal, 2)
        set_matplotlib_formats("jpeg", pil_kwargs={"quality": 72})
    versions = [f"{name} {version(name)}" for name in packages]
    print(", ".join([f"Python {platform.python_version()}", *versions]))


def parameters(namespace: dict, **least: float) -> dict:
    """Return the parameters that a notebook declares, with the values they have now.

    A parameter is a variable declared with its type, as in `epochs: int = 3`. A name or value
    that papermill was given and that fits none of them stops the run here: papermill itself only
    warns of it. A whole number given for a text, as by `-p part 0`, becomes text; so does a list,
    as of dataset folders, with commas between.

    Args:
        namespace: `globals()` of the notebook.
        least: smallest value of a parameter, by its name.

    Raises:
        ParameterError: names every parameter that is unknown, of the wrong type or too small.
    """
    declared = namespace["__annotations__"]
    for name, kind in declared.items():
        if kind is str and type(namespace[name]) is int:
            namespace[name] = str(namespace[name])
        if kind is str and isinstance(namespace[name], list):
            namespace[name] = ",".join(map(str, namespace[name]))
    unknown = sorted(_injected(namespace.get("In", [])) - set(declared))
    problems = [f"{name} is unknown" for name in unknown]
    for name, kind in declared.items():
        value = namespace[name]
        if not _fits(value, kind):
            problems.append(f"{name}={value!r} is not of type {_words(kind)}")
        elif name in least and value is not None and value < least[name]:
            problems.append(f"{name}={value!r} is less than {least[name]}")
    if problems:
        raise ParameterError(
            f"Wrong parameters: {'; '.join(problems)}. There are {', '.join(declared)}."
        )
    return {name: namespace[name] for name in declared}


def _injected(cells):
    """Return the names that papermill's cell of parameters sets."""
    trees = [ast.parse(cell) for cell in cells if cell.startswith(INJECTED)]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return {node.id for node in nodes if isinstance(node, ast.Name) and _is_set(node)}


def _is_set(name):
    return isinstance(name.ctx, ast.Store)


def _fits(value, kind):
    kinds = typing.get_args(kind) or (kind,)
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int) and float in kinds:
        return True
    return isinstance(value, kinds)


def _words(kind):
    kinds = typing.get_args(kind) or (kind,)
    return " or ".join("None" if k is type(None) else k.__name__ for k in kinds)
