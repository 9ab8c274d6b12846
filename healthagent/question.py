"""A request's parameters -> a stricter role: `/reader?max_lag=5s&tag_dc=fsn1`. They tighten, they never loosen."""

import re
from collections.abc import Mapping
from dataclasses import replace

from healthagent.kinds import MAX_QUEUE, TAG_CHARACTERS, TAG_NAME, duration_seconds, shown
from healthagent.policy import Base, Role

__all__ = ["known_parameters", "tightened"]

TAG = "tag_"


def known_parameters(role: Role) -> tuple[str, ...]:
    """What may be asked of the role beside `format`, for error messages."""
    return ("max_lag", "lag", "max_queue", "tag_KEY") if role.base is Base.READER else ("tag_KEY",)


def tightened(role: Role, parameters: Mapping[str, str]) -> tuple[str, Role]:
    """The role with these limits, and the one key of all requests that ask the same. ValueError says what is wrong."""
    tags = set(role.tags)
    stricter = role
    for name, value in parameters.items():
        if name.startswith(TAG) and TAG_NAME.fullmatch(name.removeprefix(TAG)):
            tags.add((name.removeprefix(TAG), _tag(name, value)))
        elif role.base is Base.READER and name in ("max_lag", "lag"):
            stricter = replace(stricter, max_lag_seconds=min(stricter.max_lag_seconds, _lag(name, value)))
        elif role.base is Base.READER and name == "max_queue":
            stricter = replace(stricter, asked_queue=_queue(name, value))
        else:
            known = ", ".join(("format", *known_parameters(role)))
            raise ValueError(f"unknown parameter {shown(name)}; /{role.name} takes {known}")
    if stricter.soft_lag_seconds is not None and stricter.soft_lag_seconds >= stricter.max_lag_seconds:
        stricter = replace(stricter, soft_lag_seconds=None)
    stricter = replace(stricter, tags=tuple(sorted(tags)))
    limits = f"max_lag={stricter.max_lag_seconds}s&max_queue={stricter.asked_queue}"
    # quoted: a value may have & and = in it, and two questions must never share a key
    asked = "".join(f"&tag_{name}={value!r}" for name, value in stricter.tags)
    return f"{role.name}?{limits}{asked}", stricter


def _lag(name: str, value: str) -> float:
    try:
        return duration_seconds(value)
    except ValueError as error:
        raise ValueError(f"parameter {name!r} is {shown(value)}: {error}") from None


def _queue(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", value) or int(value) > MAX_QUEUE:
        raise ValueError(f"parameter {name!r} is {shown(value)}: must be a whole number from 0 to {MAX_QUEUE}")
    return int(value)


def _tag(name: str, value: str) -> str:
    if not 0 < len(value) <= TAG_CHARACTERS or not value.isprintable():
        raise ValueError(f"parameter {name!r} is {shown(value)}: must be 1 to {TAG_CHARACTERS} printable letters")
    return value
