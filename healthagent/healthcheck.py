"""The requests that balancers send again and again, and their answers, as bytes.

Whatever is not plainly one of them (a header that comes twice, say) is not known here, and left to those who read HTTP.
What is known is answered byte for byte as aiohttp would: tests/property/test_healthcheck.py holds the two against each
other.
"""

import re
from typing import NamedTuple

from healthagent.render import JSON_TYPE, TEXT_TYPE, Answer

__all__ = ["SERVER", "Form", "Known", "message", "recognise", "wants_json"]

SERVER = "healthagent"

LENGTH_LIMIT, LINES_LIMIT = 4096, 32
# Printable characters only: what else HTTP may allow in a value is for a parser to decide.
REQUEST = re.compile(
    rb"(GET|HEAD|OPTIONS) ([!-~]+) HTTP/1\.([01])\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)*)\r\n"
)
# What makes more of a request than a head, or an answer of another kind; and what aiohttp looks at, or refuses.
DEMANDING = frozenset({"transfer-encoding", "upgrade", "expect", "trailer", "te", "http2-settings", "proxy-connection"})
DEMANDING_FAMILIES = ("content-", "sec-websocket-")


class Form(NamedTuple):
    """All that the answer to a known request depends on, beside the verdict. `stays`: the connection goes on."""

    target: str
    method: str
    minor: int
    media: str
    stays: bool


class Known(NamedTuple):
    """A known request. `said`: what HAProxy says of the server with it (send-state)."""

    form: Form
    said: str | None


def recognise(data: bytes) -> Known | None:
    """The request that `data` is, all of it and nothing behind it; None if it is anything else."""
    match = REQUEST.fullmatch(data) if len(data) <= LENGTH_LIMIT and data.count(b"\n") <= LINES_LIMIT else None
    if match is None:
        return None
    method, target, minor, lines = (group.decode("ascii") for group in match.groups())
    fields: dict[str, str] = {}
    for line in lines.splitlines():
        name, _, value = line.partition(":")
        name = name.lower()
        if name in fields or name in DEMANDING or name.startswith(DEMANDING_FAMILIES):
            return None
        fields[name] = value.strip(" \t")
    stays = _stays(int(minor), fields.get("connection", "").lower())
    if stays is None:
        return None
    media = JSON_TYPE if wants_json(fields.get("accept", "")) else TEXT_TYPE
    return Known(Form(target, method, int(minor), media, stays), fields.get("x-haproxy-server-state"))


def wants_json(accept: str) -> bool:
    """`Accept` names application/json and does not refuse it."""
    for entry in accept.split(","):
        media, *options = (part.strip().lower() for part in entry.split(";"))
        if media == JSON_TYPE:
            return not any(re.fullmatch(r"q=0(\.0*)?", option) for option in options)
    return False


def _stays(minor: int, wish: str) -> bool | None:
    """Whether the connection goes on; None: for others to decide."""
    return {"": minor == 1, "close": False, "keep-alive": True}.get(wish)


def message(answer: Answer, form: Form, date: str) -> bytes:
    """The whole answer. `date`: for the header of that name (RFC 9110 5.6.7)."""
    body = b"" if form.method == "OPTIONS" else answer.body
    lines = [f"HTTP/1.{form.minor} {answer.code} {answer.phrase}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    lines += [f"Server: {SERVER}", f"Content-Length: {len(body)}", f"Date: {date}"]
    if form.stays != (form.minor == 1):
        lines.append(f"Connection: {'keep-alive' if form.stays else 'close'}")
    head = "\r\n".join([*lines, "", ""]).encode("ascii")
    return head if form.method == "HEAD" else head + body
