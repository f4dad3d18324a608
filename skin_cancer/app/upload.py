"""Files from the visitor's device to the kernel, in chunks."""

import logging
from collections.abc import Callable
from pathlib import Path

import anywidget
import traitlets

from skin_cancer.errors import ImageError
from skin_cancer.images import decoding, pillow_formats

INCOMPLETE = "The file did not arrive whole. Choose it again."

log = logging.getLogger(__name__)


class Upload(anywidget.AnyWidget):
    """Takes files that are chosen, dropped, pasted or photographed, one after the other.

    A file comes in chunks of a megabyte, each asked for by the answer to the one before, so that no
    message nears the server's limit, and a file that is too large is refused before it is sent.

    Args:
        receive: is given a file's name, its bytes, whether none of those that came together was
            handed over before, and how many of them are still to come.
        refuse: is given instead of the bytes the sentence that says why there are none.
        example: is called when the visitor asks for an example instead.
        ready: is called once the page is there.
    """

    _esm = Path(__file__).with_name("upload.js")
    limit = traitlets.Int(decoding.MAX_BYTES).tag(sync=True)
    # A phone that is not offered HEIC sends JPEG, so only what can be read here is.
    endings = traitlets.Unicode(",".join(pillow_formats.endings())).tag(sync=True)

    def __init__(
        self,
        receive: Callable[[str, bytes, bool, int], None],
        refuse: Callable[[str, str, bool, int], None],
        example: Callable[[], None],
        ready: Callable[[], None],
    ):
        super().__init__()
        self._receive, self._refuse = receive, refuse
        self._events = {"example": example, "ready": ready, "alive": lambda: None}
        self._data = bytearray()
        self._seen = self._batch = self._forgotten = self._left = 0
        self.on_msg(self._arrived)

    def forget(self) -> None:
        """Drop what is on its way, here and in the browser."""
        self._data, self._forgotten = bytearray(), self._seen
        self.send({"forget": True})

    def _arrived(self, _widget, message, buffers):
        more = False
        try:
            if "event" in message:
                self._events[message["event"]]()
            else:
                more = self._arrived_of_a_file(message, buffers)
        except (AttributeError, KeyError, TypeError, ValueError):
            log.warning("a message that no page of this program sends")
        if isinstance(message, dict):
            self.send({"more": more, "answers": message.get("number")})

    def _arrived_of_a_file(self, message, buffers):
        name, batch = str(message["name"]), int(message["batch"])
        size, offset = int(message["size"]), int(message["offset"])
        self._seen, self._left = batch, max(0, int(message["left"]))
        if batch == self._forgotten:
            return False
        return self._take(name, buffers[0] if buffers else b"", size, offset, batch)

    def _take(self, name, chunk, size, offset, batch):
        """Take a chunk, hand the file over or refuse it; return whether more chunks are to come."""
        try:
            more = self._collect(chunk, size, offset)
        except ImageError as error:
            more, self._data = False, bytearray()
            self._hand_over(batch, self._refuse, name, str(error))
        else:
            if not more:
                content, self._data = bytes(self._data), bytearray()
                self._hand_over(batch, self._receive, name, content)
        return more

    def _hand_over(self, batch, take, name, what):
        first, self._batch = batch != self._batch, batch
        take(name, what, first, self._left)

    def _collect(self, chunk, size, offset):
        """Append a chunk and return whether more are to come."""
        decoding.check_bytes(size)
        if offset == 0:
            self._data = bytearray()
        if offset != len(self._data) or not 0 < len(chunk) <= size - offset:
            raise ImageError(INCOMPLETE)
        self._data += chunk
        return len(self._data) < size
