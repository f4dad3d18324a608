"""The JavaScript of the page's widgets, from the files beside this one."""

from pathlib import Path


def script(*names: str) -> str:
    """Return files as one module, of which the last exports the widget that uses the others."""
    folder = Path(__file__).parent
    return "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)
