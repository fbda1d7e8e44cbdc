"""Shows a page in the browser that reads what is drawn or photographed, and answers POST /api/predict.

It listens on this computer alone unless --host says otherwise, until Ctrl-C. GET /openapi.json tells programs
how to ask, GET /healthz whether it is up.
"""

import argparse
import socket

from mnist_core import cli
from mnist_core.errors import UsageError, need, warn
from mnist_core.imports import import_predictor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    cli.add_run_argument(parser)
    cli.add_engine_argument(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: %(default)s)")


def main(args: argparse.Namespace) -> cli.Answer:
    """Serves until it is interrupted."""
    for package in ("fastapi", "uvicorn", "python_multipart"):
        need(package, "web")
    # Before TensorFlow, which takes its time: the port may be in use.
    with listen(args.host, args.port) as listener:
        import_predictor()
        from mnist_core.web.server import serve
        from mnist_core.web.together import SharedPredictor
        from mnist_core.web.upload import Limits

        predictor = SharedPredictor(args.run, args.log_dir, engine=args.engine)
        host, port = listener.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        line = f"{url} reads with {predictor.run}; Ctrl-C ends it"
        pictures = serve(predictor, listener, Limits(), lambda: warn(line))
    data = {"url": url, "run_dir": str(predictor.run), "pictures": pictures}
    return cli.Answer(data, f"{pictures:,} pictures were read")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
      UsageError: the port is in use or not allowed, or there is no such host.
    """
    try:
        if not 0 <= port < 2**16:
            # The system would take what is left of it by division.
            raise OverflowError("a port is 0 to 65535")
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        # A label of a name that is empty, or longer than 63 letters, is none that could be encoded.
        reason = getattr(error, "strerror", None) or (
            "no host can have that name" if isinstance(error, UnicodeError) else error
        )
        raise UsageError(
            f"can't listen at --host {host} --port {port}: {reason}; "
            "name another host, or another port (0 takes a free one)"
        ) from error
    # The connections inherit it. asyncio sets it for sockets whose protocol is named only, which this one's
    # isn't: the body of an answer would wait 40 ms for the other side to confirm its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
