"""One uvicorn process: bind first, since an application that has confined itself cannot."""

import argparse

import uvicorn

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=8000)
config = uvicorn.Config("app:app", port=parser.parse_args().port)
uvicorn.Server(config).run(sockets=[config.bind_socket()])
