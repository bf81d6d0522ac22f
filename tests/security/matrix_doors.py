"""The two-user matrix's calls: for every door whose policy names a resource, how a victim's ids get into it."""

from typing import Any

from tests.security.matrix import Case, Outcome, granted

CHATS, FOLDERS, MODELS, GROUPS, USERS = (f"/api/v1/{n}" for n in ("chats", "folders", "models", "groups", "users"))
LOCALS = "/api/v1/llamaforge"
SAY = [{"role": "user", "content": "hi"}]
ASK = {"messages": SAY, "stream": False, "input": "x", "prompt": "hi", "responses": ["a", "b"]}
GRANTS = {"access_grants": [granted("$stranger", "write")]}
MODEL_ROW = {"id": "$model", "base_model_id": "echo", "name": "taken", "meta": {}, "params": {}}
PERSON = {"role": "user", "name": "Owner One", "email": "owner.one@example.com", "profile_image_url": ""}
GROUP = {"name": "taken", "description": ""}
# Lists of one's own: they answer everybody, each with their own things.
LIST = Case(reader="own", stranger="own", admin="own")
# They change all that one has.
ALL_OWN = Case(reader="own", stranger="own", admin="own", turn=1)
READ_ONLY_OWN = Case(reader="no", admin="no")
CASE, LAST = Case(), Case(turn=1)
JOB = Case(path={"job_id": "$job"})
# A write grant is not enough.
OWNERS, OWNERS_LAST = Case(writer="no"), Case(writer="no", turn=1)
USE, LOCAL = Case(ASK | {"model": "$model"}), Case(ASK | {"model": "$local"})
# Chats have messages and no prompt.
TELL, TELL_LOCAL = (Case({"messages": SAY, "stream": False, "model": model}) for model in ("$model", "$local"))


def ask(writer: Outcome = "ok", **fields: Any) -> Case:
    """A page's turn. writer: whether a write grant on what it names is enough."""
    question = {"id": "q-new", "parentId": None, "role": "user", "content": "hi"}
    body = {
        "model": "echo", "session_id": "s", "id": "a-new", "parent_id": None, "user_message": question,
        "message_ids": [{"model_id": fields.get("model", "echo"), "message_id": fields.get("id", "a-new")}],
    }  # fmt: skip
    return Case(body | fields, reader="no", writer=writer, admin="no")


def asked() -> list[Case]:
    """What completions take beside a model: a chat, a message to follow, one to replace or to go on with, a folder."""
    on = {"chat_id": "$chat"}
    over = {"user_message": {"id": "$message", "role": "user", "content": "taken"}}
    return [
        TELL,
        ask(**on, parent_id="$answer"),
        # An answer that somebody else got stays theirs.
        ask("no", **on, id="$answer", user_message=None, parent_id="$message"),
        ask("no", **on, id="$answer", user_message=None, assistant_message_id="$answer"),
        ask(**on, **over),
        ask("no", chat_id="$hidden"),
        ask(folder_id="$folder"),
        Case(ask(model="$model").body, admin="ok", stranger="no"),
    ]


# No versions of models are kept yet, so that nobody finds one.
NO_VERSION = Case(query={"id": "$model"}, owner="no", writer="no", reader="no", admin="no")

DOORS: dict[str, list[Case]] = {
    "POST /api/chat/completed": [
        Case({"chat_id": "$chat", "id": "$answer", "messages": []}, reader="own", stranger="own", admin="own"),
    ],
    "POST /api/chat/completions": asked(),
    "POST /api/v1/chat/completions": asked(),
    "POST /openai/chat/completions": [TELL],
    "POST /ollama/v1/chat/completions": [TELL, TELL_LOCAL],
    "POST /ollama/v1/chat/completions/{url_idx}": [TELL],
    "POST /ollama/api/chat": [USE, LOCAL],
    "POST /ollama/api/chat/{url_idx}": [USE],
    "POST /ollama/api/generate": [USE, LOCAL],
    "POST /ollama/api/generate/{url_idx}": [USE],
    "POST /api/embeddings": [USE],
    "POST /api/v1/embeddings": [USE],
    "POST /openai/embeddings": [USE],
    "POST /ollama/api/embed": [LOCAL],
    "POST /ollama/api/embed/{url_idx}": [Case(ASK | {"model": "$local"})],
    "POST /ollama/api/embeddings": [LOCAL],
    "POST /ollama/api/embeddings/{url_idx}": [LOCAL],
    "POST /ollama/v1/embeddings": [LOCAL],
    "POST /ollama/v1/embeddings/{url_idx}": [LOCAL],
    "POST /ollama/api/show": [LOCAL],
    "POST /api/v1/tasks/moa/completions": [USE],
    "POST /api/v1/tasks/{kind}/completions": [
        Case(ASK | {"model": "$model"}, path={"kind": kind}) for kind in ("title", "tags", "follow_up", "emoji", "queries")
    ],
    "GET /api/models": [Case(stranger="own")],
    "GET /api/v1/models": [Case(stranger="own")],
    "GET /openai/models": [Case(stranger="own")],
    "GET /openai/models/{url_idx:int}": [Case(stranger="own")],
    **{
        f"GET {prefix}/models/{{model_id:path}}": [Case()]
        for prefix in ("/api", "/api/v1", "/openai", "/ollama/v1")
    },
    "GET /ollama/api/tags": [Case(stranger="own")],
    "GET /ollama/api/tags/{url_idx}": [Case(stranger="own")],
    "GET /ollama/v1/models": [Case(stranger="own")],
    "GET /ollama/v1/models/{url_idx:int}": [Case(stranger="own")],
    "GET /api/tasks/chat/{chat_id:path}": [Case(stranger="own")],
    "POST /api/tasks/chat/{chat_id:path}/stop": [CASE],
    "GET /api/v1/search": [Case(query={"q": q}, reader="own", stranger="own", admin="own") for q in ("victim-canary", "")],
    # Chats
    f"GET {CHATS}/": [LIST, Case(query={"include_folders": "true"}, reader="own", stranger="own", admin="own")],
    f"DELETE {CHATS}/": [ALL_OWN],
    f"GET {CHATS}/all": [LIST],
    f"GET {CHATS}/all/archived": [LIST],
    f"GET {CHATS}/all/db": [CASE],
    f"GET {CHATS}/all/tags": [LIST],
    f"POST {CHATS}/archive/all": [ALL_OWN],
    f"POST {CHATS}/unarchive/all": [ALL_OWN],
    f"GET {CHATS}/archived": [LIST],
    f"GET {CHATS}/archived/count": [LIST],
    f"GET {CHATS}/folder/{{folder_id}}": [LIST],
    f"GET {CHATS}/folder/{{folder_id}}/list": [LIST],
    f"POST {CHATS}/import": [
        Case({"chats": [{"chat": {"id": "$chat", "title": "x"}, "id": "$chat", "user_id": "$user", "share_id": "$share",
                         "folder_id": "$folder"}]}, reader="own", stranger="own", admin="own"),
    ],
    f"GET {CHATS}/list": [LIST],
    f"GET {CHATS}/list/user/{{user_id}}": [CASE],
    f"POST {CHATS}/new": [
        Case({"chat": {"title": "x"}, "folder_id": "$folder"}, reader="no", writer="ok"),
        Case({"chat": {"id": "$chat", "title": "x"}, "id": "$chat", "user_id": "$user"},
             reader="own", stranger="own", admin="own"),
    ],
    f"GET {CHATS}/pinned": [LIST],
    f"POST {CHATS}/read": [ALL_OWN],
    f"GET {CHATS}/search": [
        Case(query={"text": text}, reader="own", stranger="own", admin="own")
        for text in ("victim-canary", "tag:victim-canary_tag", "folder:victim-canary", "shared:true", "")
    ],
    f"DELETE {CHATS}/share/all": [ALL_OWN],
    f"GET {CHATS}/share/{{share_id}}": [CASE, Case(path={"share_id": "$live_share"}),
                                        Case(path={"share_id": "$chat"}, owner="no", reader="no", admin="no")],
    f"GET {CHATS}/shared": [LIST],
    f"GET {CHATS}/shared/{{id}}/access": [Case(reader="no")],
    f"POST {CHATS}/shared/{{id}}/access/update": [Case(GRANTS, turn=1)],
    f"GET {CHATS}/stats/export": [LIST],
    f"GET {CHATS}/stats/export/{{chat_id}}": [READ_ONLY_OWN],
    f"GET {CHATS}/stats/usage": [LIST],
    f"POST {CHATS}/tags": [Case({"name": "$tag"}, reader="own", stranger="own", admin="own")],
    # An admin who may see a chat may remove it.
    f"DELETE {CHATS}/{{id}}": [Case(admin="ok", turn=1), Case(path={"id": "$hidden"}, admin="ok", turn=1)],
    f"GET {CHATS}/{{id}}": [CASE, Case(path={"id": "$hidden"}, reader="no")],
    f"POST {CHATS}/{{id}}": [
        Case({"chat": {"title": "taken"}}), Case({"chat": {"history": {"messages": {}}}}, turn=1),
        Case({"chat": {}, "folder_id": "$folder"}),
    ],
    f"POST {CHATS}/{{id}}/archive": [OWNERS_LAST],
    f"POST {CHATS}/{{id}}/clone": [Case({}, reader="no", admin="no"), Case({}, path={"id": "$hidden"}, reader="no", admin="no")],
    f"POST {CHATS}/{{id}}/clone/shared": [CASE, Case(path={"id": "$share"}), Case(path={"id": "$hidden"}, reader="no")],
    f"POST {CHATS}/{{id}}/compact": [Case({})],
    f"POST {CHATS}/{{id}}/folder": [
        Case({"folder_id": None}, writer="no", turn=1), Case({"folder_id": "$subfolder"}, writer="no", turn=1),
    ],
    f"POST {CHATS}/{{id}}/fork": [Case({}), Case({"message_id": "$message"})],
    f"DELETE {CHATS}/{{id}}/messages/{{message_id}}": [OWNERS_LAST],
    f"POST {CHATS}/{{id}}/messages/{{message_id}}": [
        Case({"content": "taken"}, writer="no"), Case({"content": "taken"}, path={"message_id": "m-new"}),
    ],
    f"POST {CHATS}/{{id}}/messages/{{message_id}}/event": [Case({"type": "message", "data": {"content": "taken"}}, writer="no")],
    f"POST {CHATS}/{{id}}/messages/{{message_id}}/resolve": [
        # Nothing waits for an answer yet: the owner is told so.
        Case({"call_id": "c", "action": "approve"}, owner="no", writer="no"),
    ],
    "GET /api/v1/affect/chats/{id}": [CASE, Case(path={"id": "$hidden"}, reader="no")],
    "PUT /api/v1/affect/chats/{id}": [
        Case({"enabled": True, "persona": "warm", "state": {"joy": 0.5}}),
        Case({"enabled": True}, path={"id": "$hidden"}, writer="no"),
    ],
    f"PATCH {CHATS}/{{id}}/params": [Case({"system": "taken"}, writer="no")],
    f"POST {CHATS}/{{id}}/pin": [OWNERS],
    f"GET {CHATS}/{{id}}/pinned": [CASE],
    f"DELETE {CHATS}/{{id}}/share": [LAST],
    f"POST {CHATS}/{{id}}/share": [Case({}), Case({"share_mode": "continue"})],
    f"DELETE {CHATS}/{{id}}/tags": [Case({"name": "$tag"}, writer="no", turn=1)],
    f"GET {CHATS}/{{id}}/tags": [CASE],
    f"POST {CHATS}/{{id}}/tags": [Case({"name": "taken"}, writer="no")],
    f"POST {CHATS}/{{id}}/unread": [OWNERS],
    # Folders
    f"GET {FOLDERS}/": [LIST],
    f"POST {FOLDERS}/": [Case({"name": "inside", "parent_id": "$folder"})],
    "GET /api/v1/files/{id}/content": [Case(admin="ok")],
    f"GET {FOLDERS}/shared": [Case(stranger="own", admin="own")],
    f"DELETE {FOLDERS}/{{id}}": [LAST],
    f"GET {FOLDERS}/{{id}}": [Case(admin="no"), Case(path={"id": "$subfolder"}, reader="no")],
    f"POST {FOLDERS}/{{id}}/access/update": [Case(GRANTS, turn=1)],
    f"POST {FOLDERS}/{{id}}/read": [CASE],
    f"GET {FOLDERS}/{{id}}/shared/chats": [CASE],
    f"POST {FOLDERS}/{{id}}/update": [Case({"name": "taken"}), Case({"data": {"system_prompt": "taken"}})],
    f"POST {FOLDERS}/{{id}}/update/expanded": [Case({"is_expanded": True})],
    f"POST {FOLDERS}/{{id}}/update/parent": [
        Case({"parent_id": None}, turn=1), Case({"parent_id": "$folder"}, path={"id": "$subfolder"}),
    ],
    # Models
    f"POST {MODELS}/create": [Case(MODEL_ROW, owner="no", reader="no", admin="no")],
    f"GET {MODELS}/export": [Case(reader="own", stranger="own"), Case(query={"ids": "$model"}, reader="own", stranger="own")],
    f"POST {MODELS}/import": [Case({"models": [MODEL_ROW]}, writer="ok", turn=1)],
    f"GET {MODELS}/list": [Case(stranger="own")],
    f"GET {MODELS}/model": [Case(query={"id": "$model"})],
    f"POST {MODELS}/model/access/update": [Case({"id": "$model"} | GRANTS, turn=1)],
    f"POST {MODELS}/model/delete": [Case({"id": "$model"}, turn=1)],
    f"GET {MODELS}/model/history": [Case(query={"id": "$model"})],
    f"DELETE {MODELS}/model/history/{{history_id}}": [NO_VERSION],
    f"GET {MODELS}/model/history/{{history_id}}": [NO_VERSION],
    f"GET {MODELS}/model/profile/image": [
        # Everybody is sent on to the picture that all models have.
        Case(query={"id": "$model"}, owner="own", reader="own", stranger="own", admin="own"),
    ],
    f"POST {MODELS}/model/toggle": [Case(query={"id": "$model"}, turn=1)],
    f"POST {MODELS}/model/update": [Case(MODEL_ROW)],
    f"POST {MODELS}/model/update/version": [
        Case({"version_id": "v"}, query={"id": "$model"}, owner="no", writer="no", reader="no", admin="no"),
    ],
    f"GET {MODELS}/tags": [Case(stranger="own")],
    # Models of this machine: the admin's alone
    f"GET {LOCALS}/models": [CASE],
    f"POST {LOCALS}/models": [Case({"name": "$file", "source": "elsewhere.gguf"}, admin="no")],
    f"GET {LOCALS}/models/{{name:path}}": [CASE],
    f"DELETE {LOCALS}/models/{{name:path}}": [LAST, Case(query={"files": "true"}, turn=1)],
    # Its file is broken, and nothing of it is to be downloaded: admins are told so.
    f"POST {LOCALS}/models/{{name:path}}/cancel": [Case(admin="no")],
    f"POST {LOCALS}/models/{{name:path}}/download": [Case(admin="no")],
    f"POST {LOCALS}/models/{{name:path}}/load": [Case(admin="no")],
    f"POST {LOCALS}/models/{{name:path}}/unload": [CASE],
    # Work in the background: the admin's alone
    "GET /api/v1/jobs": [CASE, Case(query={"state": "waiting"})],
    "GET /api/v1/jobs/{job_id}": [JOB],
    "POST /api/v1/jobs/{job_id}/cancel": [Case(path={"job_id": "$job"}, turn=1)],
    "POST /api/v1/jobs/{job_id}/retry": [JOB],
    # Groups and people
    f"GET {GROUPS}/": [Case(stranger="own", admin="ok")],
    f"POST {GROUPS}/create": [Case(GROUP)],
    f"GET {GROUPS}/id/{{group_id}}": [CASE],
    f"DELETE {GROUPS}/id/{{group_id}}/delete": [LAST],
    f"GET {GROUPS}/id/{{group_id}}/export": [CASE],
    f"GET {GROUPS}/id/{{group_id}}/info": [Case(admin="ok")],
    f"GET {GROUPS}/id/{{group_id}}/members": [CASE],
    f"GET {GROUPS}/id/{{group_id}}/preview": [CASE],
    f"POST {GROUPS}/id/{{group_id}}/update": [Case(GROUP)],
    f"POST {GROUPS}/id/{{group_id}}/users": [CASE],
    f"POST {GROUPS}/id/{{group_id}}/users/add": [Case({"user_ids": ["$stranger"]}, turn=1)],
    f"POST {GROUPS}/id/{{group_id}}/users/remove": [Case({"user_ids": ["$user"]}, turn=1)],
    "POST /api/v1/auths/add": [Case(PERSON | {"email": "new@example.com", "password": "correct horse battery"})],
    f"GET {USERS}/": [CASE],
    f"GET {USERS}/all": [CASE],
    # Names and pictures of people are for everybody who was let in.
    f"GET {USERS}/search": [Case(stranger="own", admin="ok")],
    f"GET {USERS}/{{user_id}}/info": [Case(reader="ok", stranger="ok", admin="ok")],
    f"GET {USERS}/{{user_id}}": [CASE],
    f"GET {USERS}/{{user_id}}/groups": [CASE],
    f"GET {USERS}/{{user_id}}/preview": [CASE],
    f"POST {USERS}/{{user_id}}/update": [Case(PERSON, turn=2)],
    f"POST {USERS}/{{user_id}}/sessions/revoke": [Case(turn=3)],
    f"DELETE {USERS}/{{user_id}}": [Case(turn=4)],
}  # fmt: skip

# Doors with an id in their address that says of nobody's thing anything: each with the reason.
WITHOUT_RESOURCE: dict[str, str] = {
    "GET /api/v1/users/{user_id}/active": "presence is for everybody who was let in",
    "GET /api/v1/users/{user_id}/profile/image": "pictures are for everybody who was let in",
    "POST /api/tasks/stop/{task_id}": "admins stop any answer",
}

# Of sockets: the event's body, and what it answers to the owner, to the reader and to strangers (admins read).
EVENTS: dict[str, list[tuple[dict[str, Any], tuple[Any, Any, Any, Any]]]] = {
    "events:chat": [
        ({"chat_id": "$chat", "data": {"type": "join"}}, (True, True, False, True)),
        ({"chat_id": "$chat", "data": {"type": "typing", "data": {"typing": True}}}, (True, False, False, False)),
        ({"chat_id": "$chat", "data": {"type": "last_read_at"}}, (None, None, None, None)),
        ({"chat_id": "$chat", "data": {"type": "leave"}}, (True, True, True, True)),
        ({"chat_id": "$hidden", "data": {"type": "join"}}, (True, False, False, True)),
    ],
}
