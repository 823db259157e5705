"""Certificate authorities that a download trusts: requests' own, or those of the environment."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seccompgen.core.errors import InputError

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter

_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables of requests, each a file or a directory; they take precedence over OpenSSL's."""
_FILE, _DIRECTORY = "SSL_CERT_FILE", "SSL_CERT_DIR"
_UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})
"""Errors of OpenSSL (X509_V_ERR_*) for certificates that no trusted authority has signed."""


@dataclass(frozen=True, slots=True)
class Trust:
    """A file and a directory of certificates in PEM, and their name for messages."""

    file: str | None
    directory: str | None
    name: str

    def adapter(self) -> HTTPAdapter:
        """Return an adapter for https of requests that trusts these certificates."""
        from requests.adapters import HTTPAdapter  # noqa: PLC0415 - 60 ms, as in web

        trust = self

        class Adapter(HTTPAdapter):
            def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:  # noqa: ARG002 - of the base class
                super().cert_verify(conn, url, True, cert)  # type: ignore[no-untyped-call]
                if trust.file or trust.directory:
                    conn.ca_certs, conn.ca_cert_dir = trust.file, trust.directory

        return Adapter()

    def explain(self, error: ssl.SSLCertVerificationError) -> str:
        """Return why a certificate is not accepted, and a remedy if there is one."""
        text = error.verify_message
        if error.verify_code in _UNKNOWN_ISSUER:
            text += (
                f"; trusted is {self.name}: if a certificate authority of your own signs for this "
                f"server, set {_FILE} to a file of its certificate in PEM"
            )
        return text


def trust() -> Trust:
    """Return the certificates to trust, by the environment.

    They are those of the first of REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE that is set, else those of
    SSL_CERT_FILE and SSL_CERT_DIR together, else requests' own list. Raises InputError if a
    variable names no usable certificates.
    """
    said = {name: os.environ.get(name) or "" for name in (*_BUNDLES, _FILE, _DIRECTORY)}
    names = next(([name] for name in _BUNDLES if said[name]), [_FILE, _DIRECTORY])
    names = [name for name in names if said[name]]
    file = directory = None
    for name in names:
        value = said[name]
        if name == _DIRECTORY or (name in _BUNDLES and Path(value).is_dir()):
            directory = value
            if not any(Path(part).is_dir() for part in value.split(os.pathsep)):
                raise InputError(f"{name}={value}: there is no such directory of certificates")
        else:
            file = value
            _require_certificates(name, value)
    words = " and ".join(f"{name}={said[name]}" for name in names)
    return Trust(file, directory, f"what {words} names" if words else "requests' own list")


def _require_certificates(name: str, file: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except OSError as error:
        known = error.errno and not isinstance(error, ssl.SSLError)
        reason = str(error.strerror) if known else "holds no certificate in PEM"
        raise InputError(f"{name}={file}: {reason}") from None
