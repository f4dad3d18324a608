"""What Voila's server needs beside its settings: how visitors get and reach their kernels."""

import asyncio
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.web import HTTPError

CLOCK_DRIFT = 1.0  # seconds between two looks that are no jump
PROTOCOL = "v1.kernel.websocket.jupyter.org"
ARGUMENTS = [
    "--IPKernelApp.outstream_class=None",  # what a kernel prints, not to its visitor
    "--IPKernelApp.log_level=ERROR",  # it warns that it listens, to this computer alone
]


class VisitorKernels(AsyncMappingKernelManager):
    """Kernels of the page; Voila adds to it a pool of those that wait for a visitor.

    The server looks at all kernels from time to time and ends those that were idle for long, but
    for the waiting ones. Here these count as active, so that none is ended in the moment in which a
    visitor has got it and not connected yet, and one that died is replaced.
    """

    # What Voila adds.
    notebook_path: str
    fill_if_needed: Callable
    _pools: dict[str, list]

    _ahead: float | None = None  # seconds that the system's clock was ahead of the steady one

    async def start_kernel(self, **options: Any) -> str:  # type: ignore[override]  # of a decorator
        """Start a kernel whose output goes to the server's log; return its id."""
        return await super().start_kernel(extra_arguments=ARGUMENTS, **options)

    async def end_all(self) -> None:
        """End all kernels at once, those that are just starting too.

        Voila's `shutdown_all` waits until they have started, and fails where one has not.
        """
        await asyncio.gather(*self._pending_kernels.values(), return_exceptions=True)
        for task in itertools.chain(*self._pools.values()):
            task.cancel()
        ends = [kernel.shutdown_kernel(now=True) for kernel in self._kernels.values()]
        await asyncio.gather(*ends, return_exceptions=True)

    async def cull_kernels(self) -> None:
        """End kernels that nobody has used for `cull_idle_timeout` seconds.

        Where the system's clock was set since the last time, nobody knows how long that is: all
        count as used just now.
        """
        if self._clock_was_set():
            for kernel in self._kernels.values():
                kernel.last_activity = datetime.now(UTC)
        tasks = [task for pool in self._pools.values() for task in pool]
        waiting = [task.result() for task in tasks if task.done() and not task.exception()]
        for kernel in waiting:
            await self._keep(kernel["kernel_id"])
        await super().cull_kernels()

    def _clock_was_set(self):
        before, self._ahead = self._ahead, time.time() - time.monotonic()
        return before is not None and abs(self._ahead - before) > CLOCK_DRIFT

    async def _keep(self, kernel_id):
        if await self._kernels[kernel_id].is_alive():
            self._kernels[kernel_id].last_activity = datetime.now(UTC)
        else:
            await self.shutdown_kernel(kernel_id, now=True)
            self.fill_if_needed(notebook_name=self.notebook_path)


class VisitorConnection(ZMQChannelsWebsocketConnection):
    """A visitor's websocket, on which only whole messages of the page's own protocol pass.

    Jupyter and Voila trust the offsets at the beginning of a message. Wrong ones, or a message of
    the older protocol that Voila takes for this one, would keep the server busy for ever.
    """

    async def prepare(self) -> None:
        """Get ready for a visitor.

        Raises:
            HTTPError: 400, the visitor does not offer the protocol.
        """
        if PROTOCOL not in self.websocket_handler.request.headers.get("Sec-WebSocket-Protocol", ""):
            raise HTTPError(400, reason="Unknown protocol")
        await super().prepare()

    def handle_incoming_message(self, incoming_msg: Any) -> None:
        """Hand a message on to the kernel if it is whole."""
        if _is_whole(incoming_msg):
            super().handle_incoming_message(incoming_msg)
        else:
            self.log.warning("a message that no page of this program sends")


def _is_whole(message):
    """Whether a message has its channel and four parts, or more, one after the other."""
    if not isinstance(message, bytes):
        return False
    count = int.from_bytes(message[:8], "little")
    if not 6 <= count < len(message) // 8:
        return False
    places = [int.from_bytes(message[8 * i : 8 * i + 8], "little") for i in range(1, count + 1)]
    return places == sorted(places) and places[0] == 8 * (count + 1) and places[-1] == len(message)
