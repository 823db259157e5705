"""URLs as messages may show them: without passwords, and without tokens in a query."""

from __future__ import annotations

import re

_HIDDEN = "***"
_PLACES = ("{tag}", "{path}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/+")
_HOST = re.compile(r"[^@:\[\]]*(:[0-9]*)?|\[[^@\]]*\](:[0-9]*)?")
_USER_IN_PATH = re.compile(r"[^/]@")
_USER = re.compile(r"[^\s'\"(]*@")
_PARAMETER = re.compile(r"(?P<name>[?&;][^=&;\s'\"()]*=)[^&;\s'\")]*")
_NAMELESS = re.compile(r"\?[^=&;\s'\"()]+(?![^\s'\"()]*=)")


def shown_url(url: str) -> str:
    """Return ``url``, or a template of URLs, without credentials.

    This hides user and password, all values of the query but ``{tag}`` and ``{path}``, values of
    parameters in the path, and the fragment. It hides more of a malformed URL.
    """
    scheme = _SCHEME.match(url)
    before = scheme[0] if scheme else ""
    rest = url[len(before) :]
    end = rest.find("#")
    rest, fragment = (rest, "") if end < 0 else (rest[:end], rest[end:])
    place, question, query = rest.partition("?")
    host = place.partition("/")[0]
    # A password may contain the delimiters of a URL, so the rest may belong to it.
    strange = bool(before) and not _HOST.fullmatch(host)
    if "@" in query + fragment or (strange and "@" not in place):
        return f"{before}{_HIDDEN}"
    if strange or (_USER_IN_PATH.search(place) and (before or ":" in place)):
        place = f"{_HIDDEN}@{place.rpartition('@')[2]}"
    place = _PARAMETER.sub(rf"\g<name>{_HIDDEN}", place)
    shown = "&".join(map(_shown_parameter, query.split("&")))
    return f"{before}{place}{question}{shown}{f'#{_HIDDEN}' * bool(fragment)}"


def _shown_parameter(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    if (value if equals else name) in {"", *_PLACES}:
        return parameter
    return f"{name}={_HIDDEN}" if equals else _HIDDEN


def without_credentials(text: str) -> str:
    """Return a library's error message with everything hidden that may be a credential in a URL."""
    text = _USER.sub(f"{_HIDDEN}@", text)
    return _NAMELESS.sub(f"?{_HIDDEN}", _PARAMETER.sub(rf"\g<name>{_HIDDEN}", text))
