"""A Flask application that takes uploads and lets none of its own code parse them."""

import pathlib
import subprocess
import sys

from flask import Flask, Response, request

PARSE = pathlib.Path(__file__).with_name("parse.py")

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 16 << 20


def error(text):
    """Return the answer to an upload that did not work out."""
    return {"error": text}, 422


@app.post("/upload")
def upload():
    """Have a process of its own parse the body; it ends with its upload, whatever became of it."""
    command = [sys.executable, "-E", "-s", PARSE]
    try:
        parser = subprocess.run(
            command, input=request.get_data(), stdout=subprocess.PIPE, timeout=20, check=False
        )
    except subprocess.TimeoutExpired:
        return error("the parser took too long")
    if parser.returncode:  # a signal's number, negative, where it has been killed
        return error(f"the parser ended with {parser.returncode}")
    return Response(parser.stdout, mimetype="application/json")  # data, not to be trusted either
