"""Session tokens are JWTs: whatever one of the field's libraries signs we verify, and the other way round."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt as reference
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from open_webui.utils import jwt

KEY = b"a key of at least thirty-two characters"
OTHER = b"another key of at least thirty-two bytes"
REFERENCE = OctKey.import_key(KEY.decode())
JSON = st.dictionaries(
    st.text(max_size=20), st.text(max_size=50) | st.integers(-(2**53), 2**53) | st.booleans(), max_size=8
)


def b64(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@given(JSON)
def test_ours_is_read_by_the_library(payload):
    assert reference.decode(jwt.sign(payload, KEY), REFERENCE, algorithms=["HS256"]).claims == payload


@given(JSON)
def test_the_librarys_is_read_by_us(payload):
    assert jwt.verify(reference.encode({"alg": "HS256"}, payload, REFERENCE), KEY) == payload


@given(st.text(max_size=300))
def test_text_is_no_token(text):
    assert jwt.verify(text, KEY) is None


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c.d",
        "é.é.é",
        "x" * 5000,
        f"{b64({'alg': 'none'})}.{b64({'id': 'u'})}.",
        f"{b64({'alg': 'none', 'typ': 'JWT'})}.{b64({'id': 'u'})}.{b64(b'x')}",
        f"{b64([1])}.{b64({'id': 'u'})}.{b64(b'x')}",
        f"{b64(b'{')}.{b64(b'{')}.{b64(b'x')}",
    ],
)
def test_what_is_none_is_refused(token):
    assert jwt.verify(token, KEY) is None


def test_another_key_or_algorithm_is_refused():
    assert jwt.verify(jwt.sign({"id": "u"}, OTHER), KEY) is None
    long_key = OctKey.import_key("k" * 64)
    assert (
        jwt.verify(reference.encode({"alg": "HS512"}, {"id": "u"}, long_key, algorithms=["HS512"]), b"k" * 64) is None
    )
    with pytest.raises(JoseError):
        reference.decode(jwt.sign({"id": "u"}, OTHER), REFERENCE, algorithms=["HS256"])


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_refused(position, change):
    token = bytearray(jwt.sign({"id": "u", "n": 1}, KEY).encode())
    position %= len(token)
    token[position] ^= change
    changed = token.decode("latin-1")
    # The last character of the signature has bits that base64url ignores; what decodes to the same bytes is the same.
    result = jwt.verify(changed, KEY)
    assert result is None or result == {"id": "u", "n": 1}
