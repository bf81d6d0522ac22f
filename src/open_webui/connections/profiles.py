"""What models there are, as one immutable value: connections' entries and model rows laid over each other."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from open_webui.connections import arena, pipelines, taking_part
from open_webui.connections.base import Connection, ModelEntry, RemoteFilter, Target
from open_webui.models.functions import FunctionRow
from open_webui.models.grants import concerns
from open_webui.models.models import Model
from open_webui.principal import Principal

MAX_CHAIN: Final = 8
# Not in lists: pictures as data: URLs are large, and have a route of their own.
_NOT_LISTED: Final = frozenset({"profile_image_url"})


class ModelProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One model that can be asked: a connection's, or a custom one on top of it.

    rows: the model rows that shape it, its own first, down to that of the base model (if that has one). bare: the base
    model has no row. listed: how lists show it, but for `info.access_grants`.
    """

    id: str
    entry: ModelEntry
    rows: tuple[Model, ...]
    bare: bool
    params: dict[str, Any]
    system: str | None
    meta: dict[str, Any]
    listed: dict[str, Any]

    @property
    def is_custom(self) -> bool:
        return self.id != self.entry.id

    def readable(self, principal: Principal, *, bypass: bool) -> bool:
        """Whether the principal may use it: every row on the way down readable, and the base model opened at all."""
        if not principal.may_ask(self.id):
            return False
        if principal.is_admin:
            return True
        if not principal.is_active:
            return False
        if bypass:
            return True
        if self.bare and not self.entry.for_everybody:
            return False
        return all(row.may(principal, "read") for row in self.rows)


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All of it at one moment. models: by id, in the order of the list. aliases: other names of some. filters: of pipelines
    servers, in the order in which they are run. arenas: by id, behind the models.
    """

    version: int = 0
    models: dict[str, ModelProfile] = {}
    aliases: dict[str, str] = {}
    entries: dict[str, ModelEntry] = {}
    rows: dict[str, Model] = {}
    connections: dict[str, Connection] = {}
    filters: tuple[RemoteFilter, ...] = ()
    arenas: dict[str, arena.Arena] = {}

    def members(self, of: arena.Arena, principal: Principal, *, bypass: bool) -> list[ModelProfile]:
        """Who may answer in an arena for somebody: models of language that take part and that the person may use."""
        return [
            profile
            for profile in self.models.values()
            if of.takes(profile.id) and profile.entry.answers_tasks and profile.readable(principal, bypass=bypass)
        ]

    def find(self, model_id: str) -> ModelProfile | None:
        return self.models.get(model_id) or self.models.get(self.aliases.get(model_id, ""))

    def target(self, profile: ModelProfile, user_id: str | None = None, *, arena_id: str | None = None) -> Target:
        """user_id: who may use it; the caller has asked. arena_id: the arena that it was drawn for."""
        return Target(
            model_id=profile.id,
            entry=profile.entry,
            connection=self.connections[profile.entry.connection],
            params=profile.params,
            system=profile.system,
            meta=profile.meta,
            user_id=user_id,
            arena_id=arena_id,
            made_of=tuple(row.id for row in profile.rows),
        )


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """What an admin set for all models. arenas: those that are set up, None where there are to be none."""

    params: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}
    order: Sequence[str] = ()
    arenas: Sequence[Any] | None = None


def build(
    version: int,
    sources: Iterable[tuple[Connection, Sequence[ModelEntry]]],
    rows: Iterable[Model],
    defaults: Defaults,
    functions: Sequence[FunctionRow] = (),
) -> Snapshot:
    """The snapshot. Of several entries with one id the first connection's wins; prefixes tell them apart.

    functions: those that are switched on, in the order in which they are run.
    """
    made = partial(_profile, defaults=defaults, functions=functions)
    by_id = {row.id: row for row in rows}
    entries: dict[str, ModelEntry] = {}
    connections: dict[str, Connection] = {}
    filters: list[RemoteFilter] = []
    for connection, offered in sources:
        connections[connection.key] = connection
        for entry in offered:
            if pipelines.is_filter(entry):
                filters.append(RemoteFilter(connection, entry))
            else:
                entries.setdefault(entry.id, entry)
    models: dict[str, ModelProfile] = {}
    for entry in entries.values():
        row = by_id.get(entry.id)
        # A custom model can't take the place of a connection's: whoever made it could listen in.
        own = (row,) if row is not None and row.base_model_id is None else ()
        if all(r.is_active for r in own):
            models[entry.id] = made(entry.id, entry, own, bare=not own)
    for row in by_id.values():
        if row.base_model_id is None or row.id in entries:
            continue
        chain = _chain(row, by_id, entries)
        if chain is not None and all(r.is_active for r in chain[0]):
            models[row.id] = made(row.id, chain[1], chain[0], bare=chain[2])
    return Snapshot(
        version=version,
        models=_ordered(models, defaults.order),
        aliases=_aliases(entries),
        entries=entries,
        rows=by_id,
        connections=connections,
        filters=tuple(pipelines.ordered(filters)),
        arenas={} if defaults.arenas is None else arena.arenas(defaults.arenas, {*models, *by_id}),
    )


def _chain(
    row: Model, rows: Mapping[str, Model], entries: Mapping[str, ModelEntry]
) -> tuple[tuple[Model, ...], ModelEntry, bool] | None:
    """The rows from a custom model down, the entry below them, and whether that has no row. None for a dead end."""
    chain: list[Model] = [row]
    while len(chain) <= MAX_CHAIN:
        below = chain[-1].base_model_id
        if below is None:
            return None
        entry, next_row = entries.get(below), rows.get(below)
        if entry is not None:
            own = next_row if next_row is not None and next_row.base_model_id is None else None
            return (*chain, *([own] if own is not None else [])), entry, own is None
        if next_row is None or next_row in chain:
            return None
        chain.append(next_row)
    return None


def _aliases(entries: Mapping[str, ModelEntry]) -> dict[str, str]:
    """Ollama's names mean their `latest` when they say nothing else."""
    out: dict[str, str] = {}
    for entry in entries.values():
        short = entry.id.removesuffix(":latest")
        if entry.kind == "ollama" and short != entry.id and short not in entries:
            out.setdefault(short, entry.id)
        elif entry.kind == "local" and f"{entry.id}:latest" not in entries:
            out.setdefault(f"{entry.id}:latest", entry.id)
    return out


def _ordered(models: dict[str, ModelProfile], order: Sequence[str]) -> dict[str, ModelProfile]:
    first = [model_id for model_id in dict.fromkeys(order) if model_id in models]
    return {model_id: models[model_id] for model_id in dict.fromkeys([*first, *models])}


def _profile(
    model_id: str,
    entry: ModelEntry,
    rows: tuple[Model, ...],
    *,
    defaults: Defaults,
    functions: Sequence[FunctionRow],
    bare: bool,
) -> ModelProfile:
    below = [*reversed(rows)]
    params = _layered([defaults.params, *(row.params for row in below)], "custom_params")
    system = params.pop("system", None)
    described = {"description": entry.description} if entry.description else {}
    meta = _layered([defaults.meta, described, *(row.meta for row in below)], "capabilities")
    own = rows[0] if rows and rows[0].id == model_id else None
    return ModelProfile(
        id=model_id,
        entry=entry,
        rows=rows,
        bare=bare,
        params=params,
        system=system if isinstance(system, str) and system.strip() else None,
        meta=meta,
        listed=_listed(model_id, entry, own, defaults.meta) | taking_part.shown(functions, meta),
    )


def _layered(layers: Sequence[Mapping[str, Any]], nested: str) -> dict[str, Any]:
    """Later layers win, what is None in them does not; the `nested` object is laid over in the same way."""
    out: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if value is None:
                continue
            both = key == nested and isinstance(value, dict) and isinstance(out.get(key), dict)
            out[key] = out[key] | value if both else value
    return out


def _listed(model_id: str, entry: ModelEntry, row: Model | None, default_meta: Mapping[str, Any]) -> dict[str, Any]:
    """A model as `/api/models` shows it. Parameters stay behind: they hold the system prompt."""
    if row is not None and row.base_model_id is not None:
        shown: dict[str, Any] = {
            "id": model_id,
            "name": row.name,
            "object": "model",
            "created": row.created_at,
            "owned_by": owner(entry),
            "connection_type": entry.connection_type,
            "preset": True,
        }
    else:
        shown = base_wire(entry)
        if row is not None:
            shown["name"] = row.name
    meta: dict[str, Any] = {}
    if row is not None:
        meta = listed_meta(_over(default_meta, row.meta))
        shown["info"] = row_wire(row, params=False) | {"meta": meta}
    elif entry.description or default_meta:
        meta = listed_meta(_over(default_meta, {"description": entry.description}))
        shown["info"] = {"meta": meta}
    named = meta.get("tags")
    tags = [{"name": tag} for tag in entry.tags] if not shown.get("preset") else []
    tags += [t for t in (named if isinstance(named, list) else ()) if isinstance(t, dict) and t not in tags]
    return shown | {"tags": tags}


def _over(defaults: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, Any]:
    """A row's meta over the defaults, in the row's own shape."""
    out = dict(meta)
    for key, value in defaults.items():
        own = out.get(key)
        if own is None:
            out[key] = value
        elif key == "capabilities" and isinstance(own, dict) and isinstance(value, dict):
            out[key] = value | own
    return out


def owner(entry: ModelEntry) -> str:
    """The wire's `owned_by`: which kind of API a model is behind."""
    return "openai" if entry.kind == "pipe" else entry.kind


def base_wire(entry: ModelEntry) -> dict[str, Any]:
    """A connection's model on the wire."""
    if entry.kind == "pipe":
        return {
            "id": entry.id,
            "name": entry.name,
            "object": "model",
            "created": entry.created,
            "owned_by": owner(entry),
            **entry.raw,
        }
    shown: dict[str, Any] = {
        "id": entry.id,
        "object": "model",
        "created": entry.created,
        "owned_by": owner(entry),
        "connection_type": entry.connection_type,
        "name": entry.name,
        entry.kind: entry.raw | {"connection_type": entry.connection_type},
        "provider": "",
        "urlIdx": entry.index,
    }
    if entry.kind == "ollama":
        shown["ollama"] = shown["ollama"] | {"urls": [entry.index]}
    if isinstance(entry.raw.get("pipeline"), dict):
        shown["pipeline"] = entry.raw["pipeline"]
    if isinstance(entry.raw.get("pipe"), str) and entry.connection.startswith("pipe:"):
        shown |= {"pipe": {"type": "pipe"}, "has_user_valves": entry.raw.get("has_user_valves") is True}
    return shown


def listed_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in meta.items() if k not in _NOT_LISTED}


def row_wire(row: Model, *, params: bool) -> dict[str, Any]:
    """A model row on the wire. params: with its parameters, for those who may change it."""
    return {
        "version_id": row.version_id,
        "id": row.id,
        "user_id": row.user_id,
        "base_model_id": row.base_model_id,
        "name": row.name,
        "params": row.params if params else {},
        "meta": row.meta,
        "access_grants": list(row.access_grants),
        "is_active": row.is_active,
        "updated_at": row.updated_at,
        "created_at": row.created_at,
    }


def shown_to(profile: ModelProfile, principal: Principal) -> dict[str, Any]:
    """How a list shows the model to one person: others' grants are for those who may change it."""
    row = next((r for r in profile.rows if r.id == profile.id), None)
    if row is None or row.may(principal, "write") or not row.access_grants:
        return profile.listed
    mine = [g for g in row.access_grants if concerns(g, principal)]
    return profile.listed | {"info": profile.listed["info"] | {"access_grants": mine}}
