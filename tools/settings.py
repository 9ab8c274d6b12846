"""Settings in the words of documentation; docs/ and the manual page have them from here."""

from healthagent.policy import Base
from healthagent.schema import OWN_ONLY, Setting, role_keys

__all__ = ["bases_of", "default_of"]


def default_of(setting: Setting) -> str:
    """A default as one would write it."""
    value = setting.say(setting.default)
    if value in (None, [], {}):
        return "-"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, dict):
        return ", ".join(f"`{key}: {item}`" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(f"`{host}:{port}`" for host, port in value)
    return f"`{value}`"


def bases_of(key: str) -> str:
    bases = ", ".join(f"`{base}`" for base in Base if key in role_keys(base, own=True))
    return f"{bases} (own roles)" if key in OWN_ONLY else bases
