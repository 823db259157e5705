"""An asyncio server over HTTP that confines itself between binding and the first connection."""

import argparse
import asyncio
import json
import pathlib
import signal
import socket

from sandbox import web


async def outcome(attempt):
    """Return "done", or the name of the error that ``attempt`` came to."""
    try:
        await attempt
    except OSError as error:
        return type(error).__name__
    return "done"


async def misbehave():
    """Try to run a program, to leave a file, to call home, to listen; return what came of it."""
    return {
        "run": await outcome(asyncio.create_subprocess_exec("/bin/true")),
        "write": await outcome(asyncio.to_thread(pathlib.Path("left-behind").write_text, "x")),
        "connect": await outcome(asyncio.open_connection("127.0.0.1", 9)),
        "listen": await outcome(asyncio.to_thread(socket.create_server, ("127.0.0.1", 0))),
    }


async def answer(reader, writer):
    """Answer one request."""
    request = await reader.readuntil(b"\r\n\r\n")
    path = request.split()[1]
    content = await misbehave() if path == b"/misbehave" else {"hello": "world"}
    body = json.dumps(content).encode() + b"\n"
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    await writer.drain()
    writer.close()


async def main(port):
    """Bind, confine, serve, in this order."""
    server = await asyncio.start_server(answer, "127.0.0.1", port, start_serving=False)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    web.install()
    async with server:
        await server.start_serving()
        _, bound = server.sockets[0].getsockname()
        print(f"serving on 127.0.0.1:{bound}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    asyncio.run(main(parser.parse_args().port))
