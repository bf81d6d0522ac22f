"""Which events a request is, by its route: what event functions are told of."""

import contextlib
from typing import Any, Final

import msgspec

# Method, path, the event, and what it is about. `/` between two names: the second one where the reply's switch is off.
_TABLE: Final = """
POST   /api/v1/auths/signup                  auth.signup                     user
POST   /api/v1/auths/signin                  auth.login                      user
POST   /api/v1/auths/mfa/verify              auth.login                      user
POST   /api/v1/auths/mfa/enroll/confirm      auth.login                      user
POST   /api/v1/auths/mfa/passkey/enroll      auth.login                      user
POST   /api/v1/auths/mfa/passkey/verify      auth.login                      user
POST   /api/v1/auths/passkeys/signin/verify  auth.login                      user
POST   /api/v1/auths/signout                 auth.logout                     user
POST   /api/v1/auths/update/password         auth.password_changed           user
POST   /api/v1/auths/api_key                 auth.api_key.created            user
DELETE /api/v1/auths/api_key                 auth.api_key.deleted            user
POST   /api/v1/auths/add                     user.created                    user
POST   /api/v1/users/{user_id}/update        user.updated                    user
DELETE /api/v1/users/{user_id}               user.deleted                    user
POST   /api/v1/users/default/permissions     user.permissions_updated        config
POST   /api/v1/groups/create                 group.created                   group
POST   /api/v1/groups/id/{group_id}/update   group.updated                   group
POST   /api/v1/groups/id/{group_id}/users/add group.member_added             group
POST   /api/v1/groups/id/{group_id}/users/remove group.member_removed        group
DELETE /api/v1/groups/id/{group_id}/delete   group.deleted                   group
POST   /api/v1/chats/new                     chat.created                    chat
POST   /api/v1/chats/{id}                    chat.updated                    chat
DELETE /api/v1/chats/{id}                    chat.deleted                    chat
POST   /api/v1/chats/{id}/share              chat.shared                     chat
DELETE /api/v1/chats/{id}/share              chat.unshared                   chat
POST   /api/v1/chats/{id}/archive            chat.archived/chat.unarchived   chat
POST   /api/v1/chats/{id}/clone              chat.created                    chat
DELETE /api/v1/chats/{id}/messages/{message_id} message.deleted              chat
POST   /api/v1/models/create                 model.created                   model
POST   /api/v1/models/model/update           model.updated                   model
POST   /api/v1/models/model/access/update    model.access_updated            model
POST   /api/v1/models/model/toggle           model.enabled/model.disabled    model
POST   /api/v1/models/model/delete           model.deleted                   model
POST   /api/v1/knowledge/create              knowledge.created               knowledge
POST   /api/v1/knowledge/{id}/update         knowledge.updated               knowledge
POST   /api/v1/knowledge/{id}/file/add       knowledge.file.added            knowledge
POST   /api/v1/knowledge/{id}/file/remove    knowledge.file.removed          knowledge
POST   /api/v1/knowledge/reindex             knowledge.reindexed             knowledge
DELETE /api/v1/knowledge/{id}/delete         knowledge.deleted               knowledge
POST   /api/v1/files/                        file.uploaded                   file
DELETE /api/v1/files/{id}                    file.deleted                    file
POST   /api/v1/folders/                      folder.created                  folder
POST   /api/v1/folders/{id}/update           folder.updated                  folder
DELETE /api/v1/folders/{id}                  folder.deleted                  folder
POST   /api/v1/tools/create                  tool.created                    tool
POST   /api/v1/tools/id/{id}/update          tool.updated                    tool
POST   /api/v1/tools/id/{id}/valves/update   tool.valves_updated             tool
DELETE /api/v1/tools/id/{id}/delete          tool.deleted                    tool
POST   /api/v1/skills/create                 skill.created                   skill
POST   /api/v1/skills/id/{id}/update         skill.updated                   skill
POST   /api/v1/skills/id/{id}/toggle         skill.enabled/skill.disabled    skill
POST   /api/v1/skills/id/{id}/clone          skill.created                   skill
DELETE /api/v1/skills/id/{id}/delete         skill.deleted                   skill
POST   /api/v1/prompts/create                prompt.created                  prompt
POST   /api/v1/prompts/id/{id}/update        prompt.updated                  prompt
POST   /api/v1/prompts/id/{id}/toggle        prompt.enabled/prompt.disabled  prompt
DELETE /api/v1/prompts/id/{id}/delete        prompt.deleted                  prompt
POST   /api/v1/automations/create            automation.created              automation
POST   /api/v1/automations/{id}/update       automation.updated              automation
POST   /api/v1/automations/{id}/toggle       automation.enabled/automation.disabled automation
DELETE /api/v1/automations/{id}/delete       automation.deleted              automation
POST   /api/v1/calendars/create              calendar.created                calendar
POST   /api/v1/calendars/{calendar_id}/update calendar.updated               calendar
DELETE /api/v1/calendars/{calendar_id}/delete calendar.deleted               calendar
POST   /api/v1/calendars/events/create       calendar.event.created          calendar_event
POST   /api/v1/calendars/events/{event_id}/update calendar.event.updated     calendar_event
DELETE /api/v1/calendars/events/{event_id}/delete calendar.event.deleted     calendar_event
POST   /api/v1/channels/create               channel.created                 channel
POST   /api/v1/channels/{id}/update          channel.updated                 channel
DELETE /api/v1/channels/{id}/delete          channel.deleted                 channel
POST   /api/v1/memories/add                  memory.created                  memory
POST   /api/v1/memories/{memory_id}/update   memory.updated                  memory
DELETE /api/v1/memories/{memory_id}          memory.deleted                  memory
POST   /api/v1/notes/create                  note.created                    note
POST   /api/v1/notes/{id}/update             note.updated                    note
DELETE /api/v1/notes/{id}/delete             note.deleted                    note
POST   /api/v1/functions/create              function.created                function
POST   /api/v1/functions/id/{id}/update      function.updated                function
POST   /api/v1/functions/id/{id}/toggle      function.enabled/function.disabled function
POST   /api/v1/functions/id/{id}/valves/update function.valves_updated       function
DELETE /api/v1/functions/id/{id}/delete      function.deleted                function
POST   /api/v1/configs/import                config.imported                 config
POST   /api/v1/configs/models                config.models.updated           config
POST   /api/v1/configs/connections           config.connections.updated      config
POST   /api/v1/auths/admin/config            config.updated                  config
"""
# What of a reply is told: nothing that is secret, and nothing that people wrote.
_TOLD: Final = ("name", "title", "type", "filename", "email", "role", "is_active", "is_global", "archived")
_SWITCHES: Final = ("is_active", "archived")
# A longer reply is not looked into.
_LONGEST: Final = 2_000_000


class Happened(msgspec.Struct, frozen=True):
    """An event. subject: what it is about, by type and id. data: what else is told."""

    name: str
    subject: dict[str, Any]
    data: dict[str, Any] = {}


class Row(msgspec.Struct, frozen=True):
    """What a route's requests are."""

    names: tuple[str, ...]
    about: str


def _rows() -> dict[tuple[str, str], Row]:
    rows = {}
    for line in _TABLE.strip().splitlines():
        method, path, names, about = line.split()
        rows[method, path] = Row(tuple(names.split("/")), about)
    return rows


BY_ROUTE: Final = _rows()


def happened(row: Row, parameters: dict[str, Any], reply: bytes) -> Happened | None:
    """The event of a request that was answered; None where nothing has happened yet. parameters: of its path."""
    value = None
    if len(reply) <= _LONGEST:
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            value = msgspec.json.decode(reply)
    value = value if isinstance(value, dict) else {}
    if row.names[0] == "auth.login" and "challenge_token" in value:
        # A second factor comes first.
        return None
    subject = next(iter(parameters.values()), None)
    if subject is None or row.names[0].endswith(".created"):
        # What was made of another thing is the new one.
        subject = value.get("id", subject)
    is_off = len(row.names) > 1 and any(value.get(switch) is False for switch in _SWITCHES)
    data = {name: value[name] for name in _TOLD if isinstance(value.get(name), str | bool | int)}
    return Happened(row.names[-1 if is_off else 0], {"type": row.about, "id": subject}, data)
