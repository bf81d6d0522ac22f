"""Filters of searches. Values never become part of a filter's text: they are encoded as they are, so nothing needs escaping."""

import re
from typing import Final

from open_webui.internal.ldap.ber import boolean, octets, tlv

_ATTRIBUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,99}(;[A-Za-z0-9-]{1,50}){0,3}|\d{1,5}(\.\d{1,10}){1,30}")
_RULE: Final = re.compile(r"[A-Za-z0-9.-]{1,200}")
_AND, _OR, _NOT = 0xA0, 0xA1, 0xA2
_EQUAL, _PARTS, _PRESENT, _EXTENSIBLE = 0xA3, 0xA4, 0x87, 0xA9
_COMPARED: Final = {">": 0xA5, "<": 0xA6, "~": 0xA8}
MAX_DEPTH: Final = 20


def is_attribute(name: str) -> bool:
    """Whether it can be an attribute's name."""
    return _ATTRIBUTE.fullmatch(name) is not None


def equal(attribute: str, value: str) -> bytes:
    return tlv(_EQUAL, octets(attribute), octets(value))


def present(attribute: str) -> bytes:
    return octets(attribute, _PRESENT)


def every(*filters: bytes) -> bytes:
    return tlv(_AND, *filters)


def some(*filters: bytes) -> bytes:
    return tlv(_OR, *filters)


def parse(text: str) -> tuple[bytes, ...]:
    """The filters that an admin wrote (RFC 4515), one after the other; without its brackets a single one, too.

    Raises ValueError with a sentence.
    """
    text = text.strip()
    if text and not text.startswith("("):
        text = f"({text})"
    out = []
    while text:
        one, text = _parse(text, 0)
        out.append(one)
        text = text.lstrip()
    return tuple(out)


def _parse(text: str, depth: int) -> tuple[bytes, str]:
    """The filter at the beginning of a text, and the rest of that."""
    if not text.startswith("("):
        raise ValueError("a filter is in brackets, as (objectClass=person)")
    if depth > MAX_DEPTH:
        raise ValueError("filters lie too deep in each other")
    kind = text[1:2]
    if kind and kind in "&|!":
        rest, inner = text[2:].lstrip(), []
        while rest.startswith("("):
            one, rest = _parse(rest, depth + 1)
            inner.append(one)
            rest = rest.lstrip()
        if not rest.startswith(")") or not inner or (kind == "!" and len(inner) != 1):
            raise ValueError(f"({kind} ...) has no filters in it, too many, or does not end")
        return tlv({"&": _AND, "|": _OR, "!": _NOT}[kind], *inner), rest[1:]
    end = text.find(")")
    if end < 0 or "(" in text[1:end]:
        raise ValueError("a bracket is missing; in a value write \\28 and \\29")
    return _item(text[1:end]), text[end + 1 :]


def _item(text: str) -> bytes:
    name, sign, value = text.partition("=")
    name = name.strip()
    if not sign:
        raise ValueError(f"{text!r} compares nothing: there is no =")
    if name.endswith(":"):
        return _extensible(name[:-1], value)
    tag = _COMPARED.get(name[-1:])
    if tag is not None:
        name = name[:-1].strip()
    if not is_attribute(name):
        raise ValueError(f"{name!r} is no attribute")
    if tag is not None:
        return tlv(tag, octets(name), octets(_unescaped(value)))
    if value == "*":
        return present(name)
    if "*" in value:
        return _substrings(name, value)
    return tlv(_EQUAL, octets(name), octets(_unescaped(value)))


def _substrings(name: str, value: str) -> bytes:
    first, *middle, last = value.split("*")
    parts = [octets(_unescaped(first), 0x80)] if first else []
    parts += [octets(_unescaped(part), 0x81) for part in middle if part]
    parts += [octets(_unescaped(last), 0x82)] if last else []
    if not parts:
        return present(name)
    return tlv(_PARTS, octets(name), tlv(0x30, *parts))


def _extensible(name: str, value: str) -> bytes:
    """As (memberOf:1.2.840.113556.1.4.1941:=cn=staff,dc=example), by which Active Directory follows nested groups."""
    attribute, *more = name.split(":")
    is_dn = bool(more) and more[0].lower() == "dn"
    rules = more[1:] if is_dn else more
    fits = (not attribute or is_attribute(attribute)) and len(rules) <= 1 and (attribute or rules)
    if not fits or not all(_RULE.fullmatch(rule) for rule in rules):
        raise ValueError(f"{name!r} names no rule of matching")
    parts = [octets(rules[0], 0x81)] if rules else []
    parts += [octets(attribute, 0x82)] if attribute else []
    parts += [octets(_unescaped(value), 0x83), *([boolean(True, 0x84)] if is_dn else [])]
    return tlv(_EXTENSIBLE, *parts)


def _unescaped(text: str) -> bytes:
    r"""A value, with `\28` and the like made the bytes that they stand for. Raises ValueError."""
    out, at = bytearray(), 0
    raw = text.encode()
    while at < len(raw):
        if raw[at] != 0x5C:
            out.append(raw[at])
            at += 1
            continue
        try:
            out += bytes.fromhex(raw[at + 1 : at + 3].decode())
        except ValueError:
            raise ValueError("after a backslash come two hexadecimal digits, as \\2a for *") from None
        if len(raw) < at + 3:
            raise ValueError("after a backslash come two hexadecimal digits, as \\2a for *")
        at += 3
    return bytes(out)
