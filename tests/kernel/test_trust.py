"""Whom a download trusts, and what messages show of the address that it was sent to."""

from __future__ import annotations

import os
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from command import Result, seccompgen
from hypothesis import given, settings
from hypothesis import strategies as st
from seccompgen.kernel.fetch.shown import shown_url, without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TAG = "v6.1.176"
VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
# It is trusted, but says no to the first file, and so to all: that much of an answer is enough.
SERVED = ": the server answers 403 (Forbidden)"


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        where = self.path.partition("?")[2] if "to=" in self.path else ""
        self.send_response(302 if where else 403)
        if where:
            self.send_header("Location", "http://me:secret@example.invalid/x?sig=secret#secret")
        self.send_header("Content-Length", "0")
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that do not trust it go away."""


_SIGNS = ("-addext", "keyUsage=critical,digitalSignature,keyCertSign")
"""What Python from 3.13 on wants an authority to say."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two authorities, and a certificate for 127.0.0.1 that the first signed."""
    here = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=here, check=True, capture_output=True, timeout=60)

    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for name in ("ca", "other"):
        subject = ("-subj", f"/CN={name} of a test", "-days", "30", *_SIGNS)
        openssl(*new, "-keyout", f"{name}.key", "-out", f"{name}.pem", *subject)
    for name, address in (("server", "127.0.0.1"), ("elsewhere", "127.0.0.9")):
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-days", "30")
        names = ("-addext", f"subjectAltName=IP:{address}", "-subj", "/CN=a server")
        # The tool makes an authority of each, whatever it is for.
        openssl(*new, "-keyout", f"{name}.key", "-out", f"{name}.pem", *signed, *names, *_SIGNS)
    (here / "hashed").mkdir()
    (here / "hashed" / "ca.pem").write_bytes((here / "ca.pem").read_bytes())
    openssl("rehash", "hashed")
    return here


@pytest.fixture(scope="module", params=["server"])
def port(request: pytest.FixtureRequest, certificates: Path) -> Iterator[int]:
    """The port of an https server."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        name = request.param
        context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def ask(url: str, tmp_path: Path, **said: str | Path) -> Result:
    """Ask for the tables of a release at ``url``, with nothing in the environment but ``said``."""
    env = dict.fromkeys(VARIABLES, "") | {name: str(value) for name, value in said.items()}
    env |= {"SECCOMPGEN_TIMEOUT": "20", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    run = seccompgen("tables", "--tag", TAG, "--from", url, "-o", "t", cwd=tmp_path, env=env)
    assert not (tmp_path / "t").exists()
    return run


@pytest.mark.parametrize(
    ("variables", "served"),
    [
        ({}, False),
        ({"SSL_CERT_FILE": "ca.pem"}, True),
        ({"SSL_CERT_DIR": "hashed"}, True),
        ({"SSL_CERT_FILE": "other.pem", "SSL_CERT_DIR": "hashed"}, True),
        ({"REQUESTS_CA_BUNDLE": "ca.pem"}, True),
        ({"REQUESTS_CA_BUNDLE": "hashed"}, True),
        ({"CURL_CA_BUNDLE": "ca.pem"}, True),
        ({"SSL_CERT_FILE": "other.pem"}, False),
        ({"REQUESTS_CA_BUNDLE": "other.pem", "SSL_CERT_FILE": "ca.pem"}, False),
    ],
)
def test_who_is_trusted(
    port: int, certificates: Path, tmp_path: Path, variables: dict[str, str], served: bool
) -> None:
    url = f"https://127.0.0.1:{port}/{{tag}}/{{path}}"
    said = {name: certificates / value for name, value in variables.items()}
    run = ask(url, tmp_path, **said)
    assert run.code == 3
    (line,) = run.err.splitlines()
    if served:
        assert SERVED in line
    else:
        first = next(iter(variables), "")
        trusted = (
            f"what {first}={certificates / variables[first]} names"
            if first
            else ("requests' own list")
        )
        assert ": no trusted connection: " in line
        assert line.endswith(
            f"; trusted is {trusted}: if a certificate authority of your own signs for this "
            "server, set SSL_CERT_FILE to a file of its certificate in PEM; or name another "
            "source with --from"
        )


@pytest.mark.parametrize("port", ["elsewhere"], indirect=True)
def test_a_certificate_of_another_server(port: int, certificates: Path, tmp_path: Path) -> None:
    run = ask(
        f"https://127.0.0.1:{port}/{{tag}}/{{path}}",
        tmp_path,
        SSL_CERT_FILE=certificates / "ca.pem",
    )
    assert (run.code, "SSL_CERT_FILE" in run.err) == (3, False)
    assert "IP address mismatch" in run.err


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("SSL_CERT_FILE", "nowhere.pem", "No such file or directory"),
        ("REQUESTS_CA_BUNDLE", "ca.key", "holds no certificate in PEM"),
        ("SSL_CERT_DIR", "ca.pem", "there is no such directory of certificates"),
    ],
)
def test_certificates_that_are_none(
    certificates: Path, tmp_path: Path, name: str, value: str, reason: str
) -> None:
    path = certificates / value
    run = ask("https://127.0.0.1:1/{tag}/{path}", tmp_path, **{name: path})
    assert (run.code, run.err) == (2, f"{name}={path}: {reason}\n")


# --- what is shown of addresses ------------------------------------------------------------------

SECRETS = st.text(
    st.sampled_from("abcXYZ019-._~!$'()*+,;:@%/?#[]\u00e9 \x1b"), min_size=6, max_size=12
).map(lambda text: f"S3cr{text}t5")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(SECRETS, st.sampled_from([
    "https://{s}@host/{{tag}}/{{path}}",
    "https://me:{s}@host/{{tag}}/{{path}}",
    "https://{s}:x@host:8/{{path}}?h={{tag}}",
    "https:/me:{s}@host/{{path}}",
    "me:{s}@host/{{path}}",
    "HTTPS://me:{s}@[::1]:9/{{path}}",
]))  # fmt: skip
def test_a_password_is_not_shown(secret: str, form: str) -> None:
    shown = shown_url(form.format(s=secret))
    assert "S3cr" not in shown
    assert "t5" not in shown


@settings(max_examples=300, deadline=None, derandomize=True)
@given(SECRETS, st.sampled_from([
    "https://host/{{path}}?token={s}",
    "https://host/{{path}}?h={{tag}}&X-Signature={s}",
    "https://host/{{path}}?{s}",
    "https://host/{{path}};key={s}?h={{tag}}",
    "https://host/{{path}}#{s}",
    "https://host/{{path}}?h={{tag}}{s}",
]))  # fmt: skip
def test_a_token_is_not_shown(secret: str, form: str) -> None:
    # Where it is written into a URL, what divides a URL is percent-encoded.
    secret = "".join(one for one in secret if one not in "/?#&=;@")
    shown = shown_url(form.format(s=secret))
    assert "S3cr" not in shown
    assert shown.startswith("https://host/{path}")


@pytest.mark.parametrize("url", [
    "https://git.kernel.org/pub/linux.git/plain/{path}?h={tag}",
    "https://host:8080/@scope/{tag}/{path}",
    "http://[::1]:80/{tag}/{path}",
    "/home/me/linux@6.1",
    "linux.tar.xz",
])  # fmt: skip
def test_what_is_no_secret_is_shown(url: str) -> None:
    assert shown_url(url) == url


def test_what_libraries_say() -> None:
    text = (
        "Failed to parse: http://me:secret@h/x?token=secret (url: /y?secret), proxy 'me:secret@p:1'"
    )
    assert "secret" not in without_credentials(text)


@pytest.mark.few(6, "reads many headers")
@pytest.mark.parametrize("url", [
    "http://me:secret@127.0.0.1:{port}/{{tag}}/{{path}}?token=secret",  # nobody listens there
    "http://me:secret@example.org/{{path}}",
    "https://me:secret@127.0.0.1:{port}/x?token=secret",
    "https://me:sec/secret@127.0.0.1:{port}/{{path}}",
    "https://me:secret@[::1/{{path}}",
    "https://me:secret@127.0.0.1:9999999/{{path}}",
    "https://me:secret@:{port}/{{path}}?secret",
    "https:/me:secret@127.0.0.1/{{path}}",
    "https://me:secret@127.0.0.1:{port}/{{tag}}/{{path}}?secret",  # not trusted
    "https://me:secret@.example.invalid/{{path}}?a=secret",
])  # fmt: skip
def test_no_message_has_a_secret(port: int, tmp_path: Path, url: str) -> None:
    port = 1 if url.startswith("http:") else port
    run = ask(url.format(port=port), tmp_path)
    assert run.code in {2, 3}
    assert run.err
    assert "secret" not in run.err + run.out


def test_where_a_server_sends_to_is_shown_without_secrets(
    port: int, certificates: Path, tmp_path: Path
) -> None:
    url = f"https://me:secret@127.0.0.1:{port}/{{path}}?to=secret"
    run = ask(url, tmp_path, SSL_CERT_FILE=certificates / "ca.pem")
    assert "it redirects to http://***@example.invalid/x?sig=***#***, which is not" in run.err
    assert "secret" not in run.err


@pytest.mark.long("reads many headers")
def test_a_proxy_with_a_password(tmp_path: Path) -> None:
    for proxy in ("http://me:secret@127.0.0.1:1", "me:secret@127.0.0.1:1", "x://me:secret@h:1"):
        run = ask("https://example.org/{path}", tmp_path, https_proxy=proxy, HTTPS_PROXY=proxy)
        assert run.code == 3, os.linesep.join([proxy, run.err])
        assert "secret" not in run.err
