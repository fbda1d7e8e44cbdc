"""The picture in a request's body: raw, in a form or in JSON; and the limits that hold for it."""

import asyncio
import base64
import binascii
import contextlib
import dataclasses
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator

import numpy as np
from fastapi import Request
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from mnist_core.vision.read import TooManyPixelsError, read_image

# What is wrong with a form is for the client to hear.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

# Of a form's body, which is parsed piece by piece so that it isn't copied as a whole.
PIECE = 2**20
KINDS = "image/png and other images as they are, multipart/form-data with a file, or application/json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What one client, or all of them, may ask for.

    Attributes:
      body_bytes: length of a request's body.
      all_bytes: of all bodies that are received, wait or are read at a time.
      pixels: of a picture, before it is decoded.
      pictures: that are received, wait or are read at a time; more are told to come again.
      receive_seconds: for a request's head, and again for its body.
      answer_seconds: from the body's end to the answer.
      threads: that read pictures.
    """

    body_bytes: int = 16 * 2**20
    all_bytes: int = 256 * 2**20
    pixels: int = 40_000_000
    pictures: int = 128
    receive_seconds: float = 10.0
    answer_seconds: float = 25.0
    threads: int = 4


class RefusedError(Exception):
    """A request that isn't answered with a picture's digits; ``status`` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Room:
    """For the requests that are under way: so many pictures, and so many bytes of bodies.

    Attributes:
      waiting: how many pictures are under way.
    """

    def __init__(self, limits: Limits) -> None:
        self.waiting, self._most, self._bytes_left = 0, limits.pictures, limits.all_bytes

    @contextlib.contextmanager
    def share(self) -> Iterator[Callable[[int], bool]]:
        """One request's: a function that takes so many bytes more, or tells that there is no room.

        Raises:
          RefusedError: there is no room for another picture.
        """
        if self.waiting >= self._most:
            raise RefusedError(503, f"{self._most} pictures are being read; come again in a second")
        taken = 0

        def take(count: int) -> bool:
            nonlocal taken
            if count > self._bytes_left:
                return False
            self._bytes_left -= count
            taken += count
            return True

        self.waiting += 1
        try:
            yield take
        finally:
            self.waiting -= 1
            self._bytes_left += taken


async def receive(request: Request, limits: Limits, take: Callable[[int], bool]) -> bytes:
    """Receives a request's body.

    Args:
      take: see `Room`.

    Raises:
      RefusedError: it is too long, too slow or empty, or there is no room for it.
    """
    body, length, room = bytearray(), 0, True
    try:
        async with asyncio.timeout(limits.receive_seconds):
            async for part in request.stream():
                length += len(part)
                room = room and length <= limits.body_bytes and take(len(part))
                if room:
                    body += part
                else:
                    # The rest is received for nothing: who is still sending would not listen to an answer.
                    take(-len(body))
                    body.clear()
    except TimeoutError:
        if room:
            raise RefusedError(
                408, f"the body took more than {limits.receive_seconds:g} s; send it faster"
            ) from None
    except ClientDisconnect:
        raise RefusedError(400, "the body ended early") from None
    if length > limits.body_bytes:
        raise RefusedError(
            413, f"the body is longer than {limits.body_bytes:,} bytes; send a smaller picture"
        )
    if not room:
        raise RefusedError(503, "too many large pictures are being read; come again in a second")
    if not body:
        raise RefusedError(400, f"the body is empty; send {KINDS}")
    return bytes(body)


async def extract(request: Request, body: bytes) -> bytes:
    """The picture's file in a body of one of `KINDS`.

    Raises:
      RefusedError: there is none, or the body is not what its content type says.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return _from_json(body)
    if kind == "multipart/form-data":
        return await _from_form(request, body)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return body
    raise RefusedError(415, f"the content type is {kind or 'missing'}; send {KINDS}")


def decode(data: bytes, limits: Limits) -> np.ndarray:
    """The pixels of a picture's file; uint8 [height, width], upright.

    Raises:
      RefusedError: it has too many pixels. InputError: it is no picture, or is damaged.
    """
    try:
        return read_image(data, most_pixels=limits.pixels)
    except TooManyPixelsError:
        raise RefusedError(
            413, f"the picture has more than {limits.pixels:,} pixels; make it smaller"
        ) from None


def _from_json(body: bytes) -> bytes:
    wanted = 'send {"image": "..."}, the file in base64'
    try:
        text = json.loads(body)["image"]
        # A data URL, as browsers make them, says its type before a comma; tools break the lines.
        encoded = "".join(text[text.find(",") + 1 :].split())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise RefusedError(400, f"the JSON holds no picture; {wanted}") from None
    try:
        return base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        raise RefusedError(400, f"the picture in the JSON is not base64; {wanted}") from None


async def _from_form(request: Request, body: bytes) -> bytes:
    async def replay() -> AsyncIterator[bytes]:
        for begin in range(0, len(body), PIECE):
            yield body[begin : begin + PIECE]

    try:
        form = await MultiPartParser(request.headers, replay(), max_files=1, max_fields=8).parse()
    except (MultiPartException, KeyError) as error:
        raise RefusedError(400, f"the form can't be read ({error}); send one file") from None
    try:
        for _, value in form.multi_items():
            if not isinstance(value, str):
                return await value.read()
    finally:
        await form.close()
    raise RefusedError(400, "the form holds no file; send one")
