"""A button that gives the visitor a table."""

import anywidget
import traitlets

from skin_cancer.app.script import script


class Save(anywidget.AnyWidget):
    """A button that saves a table, which the browser holds: it asks nothing of the server.

    The file has comma separated values with decimal points, or, where the visitor's language writes
    decimal commas, semicolons between values: a spreadsheet there expects both.

    Attributes:
        words: on the button.
        name: of the file.
        lines: of texts and numbers, the names of the columns first.
    """

    _esm = script("download.js", "save.js")
    words = traitlets.Unicode().tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    lines: traitlets.List[list] = traitlets.List().tag(sync=True)
