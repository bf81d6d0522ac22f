"""What directories are asked, byte by byte: filters, lengths, names."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from open_webui.internal.ldap import filters
from open_webui.internal.ldap.ber import Malformed, elements, header, integer, number, octets, tlv
from open_webui.internal.ldap.filters import equal, every, parse, present, some
from open_webui.internal.ldap.names import comparable, first_value


@given(st.binary(max_size=400), st.integers(0, 2**31 - 1))
def test_what_is_written_is_read(content: bytes, n: int) -> None:
    data = octets(content) + integer(n)
    (_, first), (_, second) = elements(data)
    assert (first, number(second)) == (content, n)
    for end in range(len(octets(content))):
        found = header(data[:end])
        assert found is None or found[2] > end


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        list(elements(data))


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("(uid=ann)", equal("uid", "ann")), ("uid=ann", equal("uid", "ann")), ("(cn=*)", present("cn")),
        (" (a=b) (c=d) ", equal("a", "b") + equal("c", "d")), ("(cn=\\2a\\28x\\29\\5c)", equal("cn", "*(x)\\")),
        ("(&(a=b)(|(c=d)(e=*)))", every(equal("a", "b"), some(equal("c", "d"), present("e")))),
        ("(!(a=b))", tlv(0xA2, equal("a", "b"))), ("(cn=\\c3\\a4)", equal("cn", "ä")), ("(cn=ä)", equal("cn", "ä")),
        ("(cn=a*b*c)", tlv(0xA4, octets("cn"), tlv(0x30, octets("a", 0x80), octets("b", 0x81), octets("c", 0x82)))),
        ("(cn=**)", present("cn")), ("(n>=5)", tlv(0xA5, octets("n"), octets("5"))), ("(cn=)", equal("cn", "")),
        ("(userAccountControl:1.2.840.113556.1.4.803:=2)",
         tlv(0xA9, octets("1.2.840.113556.1.4.803", 0x81), octets("userAccountControl", 0x82), octets("2", 0x83))),
        ("(ou:dn:=x)", tlv(0xA9, octets("ou", 0x82), octets("x", 0x83), b"\x84\x01\xff")), ("", b""),
    ],
)  # fmt: skip
def test_filters_that_admins_write(text: str, encoded: bytes) -> None:
    assert b"".join(parse(text)) == encoded


@pytest.mark.parametrize(
    "text",
    ["(", ")", "(a=b", "(a)", "(&)", "(!(a=b)(c=d))", "(a b=c)", "(a=b))", "(a=(b)", "(=x)", "(a=\\zz)", "(a=\\2)", "(:=x)",
     "(a:x:y:=z)", "(&(a=b)x)", "(" * 5_000, "(!" * 5_000, "(a=b)x", "(a\x00=b)"],
)  # fmt: skip
def test_those_that_can_not_be(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_is_not(text: str) -> None:
    with contextlib.suppress(ValueError):
        for one in parse(text):
            list(elements(one))


@given(st.text(max_size=80))
def test_a_value_is_one_whatever_is_in_it(value: str) -> None:
    """No character of a name that somebody types makes more of a filter than one comparison."""
    ((tag, body),) = elements(equal("uid", value))
    parts = list(elements(body))
    assert (tag, parts) == (0xA3, [(0x04, b"uid"), (0x04, value.encode())])


@pytest.mark.parametrize(
    ("name", "value"),
    [("cn=staff,dc=x", "staff"), ("CN=West\\, Sales,DC=x", "West, Sales"), ("cn=West\\2C Sales,dc=x", "West, Sales"),
     ("cn=K\\c3\\b6ln", "Köln"), ("cn=a+ou=b,dc=x", "a"), ("staff", "staff"), ("a,b=c", "a,b=c"), ("=x", "=x"), ("cn=", ""),
     ("cn=x\\", "x\\"), ("", "")],
)  # fmt: skip
def test_what_people_call_a_group(name: str, value: str) -> None:
    assert first_value(name) == value


def test_names_are_compared() -> None:
    assert comparable("CN=Staff, DC=Example") == comparable("cn = staff,dc=example")
    assert comparable("cn=a") != comparable("cn=b")
    assert filters.is_attribute("memberOf;lang-de")
    assert not any(map(filters.is_attribute, ("", "a b", "a)", "ä", "1", "a" * 200)))
