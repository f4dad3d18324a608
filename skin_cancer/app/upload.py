"""Files from the visitor's device to the kernel, in chunks."""

import logging
from collections.abc import Callable
from pathlib import Path

import anywidget
import traitlets

from skin_cancer import imaging
from skin_cancer.errors import ImageError

INCOMPLETE = "The file did not arrive whole. Choose it again."

log = logging.getLogger(__name__)


class Upload(anywidget.AnyWidget):
    """Takes files that are chosen, dropped, pasted or photographed, one after the other.

    A file comes in chunks of a megabyte, each asked for by the answer to the one before, so that no
    message nears the server's limit, and a file that is too large is refused before it is sent.

    Args:
        receive: is given a file's name, its bytes, and whether it is the first of those that came
            together.
        refuse: is given instead of the bytes the sentence that says why there are none.
        example: is called when the visitor asks for an example instead.
        ready: is called once the page is there.
    """

    _esm = Path(__file__).with_name("upload.js")
    limit = traitlets.Int(imaging.MAX_BYTES).tag(sync=True)

    def __init__(
        self,
        receive: Callable[[str, bytes, bool], None],
        refuse: Callable[[str, str, bool], None],
        example: Callable[[], None],
        ready: Callable[[], None],
    ):
        super().__init__()
        self._receive, self._refuse = receive, refuse
        self._events = {"example": example, "ready": ready}
        self._data = bytearray()
        self.on_msg(self._arrived)

    def _arrived(self, _widget, message, buffers):
        try:
            if "event" in message:
                self._events[message["event"]]()
                return
            name, first = str(message["name"]), bool(message["first"])
            size, offset = int(message["size"]), int(message["offset"])
            chunk = buffers[0] if buffers else b""
        except (KeyError, TypeError, ValueError):
            log.warning("a message that no page of this program sends")
            return
        more = False
        try:
            more = self._collect(chunk, size, offset)
        except ImageError as error:
            self._data = bytearray()
            self._refuse(name, str(error), first)
        else:
            if not more:
                content, self._data = bytes(self._data), bytearray()
                self._receive(name, content, first)
        finally:
            self.send({"more": more, "answers": message.get("number")})

    def _collect(self, chunk, size, offset):
        """Append a chunk and return whether more are to come."""
        imaging.check_bytes(size)
        if offset == 0:
            self._data = bytearray()
        if offset != len(self._data) or not 0 < len(chunk) <= size - offset:
            raise ImageError(INCOMPLETE)
        self._data += chunk
        return len(self._data) < size
