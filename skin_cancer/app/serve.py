"""`make app`: Voila, started with plain words, for the page and nothing else."""

import argparse
import errno
import ipaddress
import logging
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

import nbformat
import traitlets
from nbformat.sign import MemorySignatureStore
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from traitlets.config import Config
from voila.app import Voila
from voila.tornado.handler import TornadoVoilaHandler

from skin_cancer.errors import SkinCancerError
from skin_cancer.images.kinds import FORMATS
from skin_cancer.model import bundle

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "app.ipynb"
PORT = 8866
AUTO = "auto"
# Where it listens, as a browser on this computer calls it.
FROM_HERE = {"127.0.0.1": "localhost", "0.0.0.0": "localhost", "::": "::1"}
# What Jupyter and IPython otherwise write to is in the visitor's home, or wherever these point.
WRITTEN = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")


class PageHandler(TornadoVoilaHandler):
    """The page; a question whether it is there starts no kernel."""

    def head(self, path: str | None = None) -> None:
        """Answer as `GET` would, without the page."""
        if path:
            self.redirect_to_file(path)


class PageServer(Voila):
    """Voila for the page, on sockets that are open already.

    Attributes:
        sockets: where it listens.
    """

    sockets: traitlets.List[socket.socket] = traitlets.List()

    def init_settings(self) -> dict:
        """Trust the page's notebook, which this program ships."""
        settings = super().init_settings()
        self.contents_manager.notary.sign(nbformat.read(self.notebook_path, as_version=4))
        return settings

    def init_handlers(self) -> list:
        """Take our handler of the page for Voila's."""
        return [
            (pattern, PageHandler if handler is TornadoVoilaHandler else handler, *options)
            for pattern, handler, *options in super().init_handlers()
        ]

    def listen(self) -> None:
        """Serve until stopped; say the address as soon as there is an answer."""
        HTTPServer(self.app).add_sockets(self.sockets)
        self.ioloop = IOLoop.current()
        self.ioloop.add_callback(self._say_where)
        wake = self.ioloop.asyncio_loop.call_soon_threadsafe  # type: ignore[attr-defined]
        signal.signal(signal.SIGINT, lambda *_: wake(self._interrupt))
        self.ioloop.start()
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C does not wait for kernels
        self.stop()

    def stop(self) -> None:
        """End all kernels at once, whatever they are at: they keep nothing."""
        self.ioloop.run_sync(self.kernel_manager.end_all)

    def _interrupt(self):
        print()  # the terminal shows ^C
        self.ioloop.stop()

    async def _say_where(self):
        places = [each.getsockname()[0] for each in self.sockets]
        here = all(ipaddress.ip_address(place).is_loopback for place in places)
        address = _address(FROM_HERE.get(places[0], self.ip), self.port)
        await AsyncHTTPClient().fetch(address, method="HEAD")
        if not here:
            print("Anyone on this network can open the page, and images travel unencrypted.")
        print(f"The page is at {address} ; stop it with Ctrl-C.", flush=True)


def main() -> None:
    """Serve the page until it is stopped; what prevents that is said in a sentence."""
    options, voila = _parser().parse_known_args()
    folder = Path(options.bundle or bundle.DEFAULT_BUNDLE).resolve()
    try:
        bundle.read(folder)
    except SkinCancerError as error:
        sys.exit(str(error))
    os.environ[bundle.BUNDLE_VARIABLE] = str(folder)
    sockets = _open(options.ip, options.port)
    with _temporary_folder() as written:
        _prepare(written)
        server = PageServer.instance(
            ip=options.ip,
            port=sockets[0].getsockname()[1],
            sockets=sockets,
            notebook_path=str(NOTEBOOK),
            config_file_paths=[str(ROOT)],
            connection_dir_root=written,
            open_browser=False,
            log_level=logging.WARNING,
            config=Config(
                NotebookNotary={"store_factory": MemorySignatureStore, "secret": os.urandom(32)}
            ),
        )
        server.initialize(voila)
        server.start()


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m skin_cancer.app.serve",
        description=f"Serve the page, which reads {FORMATS} files. Further options are Voila's.",
        allow_abbrev=False,
    )
    parser.add_argument("--ip", default="127.0.0.1", help="address of this computer to listen at")
    parser.add_argument("--port", type=_port, default=PORT, help=f"a number, or {AUTO}: a free one")
    parser.add_argument(
        "--bundle", default=os.environ.get(bundle.BUNDLE_VARIABLE), help="folder of the model"
    )
    return parser


def _port(text):
    if text == AUTO:
        return text
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text} is neither a number from 1 to 65535 nor {AUTO}")
    return int(text)


def _open(ip, port):
    """Return sockets at an address; without one there, say why and end the program."""
    try:
        return bind_sockets(PORT if port == AUTO else port, ip)
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        if in_use and port == AUTO:
            return bind_sockets(0, ip)
        reason = error.strerror or error
    if in_use:
        sys.exit(
            f"Port {port} is in use. Stop what uses it, or take another: make app PORT=9000, or "
            f"PORT={AUTO} for any that is free."
        )
    sys.exit(f"The page cannot be served at {ip}, port {port}: {reason}.")


def _temporary_folder():
    """Make the folder that is written to; where none can be made, say so and end the program."""
    try:
        return tempfile.TemporaryDirectory(prefix="skin_cancer_", ignore_cleanup_errors=True)
    except OSError as error:
        sys.exit(
            f"The page needs a temporary folder: {error.strerror}. Make room there, or name a "
            "folder that can be written: make app TMPDIR=FOLDER."
        )


def _prepare(folder):
    """Let this process and its kernels write to a folder alone, and say what matters alone."""
    for name in WRITTEN:
        os.environ[name] = os.path.join(folder, name.lower())
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # no debugger is used
    logging.getLogger("tornado").setLevel(logging.ERROR)


def _address(host, port):
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


if __name__ == "__main__":
    main()
