"""The configuration: one JSON file, beneath the environment and above the defaults.

What counts for a key, strongest first: the environment, the active profile, the file, the defaults below.

- `Config.config` is the file laid over the defaults, live: change it, then `save()`.
- `get` and `get_all` tell what counts. Values of the environment are never saved.
- `set` writes into the active profile if there is one, else into the file's own level. Models are of all profiles.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from llamaforge.config_file import apply_changes, locked, read, replace, stamp_of, write
from llamaforge.exceptions import ConfigError
from llamaforge.model import DEFAULT_BACKEND, checked_name, expanded, is_relative_file, merge
from llamaforge.settings import split, typed

IN_MEMORY = ":memory:"
HOME = "~/.llamaforge"
Json = dict[str, Any]
Key = str | Sequence[str]

# Those of the documentation, memory_budget (bytes, "12GB", or None for a share of the machine's memory) and the log.
DEFAULTS: Json = {
    "models": {},
    "default_model": None,
    "api_keys": {},
    "plugins": {"enabled": []},
    "logging": {"level": "INFO", "file": None, "format": None},
    "backends": {},
    "server": {"host": "127.0.0.1", "port": 8000, "enable_cors": False, "request_timeout": 300},
    "models_dir": f"{HOME}/models",
    "cache_dir": f"{HOME}/cache",
    "temp_dir": f"{HOME}/temp",
    "memory_budget": None,
    "log_conversations": True,
    "templates": {},
    "profiles": {},
    "active_profile": None,
}
_ENVIRONMENT = {
    "LLAMAFORGE_DEFAULT_MODEL": ("default_model",),
    "LLAMAFORGE_OPENAI_API_KEY": ("api_keys", "openai"),
    "LLAMAFORGE_MODELS_DIR": ("models_dir",),
    "LLAMAFORGE_PROFILE": ("active_profile",),
}
_PATHS = ("LLAMAFORGE_CONFIG_PATH", "LLAMAFORGE_CONFIG")
_OBJECTS = ("models", "api_keys", "backends", "profiles", "server", "logging", "templates")
_OBJECTS_OF_OBJECTS = ("models", "backends", "profiles", "templates")
_OF_ALL_PROFILES = {"models", "profiles", "active_profile", "templates"}
_MISSING = object()


class Config:
    """The configuration at `config_path`; a file that is not there yet is made by the first `save`.

    A key is a text with dots ("server.port") or the sequence of its parts (("models", "llama-2.5", "path")). Names may
    contain dots: in a text, the longest names that are there win, so "models.llama-2.5.path" finds the model of
    that name. To make a new entry whose name has a dot, give the sequence (`add_model` does).

    Two objects (in one process or two) may save to one file: `save` applies what changed here since the load to what
    the file says then. Where both changed one value, the later wins. One object may be used from several threads.
    """

    def __init__(self, config_path: str | PathLike[str] | None = None) -> None:
        """config_path: ":memory:" for none; left out, LLAMAFORGE_CONFIG_PATH, LLAMAFORGE_CONFIG or ~/.llamaforge/config.json.

        Raises ConfigError when the file is there and is not a configuration.
        """
        given = config_path or next((os.environ[name] for name in _PATHS if os.environ.get(name)), None)
        given = fspath(given or f"{HOME}/config.json")
        self.config_path = given if given == IN_MEMORY else str(expanded(given))
        self.config: Json = {}
        self._base: Json = {}
        self._environment: Json = {}
        self._stamp: tuple[int, ...] = ()
        self._lock = threading.RLock()
        self.load()

    # ---- values

    def get(self, key: Key, default: Any = None) -> Any:
        """What counts for `key`, or `default` where nothing is set. Objects come as copies."""
        with self._lock:
            return copy.deepcopy(_find(self._effective(), _parts(key), default, exact=not isinstance(key, str)))

    def set(self, key: Key, value: Any) -> None:
        """Set `key`, making the objects on its way. A known setting is given its type: "False" becomes false.

        None gives one that has to be something its default.

        Raises ConfigError where the way leads through a plain value, and for a value that the setting can't have.
        """
        named = split(key) if isinstance(key, str) else None
        parts = named or _parts(key)
        alone: Json = {}
        _put(alone, parts, copy.deepcopy(value), exact=True)
        _checked(alone, "The configuration")
        value = _find(alone, parts, _MISSING, exact=True)
        if value is _MISSING:
            value = copy.deepcopy(_find(DEFAULTS, parts, None, exact=True))
        with self._lock:
            place = self._profile() if parts[0] not in _OF_ALL_PROFILES else None
            exact = named is not None or not isinstance(key, str)
            _put(self.config if place is None else place, parts, value, exact=exact)

    def get_all(self) -> Json:
        """All that counts, as one copy."""
        with self._lock:
            return copy.deepcopy(self._effective())

    @property
    def models_dir(self) -> Path:
        """The folder in which models lie and are downloaded to."""
        return expanded(str(self.get("models_dir")))

    # ---- models

    def add_model(
        self,
        name: str,
        path: str | PathLike[str],
        backend: str = DEFAULT_BACKEND,
        parameters: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Json:
        """Note a model, replacing one of that name; the entry, live. Kept in memory until `save`.

        path: a file or folder that is named from the working directory is noted by its whole path, for others who read
        the file work elsewhere.
        """
        entry: Json = {
            "path": str(Path(path).absolute()) if is_relative_file(fspath(path), backend) else fspath(path),
            "backend": backend,
            "parameters": copy.deepcopy(dict(parameters or {})),
            "metadata": copy.deepcopy(dict(metadata or {})),
        }
        checked_name(name, "model")
        with self._lock:
            self.config["models"][name] = entry
        return entry

    def remove_model(self, name: str) -> bool:
        """Forget a model; whether there was one. Its file stays, and so does a `default_model` of that name."""
        with self._lock:
            return self.config["models"].pop(name, None) is not None

    def get_model(self, name: str) -> Json | None:
        """The entry of a model, live, or None."""
        with self._lock:
            entry: Json | None = self.config["models"].get(name)
            return entry

    def list_models(self) -> list[str]:
        """The names of all noted models, in the order in which they were added."""
        with self._lock:
            return list(self.config["models"])

    # ---- profiles

    def create_profile(self, name: str, settings: Mapping[str, Any] | None = None) -> None:
        """Add an empty profile, or one that begins with `settings`. Raises ConfigError for a taken name."""
        checked_name(name, "profile")
        with self._lock:
            if name in self.config["profiles"]:
                raise ConfigError(f"There is already a profile '{name}'.")
            self.config["profiles"][name] = copy.deepcopy(dict(settings or {}))

    def set_active_profile(self, name: str | None) -> None:
        """Lay the profile over the file from now on; None for no profile. Raises ConfigError for an unknown one."""
        with self._lock:
            if name is not None and name not in self.config["profiles"]:
                known = ", ".join(self.config["profiles"]) or "none"
                raise ConfigError(f"There is no profile '{name}'. Known: {known}.")
            self.config["active_profile"] = name

    # ---- the file

    def save(self, path: str | PathLike[str] | None = None) -> None:
        """Write what changed here since the load into the file, atomically and readable by its owner only.

        path: another file, which gets the whole configuration; `config_path` stays. Nothing happens for ":memory:".
        Raises ConfigError when the file can't be written, or is there and broken: it is left as it is then.
        """
        with self._lock:
            if path is not None:
                target = expanded(path)
                with locked(target):
                    write(target, self.config)
            elif self.config_path != IN_MEMORY:
                target = Path(self.config_path)
                with locked(target):
                    stored = read(target)
                    apply_changes(stored, self._base, self.config)
                    _checked(stored, str(target))
                    write(target, stored)
                self._take(stored)

    def load(self, path: str | PathLike[str] | None = None) -> None:
        """Read the file anew and drop what was not saved. path: read that one instead; `config_path` stays.

        Raises ConfigError, with everything as it was, when the file is not a configuration.
        """
        source = self.config_path if path is None else fspath(path)
        stored: Json = {} if source == IN_MEMORY else read(expanded(source))
        _checked(stored, source)
        environment: Json = {}
        for name, parts in _ENVIRONMENT.items():
            if value := os.environ.get(name):
                _put(environment, parts, value, exact=True)
        with self._lock:
            self._environment = environment
            self._take(stored)
            if path is not None:
                self._base = copy.deepcopy(DEFAULTS)

    def refresh(self) -> bool:
        """Take in what others have written into the file since it was read; whether it has changed.

        What was changed here and not saved stays. Raises ConfigError, with everything as it was, for a file that is no
        configuration; once, until it changes again.
        """
        if self.config_path == IN_MEMORY:
            return False
        stamp = stamp_of(Path(self.config_path))
        with self._lock:
            if stamp == self._stamp:
                return False
            self._stamp = stamp
            stored = read(Path(self.config_path))
            _checked(stored, self.config_path)
            fresh = copy.deepcopy(DEFAULTS)
            merge(fresh, stored)
            changed = copy.deepcopy(fresh)
            apply_changes(changed, self._base, self.config)
            self._base = fresh
            replace(self.config, changed)
        return True

    def _take(self, stored: Json) -> None:
        """Make `stored` over the defaults the present state, keeping the identity of objects that are handed out."""
        fresh = copy.deepcopy(DEFAULTS)
        merge(fresh, stored)
        self._base = copy.deepcopy(fresh)
        replace(self.config, fresh)

    def _profile(self) -> Json | None:
        name = self._environment.get("active_profile") or self.config.get("active_profile")
        profile: Json | None = None if name is None else self.config["profiles"].get(name)
        return profile

    def _effective(self) -> Json:
        profile = self._profile()
        if profile is None and not self._environment:
            return self.config
        whole = copy.deepcopy(self.config)
        merge(whole, profile or {})
        merge(whole, self._environment)
        return whole


def _parts(key: Key) -> tuple[str, ...]:
    parts = tuple(key.split(".")) if isinstance(key, str) else tuple(key)
    if not parts or not all(parts):
        raise ConfigError(f"{key!r} is no key: give names joined by dots, or a sequence of names.")
    return parts


def _names(parts: tuple[str, ...], *, exact: bool) -> Iterable[tuple[str, tuple[str, ...]]]:
    """The names that `parts` may begin with, the longest first, each with what is left."""
    for count in (1,) if exact else range(len(parts), 0, -1):
        yield ".".join(parts[:count]), parts[count:]


def _find(tree: Any, parts: tuple[str, ...], default: Any, *, exact: bool) -> Any:
    if not parts:
        return tree
    if isinstance(tree, Mapping):
        for name, rest in _names(parts, exact=exact):
            if name in tree and (found := _find(tree[name], rest, _MISSING, exact=exact)) is not _MISSING:
                return found
    return default


def _put(tree: Json, parts: tuple[str, ...], value: Any, *, exact: bool) -> None:
    present = ((name, rest) for name, rest in _names(parts, exact=exact) if name in tree)
    name, rest = next(present, (parts[0], parts[1:]))
    if not rest:
        tree[name] = value
        return
    place = tree.get(name)
    if place is None:
        place = tree[name] = {}
    if not isinstance(place, dict):
        raise ConfigError(f"'{name}' has a value of its own, so that '{'.'.join(rest)}' can't be set in it.")
    _put(place, rest, value, exact=exact)


def _checked(content: Json, source: str) -> None:
    """Give known settings their types. Raises ConfigError for what can't be: text where an object is expected."""
    for name in _OBJECTS:
        section = content.get(name, {})
        if not isinstance(section, dict):
            raise ConfigError(f"{source}: '{name}' must be an object.")
        for entry, value in section.items() if name in _OBJECTS_OF_OBJECTS else ():
            if not isinstance(value, dict):
                raise ConfigError(f"{source}: '{entry}' in '{name}' must be an object.")
            if name == "models" and not all(isinstance(value.get(key), str | None) for key in ("path", "backend")):
                raise ConfigError(f"{source}: path and backend of the model '{entry}' must be text.")
    if not isinstance(content.get("plugins", {}), dict):
        raise ConfigError(f"{source}: 'plugins' must be an object with 'enabled', a list of names, and 'config'.")
    typed(content, source)
    for name, profile in content.get("profiles", {}).items():
        _checked(profile, f"{source}, profile '{name}'")
