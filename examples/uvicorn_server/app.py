"""An ASGI application that confines its process when the server starts it up."""

import asyncio
import json
import pathlib

from sandbox import web


async def lifespan(receive, send):
    """Install the filter. Raising would not do: uvicorn takes an exception for "no lifespan"."""
    await receive()
    try:
        web.install()
    except OSError as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def outcome(attempt):
    """Return "done", or the name of the error that ``attempt`` came to."""
    try:
        await attempt
    except OSError as error:
        return type(error).__name__
    return "done"


async def misbehave():
    """Try to run a program, to leave a file (in a thread), to call home; return what came of it."""
    return {
        "run": await outcome(asyncio.create_subprocess_exec("/bin/true")),
        "write": await outcome(asyncio.to_thread(pathlib.Path("left-behind").write_text, "x")),
        "connect": await outcome(asyncio.open_connection("127.0.0.1", 9)),
    }


async def app(scope, receive, send):
    """Answer what the server asks: once to start up, then request by request."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    answer = await misbehave() if scope["path"] == "/misbehave" else {"hello": "world"}
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode() + b"\n"})
