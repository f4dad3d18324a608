"""What Voila's server needs beside its settings: one kernel is ready before its visitor comes."""

from datetime import UTC, datetime

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager


class VisitorKernels(AsyncMappingKernelManager):
    """Kernels of the page; Voila adds to it a pool of those that wait for a visitor.

    The server looks at all kernels from time to time and ends those that were idle for long, but
    for the waiting ones. Here these count as active, so that none is ended in the moment in which a
    visitor has got it and not connected yet, and one that died is replaced.
    """

    async def cull_kernels(self) -> None:
        """End kernels that nobody has used for `cull_idle_timeout` seconds."""
        tasks = [task for pool in self._pools.values() for task in pool]
        waiting = [task.result() for task in tasks if task.done() and not task.exception()]
        for kernel in waiting:
            await self._keep(kernel["kernel_id"])
        await super().cull_kernels()

    async def _keep(self, kernel_id):
        if await self._kernels[kernel_id].is_alive():
            self._kernels[kernel_id].last_activity = datetime.now(UTC)
        else:
            await self.shutdown_kernel(kernel_id, now=True)
            self.fill_if_needed(notebook_name=self.notebook_path)
