"""Distinguished names: compared, and their first part, by which people call a group."""


def first_value(name: str) -> str:
    r"""The value of a name's first part: `Sales, West` of `cn=Sales\, West,ou=groups,dc=example`; what is no name as it is."""
    attribute, sign, rest = name.partition("=")
    if not sign or not attribute.strip() or "," in attribute:
        return name
    out, at = bytearray(), 0
    while at < len(rest):
        character = rest[at]
        if character in ",+;":
            break
        if character == "\\" and at + 1 < len(rest):
            pair = rest[at + 1 : at + 3]
            if len(pair) == 2 and all(c in "0123456789abcdefABCDEF" for c in pair):
                out += bytes.fromhex(pair)
                at += 3
                continue
            at += 1
            character = rest[at]
        out += character.encode()
        at += 1
    return out.decode(errors="replace").strip()


def comparable(name: str) -> str:
    """A name by which two spellings of one are known: case and blanks around its signs don't count."""
    parts = name.split(",")
    return ",".join("=".join(side.strip() for side in part.split("=", 1)) for part in parts).casefold()
