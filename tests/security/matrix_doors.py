"""The two-user matrix's calls: for every door whose policy names a resource, how a victim's ids get into it."""

from typing import Any

from tests.security.matrix import Case, Outcome, granted, tool_text

CHATS, FOLDERS, MODELS, GROUPS, USERS, BASES = (
    f"/api/v1/{n}" for n in ("chats", "folders", "models", "groups", "users", "knowledge")
)
LOCALS = "/api/v1/llamaforge"
SAY = [{"role": "user", "content": "hi"}]
ASK = {"messages": SAY, "stream": False, "input": "x", "prompt": "hi", "responses": ["a", "b"]}
GRANTS = {"access_grants": [granted("$stranger", "write")]}
MODEL_ROW = {"id": "$model", "base_model_id": "echo", "name": "taken", "meta": {}, "params": {}}
PERSON = {"role": "user", "name": "Owner One", "email": "owner.one@example.com", "profile_image_url": ""}
GROUP = {"name": "taken", "description": ""}
BASE = {"name": "taken", "description": "taken"}
KEPT, LOOSE, PRIVATE = ({"file_id": name} for name in ("$kept", "$loose", "$private"))
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
SAY_LIMITED = Case({"messages": SAY, "max_tokens": 9, "model": "$model"})
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


# One that is in a knowledge base, and one that is not.
FILE = [CASE, Case(path={"id": "$private"}, reader="no", writer="no")]
RETRIEVAL = "/api/v1/retrieval/process"
EARLIER = Case(query={"id": "$model"}, path={"history_id": "$model_version"})
TOOLS, FUNCTIONS = "/api/v1/tools", "/api/v1/functions"
RATINGS = "/api/v1/evaluations"
RATING = {"type": "rating", "data": {"rating": 1, "model_id": "echo"}}
SKILLS = "/api/v1/skills"
MEMORIES = "/api/v1/memories"
CALENDARS = "/api/v1/calendars"
AUTOMATIONS = "/api/v1/automations"
AUTOMATION = {
    "name": "taken", "data": {"prompt": "x", "model_id": "echo", "rrule": "DTSTART:21261120T090000\nRRULE:FREQ=DAILY"},
}  # fmt: skip
NOVEMBER = {"start": "2026-11-01T00:00:00Z", "end": "2026-12-13T00:00:00Z"}
EVENT = {"calendar_id": "$calendar", "title": "taken", "start_at": 1_795_200_000_000_000_000}
CALENDAR_FILE = (
    "file", "mine.ics",
    "BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:taken\nSUMMARY:taken\nDTSTART:20261120T090000Z\nEND:VEVENT\nEND:VCALENDAR\n",
)  # fmt: skip
NOTIFICATIONS = "/api/v1/notifications/targets"
CHANNELS = "/api/v1/channels"
PRIVATE_CHANNEL = {"name": "mine", "type": "group"}
A_MESSAGE = {"message_id": "$channel_message"}
A_GROUP = {"id": "$channel_group"}
A_WEBHOOK = {"webhook_id": "$webhook"}
AN_APP = {"app_id": "$app"}
# Nobody else is in it.
OUTSIDE: dict[str, Outcome] = {"writer": "no", "reader": "no", "admin": "no"}
SKILL = {"name": "taken", "content": "taken"}
SKILL_NOW = {"version_id": "$skill_now"}
SKILL_FILE = SKILL_NOW | {"path": "more.md"}
SKILL_DIFFERENCE = {"from_id": "$skill_version", "to_id": "$skill_now"}
PROMPTS = "/api/v1/prompts"
NOTES = "/api/v1/notes"
NOTE = {"title": "taken", "data": {"content": {"md": "taken"}}}
# Its command stays the victim's: another one would be taken at the second time.
PROMPT = {"command": "$command", "name": "taken", "content": "taken"}
PROMPT_DIFFERENCE = {"from_id": "$prompt_version", "to_id": "$prompt_now"}
# What is sent is one's own; it says nothing of the victim's but that an id is taken.
SENDS = ("files", "mine.md", "# Mine")
TOOL = {"name": "taken", "content": tool_text("taken"), "meta": {}}
# The victim's; and one of another thing's, which is none of it.
VERSION = Case(path={"history_id": "$tool_version"})
NOBODY: dict[str, Outcome] = {"owner": "no", "writer": "no", "admin": "no"}
DIFFERENCE = {"from_id": "$tool_version", "to_id": "$tool_now"}
FUNCTION_VERSION = {"history_id": "$function_version"}
# Functions that are switched on are for everybody.
EVERYBODYS = Case(owner="own", writer="own", reader="own", stranger="own", admin="ok")

DOORS: dict[str, list[Case]] = {
    "POST /api/chat/completed": [
        Case({"chat_id": "$chat", "id": "$answer", "messages": []}, reader="own", stranger="own", admin="own"),
    ],
    # Whoever may write into a chat changes what he has written himself.
    "POST /api/chat/actions/{action_id}": [
        Case(
            {"model": "echo", "chat_id": chat, "id": "$answer", "messages": []},
            path={"action_id": "$action"},
            reader="no",
            writer="no",
            admin="no",
        )
        for chat in ("$chat",)
    ],
    "POST /api/chat/completions": asked(),
    "POST /api/v1/chat/completions": asked(),
    "POST /openai/chat/completions": [TELL],
    "POST /ollama/v1/chat/completions": [TELL, TELL_LOCAL],
    "POST /ollama/v1/chat/completions/{url_idx}": [TELL],
    "POST /api/v1/messages": [SAY_LIMITED],
    "POST /api/message": [SAY_LIMITED],
    "POST /api/v1/messages/count_tokens": [SAY_LIMITED],
    "POST /api/message/count_tokens": [SAY_LIMITED],
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
    "POST /ollama/v1/completions": [Case(ASK | {"model": "$local"})],
    "POST /ollama/v1/completions/{url_idx}": [Case(ASK | {"model": "$local"})],
    "POST /ollama/v1/messages": [Case(ASK | {"model": "$local"})],
    "POST /ollama/v1/messages/{url_idx}": [Case(ASK | {"model": "$local"})],
    "POST /ollama/v1/responses": [Case(ASK | {"model": "$local"})],
    "POST /ollama/v1/responses/{url_idx}": [Case(ASK | {"model": "$local"})],
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
    # Files
    "GET /api/v1/files/": [Case(reader="own", stranger="own", admin="ok")],
    "POST /api/v1/files/": [
        Case(form={}, reader="own", stranger="own", admin="own"),
        Case(form={"metadata": '{"id": "taken"}'}, reader="own", stranger="own", admin="own"),
        Case(form={"metadata": "$in_base"}, reader="no", writer="ok", stranger="no", admin="ok"),
    ],
    "DELETE /api/v1/files/all": [LAST],
    "GET /api/v1/files/count": [Case(reader="own", stranger="own", admin="own")],
    "GET /api/v1/files/user/count": [LIST],
    "GET /api/v1/files/search": [
        Case(query={"filename": "victim*"}, reader="no", stranger="no", admin="ok"),
    ],
    "GET /api/v1/files/user/search": [LIST, Case(query={"filename": "victim*"}, reader="own", stranger="own", admin="own")],
    "GET /api/v1/files/{id}": FILE,
    "DELETE /api/v1/files/{id}": [LAST, Case(path={"id": "$private"}, reader="no", writer="no", turn=1)],
    "GET /api/v1/files/{id}/content": [CASE, Case(path={"id": "$upload"}), *FILE],
    "GET /api/v1/files/{id}/content/html": FILE,
    "GET /api/v1/files/{id}/content/{file_name}": FILE,
    "GET /api/v1/files/{id}/data/content": FILE,
    "POST /api/v1/files/{id}/data/content/update": [
        Case({"content": "taken"}), Case({"content": "taken"}, path={"id": "$private"}, writer="no"),
    ],
    "GET /api/v1/files/{id}/process/status": [*FILE, Case(query={"stream": "true"})],
    "POST /api/v1/files/{id}/rename": [
        Case({"filename": "taken"}), Case({"filename": "taken"}, path={"id": "$private"}, writer="no"),
    ],
    f"POST {RETRIEVAL}/file": [
        Case({"file_id": "$upload"}), Case({"file_id": "$upload", "content": "taken"}),
        Case({"file_id": "$private"}, writer="no"),
        Case({"file_id": "$upload", "collection_name": "$knowledge"}, writer="ok"),
    ],
    # Files that one may not change are among its errors.
    f"POST {RETRIEVAL}/files/batch": [
        Case({"files": [{"id": "$private"}], "collection_name": "$knowledge"},
             reader="own", writer="own", stranger="own", admin="ok"),
    ],
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
    f"DELETE {MODELS}/model/history/{{history_id}}": [
        Case(query={"id": "$model"}, path={"history_id": "$model_version"}, turn=1),
        Case(query={"id": "$model"}, path={"history_id": "$tool_version"}, **NOBODY),
    ],
    f"GET {MODELS}/model/history/{{history_id}}": [EARLIER],
    f"GET {MODELS}/model/profile/image": [
        # Everybody is sent on to the picture that all models have.
        Case(query={"id": "$model"}, owner="own", reader="own", stranger="own", admin="own"),
    ],
    f"POST {MODELS}/model/toggle": [Case(query={"id": "$model"}, turn=1)],
    f"POST {MODELS}/model/update": [Case(MODEL_ROW)],
    f"POST {MODELS}/model/update/version": [
        Case({"version_id": "$model_version"}, query={"id": "$model"}, turn=1),
        Case({"version_id": "$tool_version"}, query={"id": "$model"}, **NOBODY),
    ],
    f"GET {MODELS}/tags": [Case(stranger="own")],
    # Tools
    f"GET {TOOLS}/": [Case(stranger="own")],
    f"GET {TOOLS}/list": [Case(stranger="own")],
    f"GET {TOOLS}/export": [Case(reader="own", stranger="own")],
    f"POST {TOOLS}/create": [
        Case(TOOL | {"id": "$tool"}, **NOBODY),
        Case(TOOL | {"id": "fresh"}, reader="own", writer="own", stranger="own", admin="own", turn=1),
    ],
    f"GET {TOOLS}/id/{{id}}": [CASE],
    f"POST {TOOLS}/id/{{id}}/update": [Case(TOOL | {"id": "$tool"}, turn=1)],
    f"POST {TOOLS}/id/{{id}}/update/version": [
        Case({"version_id": "$tool_version"}, turn=1), Case({"version_id": "$function_version"}, **NOBODY),
    ],
    f"POST {TOOLS}/id/{{id}}/access/update": [Case(GRANTS, turn=1)],
    f"DELETE {TOOLS}/id/{{id}}/delete": [LAST],
    f"GET {TOOLS}/id/{{id}}/specs": [CASE],
    f"GET {TOOLS}/id/{{id}}/valves": [CASE],
    f"GET {TOOLS}/id/{{id}}/valves/spec": [CASE],
    f"POST {TOOLS}/id/{{id}}/valves/update": [Case({"note": "taken"})],
    f"GET {TOOLS}/id/{{id}}/valves/user": [CASE],
    f"GET {TOOLS}/id/{{id}}/valves/user/spec": [CASE],
    f"POST {TOOLS}/id/{{id}}/valves/user/update": [Case({"note": "mine"}, reader="own", writer="own", stranger="no")],
    f"GET {TOOLS}/id/{{id}}/history": [CASE],
    f"GET {TOOLS}/id/{{id}}/history/diff": [
        Case(query=DIFFERENCE), Case(query=DIFFERENCE | {"to_id": "$function_version"}, **NOBODY),
    ],
    f"GET {TOOLS}/id/{{id}}/history/{{history_id}}": [VERSION, Case(path={"history_id": "$function_version"}, **NOBODY)],
    f"DELETE {TOOLS}/id/{{id}}/history/{{history_id}}": [
        Case(path={"history_id": "$tool_version"}, turn=1), Case(path={"history_id": "$tool_now"}, **NOBODY),
    ],
    # Skills: the version in use is for readers, earlier ones are for who may change them
    f"GET {SKILLS}/": [Case(stranger="own")],
    f"GET {SKILLS}/list": [Case(stranger="own")],
    f"GET {SKILLS}/export": [
        Case(stranger="own"), Case(query={"ids": "$skill"}),
        Case(query={"ids": "$skill", "version_id": "$skill_version"}, reader="no", writer="ok"),
    ],
    f"POST {SKILLS}/create": [
        Case(SKILL | {"id": "$skill"}, **NOBODY),
        Case(SKILL | {"id": "fresh"}, reader="own", writer="own", stranger="own", admin="own", turn=1),
    ],
    f"POST {SKILLS}/import/preview": [
        Case(form={}, sends=SENDS, reader="own", writer="own", stranger="own", admin="own"),
    ],
    f"POST {SKILLS}/import": [
        Case(form={"decisions": '[{"action": "replace", "id": "$skill", "name": "taken"}]'}, sends=SENDS,
             reader="own", writer="own", stranger="own", admin="own", turn=1),
    ],
    f"GET {SKILLS}/id/{{id}}": [CASE],
    f"POST {SKILLS}/id/{{id}}/update": [Case(SKILL | {"id": "$skill"}, turn=1)],
    f"POST {SKILLS}/id/{{id}}/update/version": [
        Case({"version_id": "$skill_version", "expected_version_id": "$skill_now"}, turn=1),
        Case({"version_id": "$tool_version", "expected_version_id": "$skill_now"}, **NOBODY),
    ],
    f"POST {SKILLS}/id/{{id}}/access/update": [Case(GRANTS, turn=1)],
    f"POST {SKILLS}/id/{{id}}/toggle": [LAST],
    f"POST {SKILLS}/id/{{id}}/clone": [
        Case({"id": "copy", "name": "copy"}, turn=1),
        Case({"id": "copied", "name": "copy", "version_id": "$skill_version"}, reader="no", writer="ok", turn=1),
    ],
    f"DELETE {SKILLS}/id/{{id}}/delete": [LAST],
    f"GET {SKILLS}/id/{{id}}/files": [CASE, Case(query={"version_id": "$skill_version"}, reader="no", writer="ok")],
    f"GET {SKILLS}/id/{{id}}/files/content": [
        Case(query=SKILL_FILE), Case(query=SKILL_FILE | {"version_id": "$skill_version"}, reader="no", writer="ok"),
    ],
    f"GET {SKILLS}/id/{{id}}/history": [CASE],
    f"GET {SKILLS}/id/{{id}}/history/diff": [
        Case(query=SKILL_DIFFERENCE), Case(query=SKILL_DIFFERENCE | {"to_id": "$tool_version"}, **NOBODY),
    ],
    f"GET {SKILLS}/id/{{id}}/history/diff/file": [Case(query=SKILL_DIFFERENCE | {"path": "SKILL.md"})],
    f"GET {SKILLS}/id/{{id}}/history/{{history_id}}": [
        Case(path={"history_id": "$skill_now"}), Case(path={"history_id": "$skill_version"}, reader="no", writer="ok"),
        Case(path={"history_id": "$tool_version"}, reader="no", **NOBODY),
    ],
    f"DELETE {SKILLS}/id/{{id}}/history/{{history_id}}": [
        Case(path={"history_id": "$skill_version"}, turn=1), Case(path={"history_id": "$skill_now"}, **NOBODY),
    ],
    # Notes: versions are for who may change them; chats beside them are each person's own
    f"GET {NOTES}/": [Case(stranger="own", admin="own")],
    f"GET {NOTES}/pinned": [Case(reader="own", writer="own", stranger="own", admin="own")],
    f"GET {NOTES}/search": [Case(stranger="own", admin="own"), Case(query={"query": "victim"}, stranger="own", admin="own")],
    f"POST {NOTES}/create": [Case(NOTE, reader="own", writer="own", stranger="own", admin="own", turn=1)],
    f"GET {NOTES}/{{id}}": [CASE],
    f"POST {NOTES}/{{id}}/update": [Case(NOTE, turn=1), Case({"data": {"files": []}}, turn=1)],
    f"POST {NOTES}/{{id}}/access/update": [Case(GRANTS, turn=1)],
    f"POST {NOTES}/{{id}}/pin": [Case(turn=1)],
    f"GET {NOTES}/{{id}}/chat": [Case(turn=1)],
    f"POST {NOTES}/{{id}}/chat": [Case(turn=1)],
    f"GET {NOTES}/{{id}}/chats": [Case(reader="own", writer="own")],
    f"GET {NOTES}/{{id}}/history": [Case(reader="no", writer="ok")],
    f"GET {NOTES}/{{id}}/history/{{version_id}}": [
        Case(path={"version_id": "$note_version"}, reader="no", writer="ok"),
        Case(path={"version_id": "$tool_version"}, **NOBODY),
    ],
    f"POST {NOTES}/{{id}}/history/{{version_id}}/restore": [
        Case(path={"version_id": "$note_version"}, turn=1), Case(path={"version_id": "$tool_version"}, **NOBODY),
    ],
    f"DELETE {NOTES}/{{id}}/delete": [LAST],
    # Prompts: the version in use is for readers, earlier ones are for who may change them
    f"GET {PROMPTS}/": [Case(stranger="own")],
    f"GET {PROMPTS}/list": [Case(stranger="own"), Case(query={"query": "$command"}, stranger="own")],
    f"GET {PROMPTS}/tags": [Case(stranger="own")],
    f"POST {PROMPTS}/create": [
        Case(PROMPT, **NOBODY),
        Case(PROMPT | {"command": "fresh"}, reader="own", writer="own", stranger="own", admin="own", turn=1),
    ],
    f"GET {PROMPTS}/id/{{id}}": [CASE],
    f"POST {PROMPTS}/id/{{id}}/update": [Case(PROMPT, turn=1), Case(PROMPT | {"is_production": False}, turn=1)],
    f"POST {PROMPTS}/id/{{id}}/update/meta": [Case({"command": "$command", "name": "taken"}, turn=1)],
    f"POST {PROMPTS}/id/{{id}}/update/version": [
        Case({"version_id": "$prompt_version"}, turn=1), Case({"version_id": "$tool_version"}, **NOBODY),
    ],
    f"POST {PROMPTS}/id/{{id}}/access/update": [Case(GRANTS, turn=1)],
    f"POST {PROMPTS}/id/{{id}}/toggle": [LAST],
    f"DELETE {PROMPTS}/id/{{id}}/delete": [LAST],
    f"GET {PROMPTS}/id/{{id}}/history": [CASE],
    f"GET {PROMPTS}/id/{{id}}/history/diff": [
        Case(query=PROMPT_DIFFERENCE), Case(query=PROMPT_DIFFERENCE | {"to_id": "$tool_version"}, **NOBODY),
    ],
    f"GET {PROMPTS}/id/{{id}}/history/{{history_id}}": [
        Case(path={"history_id": "$prompt_now"}), Case(path={"history_id": "$prompt_version"}, reader="no", writer="ok"),
        Case(path={"history_id": "$tool_version"}, reader="no", **NOBODY),
    ],
    f"DELETE {PROMPTS}/id/{{id}}/history/{{history_id}}": [
        Case(path={"history_id": "$prompt_version"}, turn=1), Case(path={"history_id": "$prompt_now"}, **NOBODY),
    ],
    # Channels: who may write in one writes messages there, and changes neither the channel nor what others wrote
    f"GET {CHANNELS}/": [Case(stranger="own")],
    f"GET {CHANNELS}/list": [Case(stranger="own")],
    f"GET {CHANNELS}/users/{{user_id}}": [LIST],
    f"POST {CHANNELS}/create": [Case(PRIVATE_CHANNEL, reader="own", writer="own", stranger="own", admin="own")],
    f"GET {CHANNELS}/{{id}}": [CASE, Case(path=A_GROUP, **OUTSIDE)],
    f"GET {CHANNELS}/{{id}}/members": [CASE, Case(path=A_GROUP, **OUTSIDE)],
    f"POST {CHANNELS}/{{id}}/members/active": [Case({"is_active": True})],
    f"POST {CHANNELS}/{{id}}/members/mute": [Case({"is_channel_muted": False})],
    f"GET {CHANNELS}/{{id}}/messages": [CASE, Case(path=A_GROUP, **OUTSIDE)],
    f"GET {CHANNELS}/{{id}}/messages/pinned": [CASE],
    f"GET {CHANNELS}/{{id}}/messages/{{message_id}}": [
        Case(path=A_MESSAGE), Case(path=A_MESSAGE | A_GROUP, reader="no", **NOBODY),
    ],
    f"GET {CHANNELS}/{{id}}/messages/{{message_id}}/data": [Case(path=A_MESSAGE)],
    f"GET {CHANNELS}/{{id}}/messages/{{message_id}}/thread": [Case(path=A_MESSAGE)],
    f"POST {CHANNELS}/{{id}}/messages/post": [
        Case({"content": "hi"}, writer="ok"), Case({"content": "hi"}, path=A_GROUP, **OUTSIDE),
        Case({"content": "hi", "parent_id": "$channel_message"}, writer="ok"),
        Case({"content": "hi", "reply_to_id": "$channel_message"}, path=A_GROUP, reader="no", **NOBODY),
    ],
    f"POST {CHANNELS}/{{id}}/messages/{{message_id}}/pin": [Case({"is_pinned": True}, path=A_MESSAGE, writer="ok")],
    f"POST {CHANNELS}/{{id}}/messages/{{message_id}}/reactions/add": [Case({"name": "x"}, path=A_MESSAGE, writer="ok")],
    f"POST {CHANNELS}/{{id}}/messages/{{message_id}}/reactions/remove": [Case({"name": "x"}, path=A_MESSAGE, writer="ok")],
    f"POST {CHANNELS}/{{id}}/messages/{{message_id}}/update": [Case({"content": "new"}, path=A_MESSAGE)],
    f"DELETE {CHANNELS}/{{id}}/messages/{{message_id}}/delete": [Case(path=A_MESSAGE, turn=1)],
    f"POST {CHANNELS}/{{id}}/update": [Case({"name": "taken"}), Case({"name": "taken"}, path=A_GROUP, **OUTSIDE)],
    f"POST {CHANNELS}/{{id}}/access/update": [Case(GRANTS, turn=1)],
    f"POST {CHANNELS}/{{id}}/update/members/add": [Case({"user_ids": ["$reader"]}, path=A_GROUP, turn=1, **OUTSIDE)],
    f"POST {CHANNELS}/{{id}}/update/members/remove": [Case({"user_ids": ["$reader"]}, path=A_GROUP, turn=1, **OUTSIDE)],
    f"GET {CHANNELS}/{{id}}/webhooks": [Case(reader="no", writer="no")],
    f"POST {CHANNELS}/{{id}}/webhooks/create": [Case({"name": "taken"})],
    f"POST {CHANNELS}/{{id}}/webhooks/{{webhook_id}}/update": [
        Case({"name": "taken"}, path=A_WEBHOOK),
        Case({"name": "taken"}, path=A_GROUP | A_WEBHOOK, reader="no", **NOBODY),
    ],
    f"DELETE {CHANNELS}/{{id}}/webhooks/{{webhook_id}}/delete": [Case(path=A_WEBHOOK, turn=1)],
    f"GET {CHANNELS}/{{channel_id}}/apps": [CASE, Case(path={"channel_id": "$channel_group"}, **OUTSIDE)],
    f"POST {CHANNELS}/{{channel_id}}/apps": [
        Case(AN_APP), Case(AN_APP, path={"channel_id": "$channel_group"}, **OUTSIDE),
    ],
    f"DELETE {CHANNELS}/{{channel_id}}/apps/{{app_id}}": [Case(turn=1)],
    f"DELETE {CHANNELS}/{{id}}/delete": [LAST],
    # Ratings: nobody else sees them but admins, who remove them, too
    f"POST {RATINGS}/feedback": [
        Case(RATING | {"meta": {"chat_id": "$chat"}}, reader="own", writer="own", admin="ok"),
        Case(RATING | {"meta": {"chat_id": "$hidden"}}, reader="no", writer="no", admin="ok"),
    ],
    f"GET {RATINGS}/feedback/{{id}}": [Case(reader="no", writer="no")],
    f"POST {RATINGS}/feedback/{{id}}": [Case(RATING, reader="no", writer="no")],
    f"DELETE {RATINGS}/feedback/{{id}}": [Case(reader="no", writer="no", admin="ok", turn=1)],
    f"GET {RATINGS}/feedbacks/user": [LIST],
    f"DELETE {RATINGS}/feedbacks": [ALL_OWN],
    # Notifications: their owner's alone
    f"GET {NOTIFICATIONS}": [LIST],
    f"POST {NOTIFICATIONS}": [Case({"type": "page"}, reader="own", writer="own", stranger="own", admin="own")],
    f"PUT {NOTIFICATIONS}/{{target_id}}": [Case({"enabled": False}, writer="no")],
    f"PUT {NOTIFICATIONS}/{{target_id}}/default": [OWNERS],
    f"POST {NOTIFICATIONS}/{{target_id}}/test": [OWNERS],
    f"DELETE {NOTIFICATIONS}/{{target_id}}": [OWNERS_LAST],
    # By which other sites people sign in: their own alone
    "GET /api/v1/auths/identities": [LIST],
    "DELETE /api/v1/auths/identities/{identity_id}": [OWNERS_LAST],
    # Keys for programs, and where people are signed in: the same
    "GET /api/v1/auths/keys": [LIST],
    "POST /api/v1/auths/keys/{key_id}/budget": [Case({"budget_id": None}, writer="no")],
    "POST /api/v1/auths/keys/{key_id}/rotate": [Case({}, writer="no")],
    "DELETE /api/v1/auths/keys/{key_id}": [OWNERS_LAST],
    "GET /api/v1/auths/sessions": [LIST],
    "DELETE /api/v1/auths/sessions/{session_id}": [OWNERS_LAST],
    # Memories: their owner's alone
    f"GET {MEMORIES}/": [LIST],
    f"POST {MEMORIES}/add": [
        Case({"content": "mine"}, reader="own", writer="own", stranger="own", admin="own"),
    ],
    f"POST {MEMORIES}/update": [
        Case({"operations": [{"action": "replace", "id": "$memory", "content": "taken"}]}, turn=1),
        Case({"operations": [{"action": "move", "id": "$memory", "path": "taken"}]}, turn=1),
        Case({"operations": [{"action": "add", "content": "mine"}, {"action": "remove", "id": "$memory"}]}, turn=1),
    ],
    f"POST {MEMORIES}/query": [Case({"content": "tea", "k": 20}, reader="own", stranger="own", admin="own")],
    f"POST {MEMORIES}/search": [
        Case({}, reader="own", stranger="own", admin="own"),
        Case({"memory_id": "$memory"}, reader="own", stranger="own", admin="own"),
        Case({"query": "tea"}, reader="own", stranger="own", admin="own"),
    ],
    f"POST {MEMORIES}/paths": [Case({}, reader="own", stranger="own", admin="own")],
    f"POST {MEMORIES}/path": [Case({"path": "drinks"}, reader="own", stranger="own", admin="own")],
    f"POST {MEMORIES}/reset": [ALL_OWN],
    f"DELETE {MEMORIES}/delete/user": [ALL_OWN],
    f"POST {MEMORIES}/{{memory_id}}/update": [Case({"content": "taken"}, turn=1)],
    f"DELETE {MEMORIES}/{{memory_id}}": [ALL_OWN],
    # Calendars, and what stands in them
    f"GET {CALENDARS}/": [Case(stranger="own", admin="own")],
    f"POST {CALENDARS}/create": [Case({"name": "mine"}, reader="own", writer="own", stranger="own", admin="own")],
    f"GET {CALENDARS}/events": [
        Case(query=NOVEMBER, stranger="own", admin="own"),
        Case(query=NOVEMBER | {"calendar_ids": "$calendar"}, stranger="own", admin="own"),
    ],
    f"POST {CALENDARS}/events/create": [Case(EVENT, writer="ok", reader="no", stranger="no", admin="no")],
    f"GET {CALENDARS}/events/search": [
        Case(stranger="own", admin="own"), Case(query={"query": "event"}, stranger="own", admin="own"),
    ],
    f"GET {CALENDARS}/events/{{event_id}}": [CASE],
    f"POST {CALENDARS}/events/{{event_id}}/update": [
        Case({"title": "taken"}, turn=1), Case({"attendees": [{"user_id": "$stranger"}]}, turn=1),
    ],
    f"DELETE {CALENDARS}/events/{{event_id}}/delete": [LAST],
    f"GET {CALENDARS}/events/{{event_id}}/export": [CASE],
    # Those who are invited may say whether they come.
    f"POST {CALENDARS}/events/{{event_id}}/rsvp": [Case({"status": "accepted"}, writer="no")],
    f"GET {CALENDARS}/{{calendar_id}}": [CASE],
    f"GET {CALENDARS}/{{calendar_id}}/export": [CASE],
    f"POST {CALENDARS}/{{calendar_id}}/import": [Case(form={}, sends=CALENDAR_FILE, turn=1)],
    f"POST {CALENDARS}/{{calendar_id}}/update": [Case({"name": "taken"}, turn=1)],
    f"POST {CALENDARS}/{{calendar_id}}/access/update": [Case(GRANTS, turn=1)],
    # One's own default.
    f"POST {CALENDARS}/{{calendar_id}}/default": [Case(writer="no", reader="no")],
    f"DELETE {CALENDARS}/{{calendar_id}}/delete": [LAST],
    # Automations: their owner's alone
    f"GET {AUTOMATIONS}/list": [
        Case(reader="own", writer="own", stranger="own", admin="own"),
        Case(query={"query": "automation"}, reader="own", writer="own", stranger="own", admin="own"),
    ],
    f"POST {AUTOMATIONS}/create": [
        Case(AUTOMATION, reader="own", writer="own", stranger="own", admin="own"),
        Case(AUTOMATION | {"folder_id": "$folder"}, reader="no", writer="ok", stranger="no", admin="no"),
    ],
    f"GET {AUTOMATIONS}/{{id}}": [Case(reader="no", writer="no")],
    f"POST {AUTOMATIONS}/{{id}}/update": [Case(AUTOMATION, turn=1)],
    f"POST {AUTOMATIONS}/{{id}}/toggle": [LAST],
    f"POST {AUTOMATIONS}/{{id}}/run": [LAST],
    f"GET {AUTOMATIONS}/{{id}}/runs": [Case(reader="no", writer="no")],
    f"DELETE {AUTOMATIONS}/{{id}}/delete": [LAST],
    # Functions: the admin's alone, but for what everybody sets of them
    f"GET {FUNCTIONS}/": [EVERYBODYS],
    f"GET {FUNCTIONS}/list": [CASE],
    f"GET {FUNCTIONS}/export": [CASE, Case(query={"include_valves": "true"})],
    f"POST {FUNCTIONS}/create": [Case(TOOL | {"id": "$function"}, admin="no")],
    f"POST {FUNCTIONS}/sync": [Case({"functions": []}, turn=1)],
    f"GET {FUNCTIONS}/id/{{id}}": [CASE],
    f"POST {FUNCTIONS}/id/{{id}}/update": [
        Case(TOOL | {"id": "$function"}, admin="no"),
        Case(TOOL | {"id": "$function", "content": "class Pipe: ..."}, turn=1),
    ],
    f"POST {FUNCTIONS}/id/{{id}}/update/version": [Case({"version_id": "$function_version"}, turn=1)],
    f"POST {FUNCTIONS}/id/{{id}}/toggle": [LAST],
    f"POST {FUNCTIONS}/id/{{id}}/toggle/global": [LAST],
    f"DELETE {FUNCTIONS}/id/{{id}}/delete": [LAST],
    f"GET {FUNCTIONS}/id/{{id}}/valves": [CASE],
    f"GET {FUNCTIONS}/id/{{id}}/valves/spec": [CASE],
    f"POST {FUNCTIONS}/id/{{id}}/valves/update": [Case({"note": "set"})],
    f"GET {FUNCTIONS}/id/{{id}}/valves/user": [EVERYBODYS],
    f"GET {FUNCTIONS}/id/{{id}}/valves/user/spec": [EVERYBODYS],
    f"POST {FUNCTIONS}/id/{{id}}/valves/user/update": [
        Case({"note": "mine"}, owner="own", writer="own", reader="own", stranger="own", admin="ok"),
    ],
    f"GET {FUNCTIONS}/id/{{id}}/history": [CASE],
    f"GET {FUNCTIONS}/id/{{id}}/history/diff": [
        Case(query={"from_id": "$function_version", "to_id": "$function_version"}),
    ],
    f"GET {FUNCTIONS}/id/{{id}}/history/{{history_id}}": [Case(path=FUNCTION_VERSION)],
    f"DELETE {FUNCTIONS}/id/{{id}}/history/{{history_id}}": [Case(path=FUNCTION_VERSION, turn=1)],
    # Knowledge
    f"GET {BASES}/": [Case(stranger="own")],
    f"GET {BASES}/search": [Case(query={"query": text}, stranger="own") for text in ("victim", "")],
    "GET /api/v1/images/made": [LIST],
    "POST /api/v1/retrieval/query/doc": [
        Case({"collection_name": name, "query": "victim", "trace": True}, stranger="own")
        for name in ("$knowledge", "file-$kept")
    ],
    "POST /api/v1/retrieval/query/collection": [
        Case({"collection_names": ["$knowledge", "file-$kept"], "query": "victim", "trace": True}, stranger="own")
    ],
    "POST /api/v1/retrieval/delete": [
        Case({"collection_name": "$knowledge", **KEPT}, turn=1),
        Case({"collection_name": "file-$loose", **LOOSE}, reader="no", writer="no", turn=1),
    ],
    f"POST {BASES}/create": [Case(BASE, reader="own", writer="own", stranger="own", admin="own")],
    f"GET {BASES}/{{id}}": [CASE],
    f"POST {BASES}/{{id}}/update": [Case(BASE, turn=1)],
    f"POST {BASES}/{{id}}/access/update": [Case(GRANTS, turn=1)],
    f"DELETE {BASES}/{{id}}/delete": [LAST],
    # Who may change a base puts own files there, and those of bases that they may change.
    f"POST {BASES}/{{id}}/file/add": [Case(KEPT), Case(LOOSE, writer="no", admin="no")],
    f"POST {BASES}/{{id}}/files/batch/add": [Case([KEPT]), Case([KEPT, LOOSE], writer="no", admin="no")],
    f"POST {BASES}/{{id}}/file/remove": [Case(KEPT, turn=1)],
    f"POST {BASES}/{{id}}/file/update": [Case(KEPT), Case(PRIVATE, owner="no", writer="no", admin="no")],
    f"POST {BASES}/{{id}}/file/move": [
        Case(KEPT | {"directory_id": "$directory"}, turn=1), Case(PRIVATE, owner="no", writer="no", admin="no"),
    ],
    f"GET {BASES}/search/files": [Case(query={"query": text}, stranger="own") for text in ("victim", "")],
    f"GET {BASES}/{{id}}/files": [CASE, Case(query={"directory_id": "$directory"})],
    f"GET {BASES}/{{id}}/files/pending": [CASE],
    f"GET {BASES}/{{id}}/export": [CASE],
    f"POST {BASES}/{{id}}/dirs/create": [Case({"name": "taken", "parent_id": "$directory"}, turn=1)],
    f"POST {BASES}/{{id}}/dirs/{{dir_id}}/update": [Case({"name": "taken"}, turn=1)],
    f"DELETE {BASES}/{{id}}/dirs/{{dir_id}}/delete": [LAST, Case(query={"move_files": "false"}, turn=1)],
    f"POST {BASES}/{{id}}/reset": [LAST],
    f"POST {BASES}/{{id}}/sync/diff": [Case({"manifest": []})],
    f"POST {BASES}/{{id}}/sync/cleanup": [Case({"file_ids": ["$kept"], "dir_ids": ["$directory"]}, turn=1)],
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
    f"POST {GROUPS}/id/{{group_id}}/sharing": [Case({"share_with": None})],
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
    f"POST {USERS}/{{user_id}}/mfa/reset": [Case(turn=3)],
    f"DELETE {USERS}/{{user_id}}": [Case(turn=4)],
}  # fmt: skip

# Doors with an id in their address that says of nobody's thing anything: each with the reason.
SCIM = "/api/v1/scim/v2"
WITHOUT_RESOURCE: dict[str, str] = {
    **dict.fromkeys(
        (
            *(f"{method} /api/v1/auths/budgets/{{budget_id}}" for method in ("POST", "DELETE")),
            "POST /api/v1/auths/budgets/accounts/{user_id}",
        ),
        "their owner's alone, or administrators': tests/open_webui/accounts/test_budgets.py asks as somebody else, too",
    ),
    **dict.fromkeys(
        (
            *(f"{method} /api/v1/role-sets/{{role_set_id}}" for method in ("POST", "DELETE")),
            *(f"POST /api/v1/delegated/people/{{user_id}}/{act}" for act in ("hold", "activate", "factors/reset")),
            *(f"{method} /api/v1/delegated/groups/{{group_id}}/people/{{user_id}}" for method in ("POST", "DELETE")),
        ),
        "administrators, and who holds a role set for these people: tests/open_webui/accounts/test_role_sets.py",
    ),
    **dict.fromkeys(
        (
            *(f"{method} /api/v1/auths/service-accounts/{{user_id}}/keys" for method in ("GET", "POST")),
            f"GET {USERS}/{{user_id}}/sessions",
            f"DELETE {USERS}/{{user_id}}/sessions/{{session_id}}",
        ),
        "administrators alone: tests/security/test_keys_with_limits.py, tests/security/test_own_sessions.py",
    ),
    **dict.fromkeys(
        (
            *(f"{method} {BASES}/external/connections/{{id}}" for method in ("GET", "PATCH", "DELETE")),
            *(f"POST {BASES}/external/connections/{{id}}/{test}" for test in ("test", "retrieve-test")),
            f"PATCH {BASES}/external/source/{{id}}",
        ),
        "services that knowledge is found in belong to the server, and to its admins",
    ),
    **dict.fromkeys(
        (f"{method} /api/v1/auths/passkeys/{{passkey_id}}" for method in ("POST", "DELETE")),
        "their owner's alone: tests/open_webui/factors/test_passkeys.py asks as somebody else, too",
    ),
    f"GET {CHANNELS}/webhooks/{{webhook_id}}/profile/image": "pictures are for everybody who was let in",
    f"POST {CHANNELS}/webhooks/{{webhook_id}}/{{token}}": "the token is the right; tests/open_webui/channels/test_webhooks.py",
    **dict.fromkeys(
        (
            *(f"{method} /api/v1/apps/{{app_id}}" for method in ("GET", "PATCH", "DELETE")),
            "POST /api/v1/apps/{app_id}/connect",
        ),
        "apps belong to the server, and to its admins",
    ),
    "POST /api/v1/apps/{app_id}/interactions": "its app has to answer; tests/open_webui/apps has who may press, and who may not",
    "GET /api/v1/users/{user_id}/active": "presence is for everybody who was let in",
    "GET /api/v1/users/{user_id}/profile/image": "pictures are for everybody who was let in",
    "GET /api/v1/users/{user_id}/oauth/sessions": "nobody has signed in by another site here",
    **dict.fromkeys(
        (f"{method} /api/events/webhooks/{{webhook_id}}" for method in ("PUT", "DELETE")),
        "webhooks of events belong to the server, and to its admins",
    ),
    "POST /api/tasks/stop/{task_id}": "admins stop any answer",
    **dict.fromkeys(
        (
            f"GET {RATINGS}/leaderboard/{{model_id:path}}/history",
            *(f"GET /api/v1/analytics/models/{{model_id:path}}/{part}" for part in ("chats", "overview")),
        ),
        "figures of a model are for admins",
    ),
    **dict.fromkeys(
        (
            f"{method} {SCIM}/{path}"
            for method in ("GET", "PUT", "PATCH", "DELETE")
            for path in ("Users/{user_id}", "Groups/{group_id}")
        ),
        "the directory's token is the right; tests/open_webui/scim has all that don't have it",
    ),
    **dict.fromkeys(
        (f"GET {SCIM}/{kind}/{{name}}" for kind in ("ResourceTypes", "Schemas")),
        "what the server can do is nobody's",
    ),
    **dict.fromkeys(
        (f"GET /oauth/clients/{{client_id}}/{way}" for way in ("authorize", "callback")),
        "tool servers belong to the server; tests/open_webui/tools/test_sign_in.py has two people at one",
    ),
    **dict.fromkeys(
        (
            *(
                f"{method} /api/v1/terminals/{{server_id}}/{chat}{{path:path}}"
                for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
                for chat in ("", "chats/{chat_id}/")
            ),
            "socket /api/v1/terminals/{server_id}/api/terminals/{session_id}",
        ),
        "terminal servers belong to the server; tests/open_webui/terminals has those who may use one, and those who may not",
    ),
    **dict.fromkeys(
        (
            *(f"GET /api/v1/pipelines/{{pipeline_id}}/valves{spec}" for spec in ("", "/spec")),
            "POST /api/v1/pipelines/{pipeline_id}/valves/update",
        ),
        "pipelines belong to other servers, and are set by admins",
    ),
}

UNCHANGED = {"error": "You may not change this note."}
# Of sockets: the event's body, and what it answers to the owner, to the reader and to strangers (admins read).
EVENTS: dict[str, list[tuple[dict[str, Any], tuple[Any, Any, Any, Any]]]] = {
    "events:chat": [
        ({"chat_id": "$chat", "data": {"type": "join"}}, (True, True, False, True)),
        ({"chat_id": "$chat", "data": {"type": "typing", "data": {"typing": True}}}, (True, False, False, False)),
        ({"chat_id": "$chat", "data": {"type": "last_read_at"}}, (None, None, None, None)),
        ({"chat_id": "$chat", "data": {"type": "leave"}}, (True, True, True, True)),
        ({"chat_id": "$hidden", "data": {"type": "join"}}, (True, False, False, True)),
    ],
    # They answer nothing; tests/open_webui/channels/test_socket.py has who is told.
    "join-channels": [({"auth": {"token": "none"}}, (None, None, None, None))],
    "events:channel": [
        ({"channel_id": "$channel", "data": {"type": "typing", "data": {"typing": True}}}, (None, None, None, None)),
        ({"channel_id": "$channel", "data": {"type": "last_read_at"}}, (None, None, None, None)),
    ],
    # Of notes it counts what is said to the socket; tests/open_webui/notes has the documents.
    "join-note": [({"note_id": "$note"}, (None, None, None, None))],
    "ydoc:document:join": [({"document_id": "note:$note"}, (None, None, None, None))],
    "ydoc:document:state": [({"document_id": "note:$note"}, (None, None, None, None))],
    "ydoc:document:update": [
        ({"document_id": "note:$note", "update": [0, 0]}, (True, UNCHANGED, UNCHANGED, UNCHANGED)),
    ],
    "ydoc:awareness:update": [({"document_id": "note:$note", "update": [0]}, (None, None, None, None))],
    "ydoc:document:leave": [({"document_id": "note:$note"}, (None, None, None, None))],
}
