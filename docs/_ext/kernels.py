"""Kernels of the tutorials: copies of one process that has imported what all of them need.

Each kernel would spend some seconds on the same imports, and so would the API reference. Here
the build imports them once; a copy of it, the server, is forked for each notebook. The kernel's
command is :func:`main`, which asks the server for a kernel and waits for its end. Where processes
cannot be forked, kernels are ordinary ones.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

SHARED = (
    "IPython.core.interactiveshell",
    "anndata",
    "ipykernel.kernelapp",
    "matplotlib.pyplot",
    "matplotlib_inline.backend_inline",
    "ppvae.evaluate",
    "ppvae.plots",
    "ppvae.report",
    "ppvae.testing",
    "ppvae.zoo",
    "sklearn.decomposition",
    "torch._dynamo",  # which the first optimiser of a process imports
    "zuko",
)


def setup(app: Any) -> dict[str, bool]:
    """Start the server, and name its kernel to Jupyter as that of Python."""
    if hasattr(os, "fork") and sys.platform == "linux":
        folder = tempfile.TemporaryDirectory()
        address = f"{folder.name}/server"
        kernel = Path(folder.name, "kernels", "python3", "kernel.json")
        kernel.parent.mkdir(parents=True)
        with warnings.catch_warnings():  # Such as tqdm's on widgets.
            warnings.simplefilter("ignore")
            for name in SHARED:
                importlib.import_module(name)
        command = [sys.executable, "-I", "-S", __file__, address, "{connection_file}"]
        text = {"argv": command, "display_name": "Python 3", "language": "python"}
        kernel.write_text(json.dumps(text), encoding="utf-8")
        os.environ["JUPYTER_PATH"] = folder.name
        server = socket.socket(socket.AF_UNIX)
        server.bind(address)
        server.listen()
        parent = os.getpid()
        if os.fork() == 0:
            _serve(server, parent)
        server.close()
        app.connect("build-finished", lambda *_: folder.cleanup())
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _serve(server: socket.socket, parent: int) -> None:
    """Make a copy of this process for each kernel, until the build ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Copies that have ended are not waited for.
    gc.freeze()  # Objects that copies share are not written to by the garbage collector.
    server.settimeout(1)
    while os.getppid() == parent:
        try:
            connection, _ = server.accept()
        except TimeoutError:
            continue
        if os.fork() == 0:
            server.close()
            _be_a_kernel(connection)
        connection.close()
    os._exit(0)


def _be_a_kernel(connection: socket.socket) -> None:
    """Run the kernel that is asked for; end with whoever asked."""
    from ipykernel.kernelapp import IPKernelApp

    asked = json.loads(connection.makefile().readline())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(asked["folder"])
    threading.Thread(target=lambda: os._exit(len(connection.recv(1))), daemon=True).start()
    options = [f"--IPKernelApp.parent_handle={os.getppid()}", "--IPKernelApp.log_level=ERROR"]
    IPKernelApp.launch_instance(argv=[*options, "-f", *asked["arguments"]])
    os._exit(0)


def main(address: str, *arguments: str) -> None:
    """Ask the server for a kernel with these arguments, and wait until it has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # An interrupted kernel is one to be ended.
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    asked = json.dumps({"arguments": arguments, "folder": os.getcwd()})
    connection.sendall(f"{asked}\n".encode())
    connection.recv(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
