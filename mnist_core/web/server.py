"""The process that serves: its limits, its patience, and how it ends."""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from mnist_core.interrupt import SIGNALS
from mnist_core.vision.quiet import quiet_process
from mnist_core.web.app import make_app
from mnist_core.web.together import SharedPredictor
from mnist_core.web.upload import Limits

# Nothing on the page comes from elsewhere, and nothing else may show it.
HEADERS = [
    ("Content-Security-Policy", "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
]
# For the answers that are under way when the server is asked to stop.
LAST_SECONDS = 2
MOST_CONNECTIONS = 1024


def serve(
    predictor: SharedPredictor, listener: socket.socket, limits: Limits, ready: Callable[[], None]
) -> int:
    """Answers until Ctrl-C or SIGTERM; what is asked by then has LAST_SECONDS. Returns how many were read.

    Args:
      ready: called once it listens and a signal ends it cleanly.
    """
    app = make_app(predictor, limits)
    # What is loaded by now stays. Else the collector goes through all of TensorFlow at the end, for seconds.
    gc.collect()
    gc.freeze()
    with quiet_process():
        asyncio.run(_Server(_config(app, limits), ready).serve(sockets=[listener]))
    return app.state.counts["pictures"]


def _config(app: FastAPI, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_patient(limits.receive_seconds),
        ws="none",
        headers=HEADERS,
        server_header=False,
        access_log=False,
        log_level="error",
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=LAST_SECONDS,
    )


class _Server(uvicorn.Server):
    """Ends without passing the signal on, which would end the process before it has said what it did."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            if connection.cycle and connection.cycle.more_body:
                # Who is still sending would be waited for.
                connection.transport.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        previous = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _patient(seconds: float) -> type[H11Protocol]:
    """The HTTP protocol that hangs up on who takes longer to ask; uvicorn alone would wait forever."""

    class Patient(H11Protocol):
        _alarm: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._wait_for_a_request()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._wait_for_a_request()

        def _wait_for_a_request(self) -> None:
            # What comes after an answer is the next head, or a body that nobody asked for.
            under_way = self.cycle and not self.cycle.response_complete
            if under_way and self._alarm:
                self._alarm.cancel()
                self._alarm = None
            elif not under_way and not self._alarm:
                self._alarm = self.loop.call_later(seconds, self.transport.close)

    return Patient
