"""The questions that are answered: name, function of this package, and what the original's parameters are called in order."""

from typing import Final

import msgspec


class Row(msgspec.Struct, frozen=True):
    """run: module and function. takes: names of the parameters."""

    run: str
    takes: tuple[str, ...]


_TABLE: Final = """
users.get_user_by_id                          people.by_id           id
users.get_user_by_email                       people.by_email        email
users.get_users                               people.listed          filter skip limit
users.get_num_users                           people.count
users.get_first_user                          people.first_admin
users.get_super_admin_user                    people.first_admin
chats.get_chat_by_id                          chats.by_id            id
chats.get_chat_by_id_and_user_id              chats.by_id            id user_id
chats.get_chat_title_by_id                    chats.title            id
chats.get_messages_by_chat_id                 chats.messages         chat_id
chats.get_messages_map_by_chat_id             chats.history          id
chats.get_message_by_id_and_message_id        chats.message          id message_id
chats.get_chats_by_user_id                    chats.listed           user_id filter skip limit
chats.get_chat_list_by_user_id                chats.listed           user_id include_archived filter skip limit
chats.get_chats_by_folder_id_and_user_id      chats.in_folder        folder_id user_id skip limit
chats.get_chat_tags_by_id_and_user_id         chats.tags             id user_id
chats.add_chat_tag_by_id_and_user_id_and_tag_name chats.add_tag      id user_id tag_name
chats.update_chat_folder_id_by_id_and_user_id chats.move             id user_id folder_id
chats.update_chat_title_by_id                 chats.rename           id title
chats.update_chat_by_id                       chats.update           id chat
chats.insert_new_chat                         chats.create           id user_id form_data
chats.insert_chat_files                       chats.use_files        chat_id message_id file_ids user_id
chats.add_message_files_by_id_and_message_id  chats.add_files        id message_id files
chats.add_message_status_to_chat_by_id_and_message_id chats.add_status id message_id status
chats.upsert_message_to_chat_by_id_and_message_id chats.put_message  id message_id message
files.get_file_by_id                          files.by_id            id
files.get_file_metadata_by_id                 files.metadata         id
files.get_files                               files.own
files.get_files_by_ids                        files.by_ids           ids
files.get_files_by_user_id                    files.own              user_id
files.insert_new_file                         files.create           user_id form_data
files.update_file_data_by_id                  files.set_data         id data
files.update_file_metadata_by_id              files.set_metadata     id meta
files.delete_file_by_id                       files.delete           id
files.upload_file_handler                     files.upload           request file metadata process process_in_background user
files.upload_file                             files.upload           request file metadata process process_in_background user
files.get_file_content_by_id                  files.content          id user attachment
storage.upload_file                           files.stage            file filename tags
storage.get_file                              files.fetch            path
models.get_model_by_id                        models.by_id           id
models.get_all_models                         models.listed
models.get_models                             models.listed
models.get_base_models                        models.overrides
models.update_model_by_id                     models.update          id model
functions.get_function_by_id                  functions.by_id        id
functions.get_functions                       functions.listed       active_only include_valves
functions.get_functions_by_type               functions.of_type      type active_only
functions.get_function_valves_by_id           functions.valves       id
functions.update_function_valves_by_id        functions.set_valves   id valves
functions.get_user_valves_by_id_and_user_id   functions.own_valves   id user_id
functions.update_user_valves_by_id_and_user_id functions.set_own_valves id user_id valves
tools.get_tool_by_id                          tools.by_id            id
tools.get_tools                               tools.listed
tools.get_tools_by_user_id                    tools.listed           user_id permission
tools.get_tool_valves_by_id                   tools.valves           id
tools.update_tool_valves_by_id                tools.set_valves       id valves
tools.get_user_valves_by_id_and_user_id       tools.own_valves       id user_id
tools.update_user_valves_by_id_and_user_id    tools.set_own_valves   id user_id valves
knowledge.get_knowledge_by_id                 places.base            id
knowledge.get_knowledge_bases                 places.bases           skip limit
knowledge.get_knowledge_bases_by_user_id      places.bases_of        user_id permission
folders.get_folder_by_id_and_user_id          places.folder          id user_id
folders.get_folders_by_user_id                places.folders         user_id
groups.get_groups_by_member_id                places.groups_of       user_id
groups.get_group_by_id                        places.group           id
groups.get_groups                             places.groups          filter
memories.get_memories_by_user_id              memories.own           user_id
memories.get_memory_by_id                     memories.by_id         id
memories.get_memories                         memories.own           request user
memories.query_memory                         memories.query         request form_data user
memories.insert_new_memory                    memories.insert        user_id content
memories.update_memory_by_id_and_user_id      memories.set_content   id user_id content
memories.delete_memory_by_id_and_user_id      memories.delete_own    id user_id
memories.add_memory                           memories.add           request form_data user
memories.update_memory_by_id                  memories.update        memory_id request form_data user
memories.delete_memory_by_id                  memories.delete        memory_id user
skills.get_skill_by_id                        skills.by_id           id
skills.get_skill_by_name                      skills.by_name         name
skills.get_skills                             skills.listed
skills.get_skills_by_user_id                  skills.listed          user_id permission
prompts.get_prompt_by_command                 prompts.by_command     command
prompts.get_prompts                           prompts.listed
prompts.get_prompts_by_user_id                prompts.listed         user_id permission
images.image_generations                      images.generate        request form_data user metadata
images.image_edits                            images.edit            request form_data user metadata
config.get                                    settings.value         key default
request.state                                 settings.state         name
request.state.config                          settings.by_variable   name
request.url_path_for                          settings.path          name parameters
chat.generate_chat_completion                 completions.ask        request form_data user bypass_filter bypass_system_prompt
chat.generate_chat_completions                completions.ask        request form_data user bypass_filter bypass_system_prompt
chat.chat_completion                          completions.ask        request form_data user
retrieval.process_file                        web.read_file          request form_data user
retrieval.process_web_search                  web.search             request form_data user
"""


def _rows() -> dict[str, Row]:
    rows = {}
    for line in _TABLE.strip().splitlines():
        name, run, *takes = line.split()
        rows[name] = Row(run, tuple(takes))
    return rows


ROWS: Final = _rows()
