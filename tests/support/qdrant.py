"""A Qdrant for tests: the REST API as far as the server uses it, over the local mode of Qdrant's own client.

Every body is read by the models that the client has of Qdrant's API description, which refuse fields that it does not know.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pydantic
from aiohttp import web
from qdrant_client import QdrantClient
from qdrant_client.http import models

KEY = "key-of-the-qdrant"


class Refused(Exception):
    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class QdrantServer:
    """asked: the method and path of each request, and its body. is_away: it answers nobody. fails: paths with this in them."""

    def __init__(self) -> None:
        self.client = QdrantClient(":memory:")
        self.url = ""
        self.asked: list[tuple[str, str, Any]] = []
        self.is_away = False
        self.fails = ""
        # What the local mode does not keep: how each collection was made, and its indexes.
        self.made: dict[str, models.CreateCollection] = {}
        self.indexes: dict[str, set[str]] = {}

    @property
    def collections(self) -> list[str]:
        return sorted(self.made)

    def ids(self, collection: str) -> list[int]:
        """The points of a collection."""
        return sorted(point.id for point in self.client.scroll(collection, limit=100_000)[0])  # type: ignore[misc]

    async def handle(self, request: web.Request) -> web.Response:
        raw = await request.read()
        if self.is_away or (self.fails and self.fails in request.path):
            # As a proxy before a service that is away.
            return web.Response(status=502, text="<html>Bad gateway</html>")
        if request.headers.get("api-key") != KEY:
            return web.json_response({"status": {"error": "Invalid API key"}, "time": 0}, status=403)
        _, _, collection, *rest = request.path.split("/")
        method = f"{request.method} {'/'.join(rest)}"
        self.asked.append((request.method, request.path, raw))
        try:
            result = self._answer(method, collection, raw)
        except pydantic.ValidationError as error:
            return web.json_response({"status": {"error": f"Format error: {error}"}}, status=400)
        except Refused as error:
            return web.json_response({"status": {"error": str(error)}, "time": 0}, status=error.status)
        return web.json_response({"result": result, "status": "ok", "time": 0.001})

    def _answer(self, method: str, name: str, raw: bytes) -> Any:
        if method == "GET exists":
            return {"exists": name in self.made}
        if method == "PUT ":
            return self._create(name, models.CreateCollection.model_validate_json(raw))
        if name not in self.made:
            if method == "DELETE ":
                return False
            raise Refused(404, f"Not found: Collection `{name}` doesn't exist!")
        match method:
            case "GET ":
                return self._describe(name)
            case "PATCH ":
                change = models.UpdateCollection.model_validate_json(raw)
                assert change.hnsw_config is not None
                self.made[name].hnsw_config = change.hnsw_config
                return True
            case "DELETE ":
                del self.made[name]
                return self.client.delete_collection(name)
            case "PUT index":
                index = models.CreateFieldIndex.model_validate_json(raw)
                self.indexes[name].add(index.field_name)
                return _DONE
            case _:
                return self._of_points(method, name, raw)

    def _of_points(self, method: str, name: str, raw: bytes) -> Any:
        match method:
            case "PUT points":
                points = models.PointsList.model_validate_json(raw).points
                self._check(name, points)
                self.client.upsert(name, points)
                return _DONE
            case "POST points":
                wanted = models.PointRequest.model_validate_json(raw)
                found = self.client.retrieve(
                    name, wanted.ids, with_payload=bool(wanted.with_payload), with_vectors=wanted.with_vector or False
                )
                return [point.model_dump(mode="json") for point in found]
            case "POST points/query":
                query = models.QueryRequest.model_validate_json(raw)
                answer = self.client.query_points(
                    name,
                    query=query.query,
                    query_filter=query.filter,
                    limit=query.limit or 10,
                    with_payload=bool(query.with_payload),
                    with_vectors=bool(query.with_vector),
                )
                return answer.model_dump(mode="json")
            case "POST points/scroll":
                scroll = models.ScrollRequest.model_validate_json(raw)
                page, offset = self.client.scroll(
                    name, limit=scroll.limit or 10, offset=scroll.offset, with_payload=False, with_vectors=False
                )
                return {"points": [point.model_dump(mode="json") for point in page], "next_page_offset": offset}
            case "POST points/delete":
                self.client.delete(name, models.PointIdsList.model_validate_json(raw).points)
                return _DONE
            case _:
                raise Refused(404, f"there is no {method}")

    def _create(self, name: str, given: models.CreateCollection) -> bool:
        if name in self.made:
            raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
        self.made[name], self.indexes[name] = given, set()
        return self.client.create_collection(name, vectors_config=given.vectors)

    def _describe(self, name: str) -> Any:
        made = self.made[name]
        return {
            "status": "green",
            "optimizer_status": "ok",
            "segments_count": 1,
            "config": {
                "params": {"vectors": made.vectors.model_dump(mode="json"), "shard_number": 1},  # type: ignore[union-attr]
                "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000}
                | (made.hnsw_config.model_dump(mode="json", exclude_none=True) if made.hnsw_config else {}),
            },
            "payload_schema": {field: {"data_type": "integer", "points": 0} for field in self.indexes[name]},
        }

    def _check(self, name: str, points: list[models.PointStruct]) -> None:
        """The local mode takes what the server refuses."""
        size = self.made[name].vectors.size  # type: ignore[union-attr]
        for point in points:
            if not isinstance(point.vector, list) or len(point.vector) != size:
                raise Refused(400, f"Wrong input: Vector dimension error: expected dim: {size}")


_DONE = {"operation_id": 0, "status": "completed"}


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[QdrantServer]:
    """A Qdrant with nothing in it."""
    played = QdrantServer()
    app = web.Application(client_max_size=32 * 2**20)
    app.router.add_route("*", "/{path:.*}", played.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    played.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield played
    finally:
        await runner.cleanup()
        played.client.close()
