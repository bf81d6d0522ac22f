"""Many changes in one request (RFC 7644, 3.7). Each is done by itself; one may name what another makes by its bulkId."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from open_webui.errors import OuiError, ScimError
from open_webui.services.scim import groups, users
from open_webui.services.scim.deps import ScimDeps, storable
from open_webui.services.scim.discovery import MAX_OPERATIONS
from open_webui.services.scim.documents import Document, Place

REQUEST: Final = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
RESPONSE: Final = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"
ERROR: Final = "urn:ietf:params:scim:api:messages:2.0:Error"
_REFERENCE: Final = "bulkId:"
_PATH: Final = re.compile(r"/(Users|Groups)(?:/([^/]{1,1000}))?")
_DONE: Final = {"POST": 201, "PUT": 200, "PATCH": 200, "DELETE": 204}


class _Unknown(Exception):
    """What a reference stands for isn't made yet."""


class _Operation(msgspec.Struct):
    method: str
    kind: str
    row_id: str | None
    bulk_id: str | None
    version: str | None
    data: Any


def error_body(detail: str, status: int, scim_type: str = "") -> Document:
    """What a refusal looks like."""
    body: Document = {"schemas": [ERROR], "status": str(status), "detail": detail}
    return body | ({"scimType": scim_type} if scim_type else {})


async def run(deps: ScimDeps, place: Place, body: Mapping[str, Any]) -> Document:
    """Raises ScimError where the request as a whole can't be carried out."""
    known = {k.lower(): v for k, v in storable(body).items()}
    given, most = known.get("operations"), known.get("failonerrors")
    if REQUEST not in (known.get("schemas") or [REQUEST]) or not isinstance(given, list) or not given:
        raise ScimError("A bulk request has 'Operations', a list of at least one.", "invalidSyntax")
    if len(given) > MAX_OPERATIONS:
        raise ScimError(f"A bulk request has {MAX_OPERATIONS} operations at most.", "tooMany", status=413)
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        raise ScimError("'failOnErrors' is a number of errors.")
    operations = [_read(one) for one in given]
    made: dict[str, str] = {}
    results: dict[int, Document] = {}
    waiting, failures = list(range(len(operations))), 0
    while waiting:
        later = []
        for k in waiting:
            if most is not None and failures >= most:
                break
            try:
                results[k] = await _do(deps, place, operations[k], made)
            except _Unknown:
                later.append(k)
                continue
            failures += int(results[k]["status"]) >= 400
        if len(later) == len(waiting) or (most is not None and failures >= most):
            break
        waiting = later
    if most is None or failures < most:
        for k in later:
            refused = error_body("A bulkId is named here by which nothing was made.", 409, "invalidValue")
            results[k] = _result(operations[k]) | {"status": "409", "response": refused}
    return {"schemas": [RESPONSE], "Operations": [results[k] for k in sorted(results)]}


def _read(given: Any) -> _Operation:
    fields = {k.lower(): v for k, v in given.items()} if isinstance(given, dict) else {}
    method, path = str(fields.get("method", "")).upper(), fields.get("path")
    found = _PATH.fullmatch(path) if isinstance(path, str) else None
    bulk_id, version = (fields.get(name) for name in ("bulkid", "version"))
    if method not in _DONE or found is None or (method == "POST") is (found[2] is not None):
        raise ScimError("An operation has a method (POST, PUT, PATCH, DELETE) and a path that fits.", "invalidSyntax")
    if method == "POST" and not (isinstance(bulk_id, str) and 0 < len(bulk_id) <= 200):
        raise ScimError("An operation that makes something has a 'bulkId'.", "invalidSyntax")
    if method != "DELETE" and not isinstance(fields.get("data"), dict):
        raise ScimError("An operation has an object as its 'data'.", "invalidSyntax")
    return _Operation(
        method, found[1], found[2], bulk_id if isinstance(bulk_id, str) else None,
        version if isinstance(version, str) else None, fields.get("data"),
    )  # fmt: skip


async def _do(deps: ScimDeps, place: Place, operation: _Operation, made: dict[str, str]) -> Document:
    """Raises _Unknown for a reference to what isn't there yet."""
    data = _resolved(operation.data, made)
    row_id = _resolved(operation.row_id, made)
    try:
        document = await _carry_out(deps, place, operation, row_id, data)
    except OuiError as error:
        scim_type = error.scim_type if isinstance(error, ScimError) else ""
        refused = error_body(error.detail, error.status, scim_type)
        return _result(operation) | {"status": str(error.status), "response": refused}
    result = _result(operation) | {"status": str(_DONE[operation.method])}
    if document is None:
        return result | {"location": place.of(operation.kind, row_id)}
    if operation.bulk_id is not None:
        made[operation.bulk_id] = document["id"]
    return result | {"location": document["meta"]["location"], "version": document["meta"]["version"]}


async def _carry_out(deps: ScimDeps, place: Place, operation: _Operation, row_id: str, data: Any) -> Document | None:
    of: Any = users if operation.kind == "Users" else groups
    if operation.method == "POST":
        made: Document = await of.create(deps, place, data)
        return made
    if operation.method == "DELETE":
        await of.delete(deps, place, row_id, operation.version)
        return None
    change = of.replace if operation.method == "PUT" else of.patch
    changed: Document = await change(deps, place, row_id, data, operation.version)
    return changed


def _result(operation: _Operation) -> Document:
    return {"method": operation.method} | ({"bulkId": operation.bulk_id} if operation.bulk_id else {})


def _resolved(value: Any, made: Mapping[str, str]) -> Any:
    """The same with ids in the places of references."""
    if isinstance(value, str) and value.startswith(_REFERENCE):
        found = made.get(value.removeprefix(_REFERENCE))
        if found is None:
            raise _Unknown
        return found
    if isinstance(value, list):
        return [_resolved(one, made) for one in value]
    if isinstance(value, dict):
        return {k: _resolved(one, made) for k, one in value.items()}
    return value
