"""Which columns the tables of Open WebUI 0.12.4 have: what a source has besides, or lacks, is said and stops nothing."""

from typing import Final

from open_webui.moving_in.move import Move

# What is read, a table a line.
_KNOWN: Final = """
access_grant: id resource_type resource_id principal_type principal_id permission created_at
auth: id email password active mfa session_stamp
automation: id user_id name data meta is_active last_run_at next_run_at created_at updated_at folder_id
automation_run: id automation_id chat_id status error created_at
calendar: id user_id name color is_default data meta created_at updated_at
calendar_event: id calendar_id user_id title description start_at end_at all_day rrule color location data meta
  is_cancelled created_at updated_at
calendar_event_attendee: id event_id user_id status meta created_at updated_at
channel: id user_id name description data meta created_at updated_at type is_private archived_at archived_by deleted_at
  deleted_by updated_by
channel_file: id user_id channel_id file_id created_at updated_at message_id
channel_member: id channel_id user_id created_at status is_active is_channel_muted is_channel_pinned data meta joined_at
  left_at last_read_at updated_at role invited_by invited_at app_id
channel_webhook: id user_id channel_id name profile_image_url token last_used_at created_at updated_at
chat: id user_id title created_at updated_at share_id archived chat pinned meta folder_id tasks summary last_read_at
  current_message_id variables timer_at
chat_message: id chat_id user_id role parent_id content output model_id files sources embeds done status_history error
  usage created_at updated_at context_summary meta
config: key value updated_at
feedback: id user_id version type data meta snapshot created_at updated_at
file: id user_id filename meta created_at hash data updated_at path
folder: id parent_id user_id name items meta is_expanded created_at updated_at data
function: id user_id name type content meta valves is_active is_global updated_at created_at version_id
function_history: id function_id parent_id snapshot user_id commit_message created_at
group: id user_id name description data meta permissions created_at updated_at parent_group_id
group_member: id group_id user_id created_at updated_at
knowledge: id user_id name description meta created_at updated_at data
knowledge_directory: id knowledge_id parent_id name user_id created_at updated_at
knowledge_file: id user_id knowledge_id file_id created_at updated_at directory_id
memory: id user_id content updated_at created_at type path meta
message: id user_id channel_id content data meta created_at updated_at parent_id reply_to_id is_pinned pinned_at pinned_by
  app_id
message_reaction: id user_id message_id name created_at
model: id user_id base_model_id name params meta updated_at created_at is_active version_id
model_history: id model_id parent_id snapshot user_id commit_message created_at
note: id user_id title data meta created_at updated_at
pinned_note: id user_id note_id created_at
prompt: id command user_id name content data meta is_active version_id tags created_at updated_at
prompt_history: id prompt_id parent_id snapshot user_id commit_message created_at
shared_chat: id chat_id user_id title chat created_at updated_at
skill: id user_id name description content meta is_active updated_at created_at version_id data
skill_history: id skill_id parent_id snapshot user_id commit_message created_at
tag: id name user_id meta
tool: id user_id name content specs meta valves updated_at created_at version_id
tool_history: id tool_id parent_id snapshot user_id commit_message created_at
user: id name email role profile_image_url last_active_at updated_at created_at username bio gender date_of_birth
  profile_banner_image_url timezone presence_state status_emoji status_message status_expires_at oauth info settings
  scim variables
"""
# Columns that one note names.
_SHOWN: Final = 10
NEWER: Final = "The table {} has columns that this release does not know ({}): what is in them stays there."
OLDER: Final = "The table {} has no column {}: what came of it is without it."


def known() -> dict[str, frozenset[str]]:
    """The columns of each table."""
    lines = _KNOWN.strip().replace("\n ", "").splitlines()
    return {name: frozenset(rest.split()) for name, _, rest in (line.partition(": ") for line in lines)}


def compare(move: Move) -> None:
    """Notes how the source's tables differ from those that are known. An archive's are ours."""
    if move.archive is not None:
        return
    for table, columns in known().items():
        there = move.source.tables.get(table)
        if there is None:
            continue
        if more := sorted(there - columns):
            move.report.note(NEWER.format(table, ", ".join(name[:60] for name in more[:_SHOWN])))
        if lacks := sorted(columns - there):
            move.report.note(OLDER.format(table, ", ".join(lacks[:_SHOWN])))
