"""A button that gives the visitor a file."""

import anywidget
import traitlets

from skin_cancer.app.script import script


class Save(anywidget.AnyWidget):
    """A button that saves a text, which the browser holds: it asks nothing of the server.

    Attributes:
        words: on the button.
        name: of the file.
        kind: its MIME type.
        text: what it contains.
    """

    _esm = script("download.js", "save.js")
    words = traitlets.Unicode().tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    kind = traitlets.Unicode().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
