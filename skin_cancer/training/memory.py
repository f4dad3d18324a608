"""Memory that each step of a training frees, and that the next one asks for again."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
MOST = 2**31 - 1  # bytes


def keep_freed() -> None:
    """Let glibc keep what is freed, where the C library is glibc.

    By default it gives large blocks back to the system, and every step of a training gets its
    memory page by page anew. See mallopt(3).
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, MOST)
