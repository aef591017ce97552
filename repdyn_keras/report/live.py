"""The page of a run that goes on, served to browsers on this machine."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from repdyn_keras.dynamics import open_run
from repdyn_keras.errors import InputError
from repdyn_keras.report.run_page import (
    asset,
    policy,
    report_html,
    script_of,
    template,
    trusted,
)
from repdyn_keras.text import format_error, visible

if TYPE_CHECKING:
    from pathlib import Path

LOCAL_HOST = "127.0.0.1"
MAX_TEXT = 300
# Attempts to make the page of one version.
MAX_FAILURES = 3


class LivePage:
    """The page of a run as its records are now.

    Args:
        path: the folder of the run, which need not exist yet.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        self._version = ""
        self._page = b""
        self._failures = 0

    def version(self) -> str:
        """What changes when the run has a new record or results."""
        parts = []
        for name in ("records/*.nc", "dynamics.nc"):
            times = []
            for file in self.path.glob(name):
                # A file may be replaced in between.
                with suppress(FileNotFoundError):
                    times.append(file.stat().st_mtime_ns)
            parts.append(f"{len(times)}-{max(times, default=0)}")
        return "-".join(parts)

    def page(self) -> bytes:
        """The page; made once for each version. A page that waits says why there is none yet."""
        with self._lock:
            version = self.version()
            if version != self._version:
                try:
                    self._page = report_html(open_run(self.path), version).encode("utf-8")
                except InputError as error:
                    self._page = self._waiting(str(error), version)
                except Exception as error:
                    # The server goes on: the run may be written to right now. A version that is
                    # none makes the browser ask for the page again.
                    self._failures += 1
                    again = self._failures < MAX_FAILURES
                    self._page = self._waiting(format_error(error), "none" if again else version)
                    if again:
                        return self._page
                self._version, self._failures = version, 0
            return self._page

    def _waiting(self, problem: str, version: str) -> bytes:
        script = script_of("wait.js")
        page = template("wait.html.jinja").render(
            path=visible(self.path, MAX_TEXT),
            has_records=any(self.path.glob("records/*.nc")),
            problem=visible(problem, MAX_TEXT),
            policy=policy(script, is_served=True),
            style=trusted(asset("page.css")),
            script=trusted(script),
            live=version,
        )
        return page.encode("utf-8")


class Server(ThreadingHTTPServer):
    """Serves the page of a run under `/`, and its version under `/version`.

    Args:
        page: the page.
        host: address or name to listen at.
        port: to listen at; 0 for any that is free.

    Raises:
        InputError: the address or the port cannot be used.
    """

    daemon_threads = True

    def __init__(self, page: LivePage, host: str = LOCAL_HOST, port: int = 0):
        self.page = page
        self.is_local = is_local(host)
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host.strip("[]"), port), Handler)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"Expected an address of this machine and a free port. Received: {host}, port "
                f"{port} ({error}). --port 0 takes any that is free."
            ) from None

    @property
    def url(self) -> str:
        """The address of the page."""
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def allows(self, host: str) -> bool:
        """Whether a request that names this host may be answered.

        Without this, a page of a stranger whose name leads to this machine could read the run.
        """
        return not self.is_local or is_local(re.sub(r":\d+$", "", host))

    def handle_error(self, request: object, client_address: object) -> None:
        """Prints nothing: a browser may close a connection at any time."""


def is_local(host: str) -> bool:
    """Whether a name or an address is that of this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server

    def do_GET(self) -> None:
        """Sends the page or its version."""
        page = self.server.page
        if not self.server.allows(self.headers.get("Host", "")):
            self.answer(HTTPStatus.FORBIDDEN, "text/plain", b"Expected a local name.")
        elif self.path == "/":
            self.answer(HTTPStatus.OK, "text/html", page.page())
        elif self.path == "/version":
            self.answer(HTTPStatus.OK, "text/plain", page.version().encode("ascii"))
        else:
            self.answer(HTTPStatus.NOT_FOUND, "text/plain", b"There is only one page.")

    def answer(self, status: HTTPStatus, kind: str, data: bytes) -> None:
        """Sends a status and some data."""
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Frame-Options", "DENY")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Prints nothing: requests come every two seconds."""
