"""A button that gives the visitor a file."""

from collections.abc import Callable
from pathlib import Path

import anywidget
import traitlets


class Save(anywidget.AnyWidget):
    """A button whose file is made when it is pressed.

    Args:
        words: on the button.
        make: returns the file's name, its MIME type and its text; None if it cannot be made.
    """

    _esm = Path(__file__).with_name("save.js")
    words = traitlets.Unicode().tag(sync=True)

    def __init__(self, words: str, make: Callable[[], tuple[str, str, str] | None]):
        super().__init__(words=words)
        self._make = make
        self.on_msg(self._pressed)

    def _pressed(self, _widget, _message, _buffers):
        made = self._make()
        if made:
            name, kind, text = made
            self.send({"name": name, "kind": kind}, [text.encode()])
