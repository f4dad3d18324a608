"""Sentences that a screen reader speaks when they change."""

from pathlib import Path

import anywidget
import traitlets


class Live(anywidget.AnyWidget):
    """A region of the page whose element stays while its text changes, so that it is announced.

    Attributes:
        value: plain text, a paragraph a line; empty for nothing.
        role: `status`, spoken when there is time, or `alert`, spoken at once.
    """

    _esm = Path(__file__).with_name("live.js")
    value = traitlets.Unicode().tag(sync=True)
    role = traitlets.Unicode().tag(sync=True)
