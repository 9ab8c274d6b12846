"""What the configuration says of the roles -> every Role there is; and back."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from healthagent.document import Document
from healthagent.kinds import shown, spoken
from healthagent.policy import Base, Policy, Role, Topology, Weights
from healthagent.schema import OWN_ONLY, RESERVED_NAMES, ROLE_NAME, ROLE_SETTINGS, WEIGHTS, Setting, role_keys

__all__ = ["policy_told", "roles_of", "shown_roles"]

# the paths /replica and /slave: the reader without the primary
REPLICA = "replica"
# outside Galera `any` asks what the reader asks
OF_THE_READER = ("max_lag", "soft_lag", "connections", "grace", "require_replication", "primary_lost")


def policy_told(document: Document) -> Policy:
    """The policy that the file tells; what is wrong with it is said to the document."""
    settings, probe = document.settings, document.settings["probe"]
    # a glance and the probe behind it, a timeout and 1.8 of it; or two whole probes in a row, where each is slow
    least = max(probe["interval"] + 3 * probe["timeout"], 3.6 * probe["timeout"])
    if probe["max_age"] < least:
        says = f"{spoken(probe['max_age'])}: must be at least interval + 3 x timeout and 3.6 x timeout, {spoken(least)}"
        document.wrong("probe.max_age", f"{says}: else one slow answer takes the node out")
    return Policy(
        roles=roles_of(document),
        topology=Topology(settings["mysql"]["topology"]),
        cluster_uuid=settings["mysql"]["cluster_uuid"],
        max_age_seconds=probe["max_age"],
        heartbeats=probe["heartbeat_table"] is not None,
        tags=settings["tags"],
    )


def roles_of(document: Document) -> tuple[Role, ...]:
    """The built-in roles, `replica`, and the operator's own; what is wrong with them is said to the document."""
    weights = Weights(**{item.field: document.settings["weights"][key] for key, item in WEIGHTS.items()})
    built_in = _built_in(weights, document)
    replica = replace(built_in[Base.READER], name=REPLICA, exclude_writer=True)
    own: list[Role] = []
    for name, told in document.settings["roles"].items():
        if name in list(Base):
            continue
        base = told.get("base")
        bases = [known for known in Base if known is not Base.STALE_OK]
        if not ROLE_NAME.fullmatch(name) or name in RESERVED_NAMES:
            document.wrong(f"roles.{name}", "is not a name for a role: a-z, 0-9, - and _ only, and no path of ours")
        elif not isinstance(base, str) or base not in bases:
            says = f"{shown(base)}: " if base is not None else "is missing: "
            document.wrong(f"roles.{name}.base", f"{says}must be one of {', '.join(bases)}")
            for key in (key for key in told if key != "base" and key not in ROLE_SETTINGS):
                document.wrong(f"roles.{name}.{key}", "unknown key")
        else:
            own.append(_told(replace(built_in[Base(base)], name=name), document))
    return (*built_in.values(), replica, *own)


def _built_in(weights: Weights, document: Document) -> dict[Base, Role]:
    plain = {base: Role(name=base.value, base=base, weights=weights) for base in Base}
    reader = _told(plain[Base.READER], document)
    writer = _told(plain[Base.WRITER], document)
    shared = {ROLE_SETTINGS[key].field: getattr(reader, ROLE_SETTINGS[key].field) for key in OF_THE_READER}
    found = {
        Base.ANY: _told(replace(plain[Base.ANY], **shared), document),
        Base.SYNCED: _told(plain[Base.SYNCED], document),
        Base.READER: reader,
        # whoever could be the writer passes what the writer must pass
        Base.CANDIDATE: _told(replace(writer, name=Base.CANDIDATE.value, base=Base.CANDIDATE), document),
        Base.WRITER: writer,
    }
    stale_ok = _told(plain[Base.STALE_OK], document)
    if document.settings["roles"].get(Base.STALE_OK, {}).get("enabled") is True:
        found[Base.STALE_OK] = stale_ok
    return found


def _told(role: Role, document: Document) -> Role:
    """`role` with what the file says of it."""
    own = role.name != role.base
    known = role_keys(role.base, own=own)
    told: Mapping[str, Any] = document.settings["roles"].get(role.name, {})
    for key, value in told.items():
        path = f"roles.{role.name}.{key}"
        if key == "base" and own:
            continue
        if key in OWN_ONLY and key in role_keys(role.base, own=True) and not own:
            document.wrong(
                path, f"only a role of your own takes it, such as delayed: {{base: {role.base}, {key}: ...}}"
            )
        elif key not in known:
            document.wrong(path, f"a {role.base} takes {', '.join(known)}")
        elif key == "weights":
            role = replace(role, weights=_weights(role.weights, value, path, document))
        else:
            role = _changed(role, ROLE_SETTINGS[key], value, path, document)
    _check_lags(role, told, document)
    return role


def _changed(role: Role, setting: Setting, value: Any, path: str, document: Document) -> Role:
    try:
        # null is a value of its own where nothing is the default, also against what the base says
        ours: Any = None if value is None and setting.default is None else setting.kind(value)
    except ValueError as error:
        document.wrong(path, f"{shown(value)}: {error}")
        return role
    return replace(role, **{setting.field: ours}) if setting.field else role


def _weights(weights: Weights, told: Any, path: str, document: Document) -> Weights:
    if not isinstance(told, dict):
        if told is not None:
            document.wrong(path, f"{shown(told)}: must be a mapping, such as {{donor: 0.5}}")
        return weights
    for key, value in told.items():
        if key not in WEIGHTS:
            document.wrong(f"{path}.{key}", f"unknown key; known here: {', '.join(WEIGHTS)}")
            continue
        try:
            weights = replace(weights, **{WEIGHTS[key].field: WEIGHTS[key].kind(value)})
        except ValueError as error:
            document.wrong(f"{path}.{key}", f"{shown(value)}: {error}")
    return weights


def _check_lags(role: Role, told: Mapping[str, Any], document: Document) -> None:
    """Said once, where the role itself brings the two together."""
    soft, hard = role.soft_lag_seconds, role.max_lag_seconds
    key = next((key for key in ("soft_lag", "max_lag") if key in told), None)
    if key is not None and soft is not None and soft >= hard:
        says = f"soft_lag is {spoken(soft)} and max_lag {spoken(hard)}: the weight must fall before the role does"
        document.wrong(f"roles.{role.name}.{key}", says)


def shown_roles(roles: Iterable[Role]) -> dict[str, Any]:
    """The section `roles` that says the same."""
    found = {role.name: _shown(role) for role in roles if role.name != REPLICA}
    found.setdefault(Base.STALE_OK.value, {"enabled": False})
    return found


def _shown(role: Role) -> dict[str, Any]:
    own = role.name != role.base
    found: dict[str, Any] = {"base": role.base.value} if own else {}
    for key in role_keys(role.base, own=own):
        setting = ROLE_SETTINGS[key]
        if key == "weights":
            found[key] = {name: item.say(getattr(role.weights, item.field)) for name, item in WEIGHTS.items()}
        else:
            found[key] = setting.say(getattr(role, setting.field)) if setting.field else True
    return found
