"""The HTTP interface: what may be asked, what is answered, and the page that asks it."""

import asyncio
import base64
import concurrent.futures
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from typing import Any

import pydantic
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from mnist_core import __version__
from mnist_core.errors import InputError
from mnist_core.vision.answers import Digit
from mnist_core.web.together import SharedPredictor
from mnist_core.web.upload import KINDS, Limits, RefusedError, Room, decode, extract, receive

PAGE = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js", "/pad.js": "pad.js"}
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
FILE = {"type": "string", "format": "binary"}
BODY = {
    "required": True,
    "description": f"A picture: {KINDS}.",
    "content": {
        "image/*": {"schema": FILE},
        "multipart/form-data": {"schema": {"type": "object", "properties": {"file": FILE}}},
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {
                    "image": {"type": "string", "description": "the file in base64, or a data URL"}
                },
            }
        },
    },
}
REFUSALS = {
    400: "there is no picture in the body",
    403: "another site's page asks",
    408: "the body came too slowly",
    413: "the body is too long, or the picture too large",
    415: "the content type is none of those",
    422: "the picture can't be read",
    503: "too much is asked at a time; come again",
}


class DigitAnswer(pydantic.BaseModel):
    """One digit of a picture."""

    digit: int
    probability: float
    probabilities: list[float] = pydantic.Field(description="of 0 to 9")
    box: tuple[int, int, int, int] = pydantic.Field(description="x, y, width, height in pixels")
    image: str = pydantic.Field(description="as MNIST shows it: 28x28 bytes in base64, 255 is ink")


class PictureAnswer(pydantic.BaseModel):
    """What is written in a picture."""

    status: str = pydantic.Field(description="ok or no_digit")
    text: str = pydantic.Field(description="the digits in reading order, rows separated by a newline")
    digits: list[DigitAnswer]
    width: int = pydantic.Field(description="of the picture, in pixels, once it is upright")
    height: int
    milliseconds: float = pydantic.Field(description="from the body's end to the answer")


class ErrorAnswer(pydantic.BaseModel):
    """Why there is no answer, and what to do, in one line."""

    error: str


def make_app(predictor: SharedPredictor, limits: Limits) -> FastAPI:
    """The application; reading is done in threads of its own, never where the requests are served.

    Its ``state.counts`` says how many ``pictures`` were read.
    """
    readers = concurrent.futures.ThreadPoolExecutor(limits.threads, thread_name_prefix="reader")

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        readers.shutdown(cancel_futures=True)
        predictor.close()

    # The pages that FastAPI offers for its description would load scripts from elsewhere.
    app = FastAPI(title="mnist_core", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.counts = counts = {"pictures": 0}
    room = Room(limits)

    @app.post(
        "/api/predict",
        summary="Read the digits in a picture",
        responses={
            200: {"model": PictureAnswer},
            **{status: {"model": ErrorAnswer, "description": why} for status, why in REFUSALS.items()},
        },
        openapi_extra={"requestBody": BODY},
    )
    async def predict(request: Request) -> JSONResponse:
        _check_origin(request)
        with room.share() as take:
            body = await receive(request, limits, take)
            begin = time.perf_counter()
            # The reader takes it out: what is given up on while it waits holds no memory.
            picture = [await extract(request, body)]
            del body
            reading = asyncio.get_running_loop().run_in_executor(readers, _read, predictor, picture, limits)
            try:
                answer = await asyncio.wait_for(reading, limits.answer_seconds)
            except TimeoutError:
                raise RefusedError(503, "reading took too long; come again, with a smaller picture") from None
            finally:
                picture.clear()
        counts["pictures"] += 1
        return JSONResponse({**answer, "milliseconds": round(1000 * (time.perf_counter() - begin), 2)})

    @app.get("/healthz", summary="Is it up, and what has it done?")
    async def healthz() -> dict[str, Any]:
        run, calls = predictor.run.name if predictor.run else None, predictor.network_calls
        return {"status": "ok", "run": run, **counts, "waiting": room.waiting, "network_calls": calls}

    _add_page(app)
    _add_errors(app)
    return app


def _check_origin(request: Request) -> None:
    """Refuses what a page of another site has a browser send; no browser asks first about a form."""
    origin = request.headers.get("origin")
    if origin and origin.partition("://")[2].lower() != request.headers.get("host", "").lower():
        raise RefusedError(403, f"the page asking is of {origin}, not of this server; ask from its own page")


def _read(predictor: SharedPredictor, picture: list[bytes], limits: Limits) -> dict[str, Any]:
    gray = decode(picture.pop(), limits)
    page = predictor.read(gray)
    return {
        "status": "ok" if page.digits else "no_digit",
        "text": page.text,
        "digits": [_digit(one) for one in page.digits],
        "width": gray.shape[1],
        "height": gray.shape[0],
    }


def _digit(one: Digit) -> dict[str, Any]:
    return {
        "digit": one.digit,
        "probability": one.probability,
        "probabilities": one.probabilities.tolist(),
        "box": list(one.box),
        "image": base64.b64encode(one.image.tobytes()).decode(),
    }


def _add_page(app: FastAPI) -> None:
    def show(response: Response) -> Callable[[Request], Awaitable[Response]]:
        async def answer(_: Request) -> Response:
            return response

        return answer

    for path, name in PAGE.items():
        content = resources.files("mnist_core.web").joinpath("page", name).read_bytes()
        app.add_route(path, show(Response(content, media_type=TYPES[name.rpartition(".")[2]])), ["GET"])


def _add_errors(app: FastAPI) -> None:
    """What goes wrong is one line of JSON, which says nothing about how the program is made."""

    @app.exception_handler(Exception)
    @app.exception_handler(HTTPException)
    @app.exception_handler(InputError)
    @app.exception_handler(RefusedError)
    async def say(_: Request, error: Exception) -> JSONResponse:
        message, status = str(error), 500
        match error:
            case RefusedError():
                status = error.status
            case InputError():
                status = 422
            case HTTPException():
                message, status = error.detail, error.status_code
            case _:
                message = "something unexpected happened; the server's log tells more"
        # What is left of a body that was refused would be taken for the next request.
        headers = {"Retry-After": "1", "Connection": "close"} if status in {408, 413, 503} else None
        return JSONResponse({"error": message}, status, headers)
