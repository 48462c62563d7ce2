"""The server of clean processes: `python -m zoowizard.library._preload DESCRIPTOR [gently]`. See `clean`.

It ends when nobody holds the other end of the socket `DESCRIPTOR` any more.
"""

import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import wait
from importlib import import_module
from typing import Final

from zoowizard.jobs import forks

LIBRARY: Final = ("bioimageio.core", "bioimageio.core.backends.torchscript_backend", "onnxruntime")
LATE: Final = (
    "bioimageio.core.backends.onnx_backend",
    "torch._inductor",
    *("anyio", "certifi", "httpcore"),
    *("imageio.plugins.pillow", "imageio.plugins.tifffile_v3"),
    *("PIL.BmpImagePlugin", "PIL.GifImagePlugin", "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "PIL.PpmImagePlugin"),
)
"""What the library, and torch where it is asked to be deterministic, import only when a package is tested."""


def main(arguments: Sequence[str]) -> int:
    """Load the library, then fork for whoever asks. Gives the exit code 0."""
    descriptor, *how = arguments
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with socket.socket(fileno=int(descriptor)) as door:
        door.set_inheritable(False)
        if how == ["gently"]:
            loading = forks.in_niced_thread(_load)
            while not loading.done():
                if forks.is_deserted(door):
                    return 0
                wait([loading], timeout=0.1)
            loading.result()
        else:
            _load()
        forks.serve(door, forks.handed_over)
    return 0


def _load() -> None:
    for name in (*LIBRARY, *LATE, "zoowizard.library.clean"):
        import_module(name)
    gc.collect()
    gc.freeze()  # the library collects garbage often: it need not look through all these modules each time


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # taking the libraries down in order would take seconds, and be heard in the log
