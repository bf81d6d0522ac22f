"""Where the addresses of files stand in JSON bytes."""

import pytest

from open_webui.utils.addresses import addresses_in

A, B = "0a0a0a0a-1111-2222-3333-444444444444", "0b0b0b0b-1111-2222-3333-444444444444"


def places(text: str) -> list[tuple[str, str]]:
    document = text.encode()
    return [(document[start:end].decode(), file_id) for start, end, file_id in addresses_in(document)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f'{{"url":"{A}"}}', [(A, A)]),
        (f'{{"url":"/api/v1/files/{A}/content"}}', [(f"/api/v1/files/{A}/content", A)]),
        (f'"![p](/api/v1/files/{A}/content)"', [(f"/api/v1/files/{A}/content", A)]),
        (
            f'{{"url":"{B}","x":"/api/v1/files/{A}/content","y":{{"url":"{A}"}}}}',
            [(B, B), (f"/api/v1/files/{A}/content", A), (A, A)],
        ),
        (f"/api/v1/files/{A}/content", [(f"/api/v1/files/{A}/content", A)]),
        (f'"https://elsewhere.example/api/v1/files/{A}/content"', []),
        (f'"files]/api/v1/files/{A}/content"', []),
        (f'{{"id":"{A}"}}', []),
        (f'{{"url":"{A}x"}}', []),
        (f'{{"url":"x{A}"}}', []),
        (f'{{"url":"{A[:-1]}"}}', []),
        (f'{{"url":"{A.upper()}"}}', []),
        (f'"/api/v1/files/{A}/thumbnail"', []),
        ("", []),
        ('"url":"' * 20, []),
    ],
)
def test_places(text: str, found: list[tuple[str, str]]) -> None:
    assert places(text) == found
