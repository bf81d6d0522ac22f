"""What is asked of a provider's models, and is refused: they are not fetched, loaded or removed on request."""

import pytest

from tests.support.live import Actor


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_models_of_providers_are_not_fetched_or_removed(admin: Actor, user: Actor, connections: None) -> None:
    for method, path, body in (
        ("POST", "/openai/models/0/download", {"model": "echo"}),
        ("POST", "/openai/models/0/load", {"model": "echo"}),
        ("DELETE", "/openai/models/0?model=echo", None),
        ("POST", "/ollama/models/download", {"url": "https://example.com/a.gguf"}),
        ("POST", "/ollama/models/upload/0", None),
    ):
        reply = await admin.client.request(method, path, json=body)
        assert (reply.status_code, bool(reply.json()["detail"])) == (400, True), (path, reply.text)
        assert (await user.client.request(method, path, json=body)).status_code == 401
    reply = await admin.client.post("/openai/models/x/load", json={})
    assert [one["loc"][-1] for one in reply.json()["detail"]] == ["url_idx", "model"]
    assert (await admin.client.delete("/openai/models/0")).status_code == 422
