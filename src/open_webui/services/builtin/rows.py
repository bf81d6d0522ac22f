"""The built-in tools, each a row: what the model reads, who may use it, and which function does it when it is called."""

from typing import Final

from open_webui.services.builtin import own_rows
from open_webui.services.builtin.row import Row, flag, number, text

_UNITS: Final = ("days_ago", "weeks_ago", "months_ago", "years_ago")
_COUNT: Final = number("How many at most")
_SKIP: Final = number("How many of the first ones to leave out")

ROWS: Final = (
    Row(
        name="get_current_timestamp",
        category="time",
        description="The present time in UTC, as a Unix timestamp in seconds and as ISO 8601.",
        run="clock.now",
    ),
    Row(
        name="calculate_timestamp",
        category="time",
        description="The time in UTC that was so many days, weeks, months and years before now. Use it to narrow searches.",
        parameters={unit: number(f"How many {unit.removesuffix('_ago')} before now") for unit in _UNITS},
        run="clock.ago",
    ),
    Row(
        name="ask_user",
        category="user_input",
        description=(
            "Asks the person something that you need to know before you go on, with options to choose from where there are"
            " some. Put the best option first. Don't ask what you can find out yourself."
        ),
        parameters={
            "questions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "id": text("A name for the question, by which its answer comes back"),
                        "header": text("The question in one or two words"),
                        "question": text("The question"),
                        "options": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "properties": {"label": text("The option"), "description": text("What it means")},
                            },
                        },
                    },
                    "required": ["question"],
                },
                "description": "1 to 10 questions",
            },
            "allow_other": flag("Whether the person may write an answer of their own (they may by default)"),
            "timeout_ms": number("How long to wait, in milliseconds (default 300000)"),
        },
        required=("questions",),
        seconds=610.0,
        run="asking.ask",
    ),
    Row(
        name="notify",
        category="notifications",
        description=(
            "Sends the person a short message by the way that they chose for notifications, such as e-mail or a chat app. Use it"
            " when they ask to be told, or when something that they wait for is done."
        ),
        parameters={
            "message": text("The message, in a few sentences"),
            "title": text("A title, in a few words"),
            "target": text("The name of one of the person's targets; left out, their default one"),
        },
        required=("message",),
        needs=("features.webhooks",),
        setting="ui.enable_user_webhooks",
        run="notifying.notify",
    ),
    Row(
        name="create_tasks",
        category="tasks",
        description="Makes the list of steps of a longer piece of work, which the person sees, instead of an earlier list.",
        parameters={
            "tasks": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"id": text("A short id"), "content": text("What is to be done")},
                    "required": ["content"],
                },
                "description": "The steps, in order",
            }
        },
        required=("tasks",),
        stored=True,
        run="tasks.create",
    ),
    Row(
        name="update_task",
        category="tasks",
        description="Says how far a step of the list is.",
        parameters={
            "id": text("The step's id"),
            "status": text("How far it is") | {"enum": ["pending", "in_progress", "completed", "cancelled"]},
        },
        required=("id", "status"),
        stored=True,
        run="tasks.update",
    ),
    Row(
        name="search_chats",
        category="chats",
        description="Finds the person's earlier chats whose title or messages hold all words of a query, the newest first.",
        parameters={
            "query": text("Words that are looked for"),
            "count": number("How many chats at most, 1 to 20 (default 5)"),
            "start_timestamp": number("Only chats changed at or after this Unix time in seconds"),
            "end_timestamp": number("Only chats changed at or before this Unix time in seconds"),
        },
        required=("query",),
        private=True,
        run="chats.find",
    ),
    Row(
        name="view_chat",
        category="chats",
        description="Reads one of the person's chats. search_chats tells its id.",
        parameters={"chat_id": text("The chat's id")},
        required=("chat_id",),
        private=True,
        run="chats.view",
    ),
    Row(
        name="list_knowledge_bases",
        category="knowledge",
        brought=True,
        description="Lists the knowledge bases that the person may read.",
        parameters={"count": _COUNT, "skip": _SKIP},
        run="knowledge.list_bases",
    ),
    Row(
        name="search_knowledge_bases",
        category="knowledge",
        brought=True,
        description="Finds knowledge bases by a part of their name or description.",
        parameters={"query": text("A part of the name or description"), "count": _COUNT, "skip": _SKIP},
        required=("query",),
        run="knowledge.search_bases",
    ),
    Row(
        name="query_knowledge_bases",
        category="knowledge",
        brought=True,
        description="Finds the knowledge bases whose files fit a question best.",
        parameters={"query": text("The question"), "count": _COUNT},
        required=("query",),
        run="knowledge.query_bases",
    ),
    Row(
        name="search_knowledge_files",
        category="knowledge",
        brought=True,
        description="Finds files in knowledge bases by a part of their name.",
        parameters={
            "query": text("A part of the file's name"),
            "knowledge_id": text("Only files of this knowledge base"),
            "count": _COUNT,
            "skip": _SKIP,
        },
        required=("query",),
        run="knowledge.search_files",
    ),
    Row(
        name="query_knowledge_files",
        category="knowledge",
        brought=True,
        description=(
            "Finds the passages in files of knowledge bases that fit a question best. Cite a passage that you use by its"
            " `cite_as`."
        ),
        parameters={
            "query": text("The question"),
            "knowledge_ids": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Only these knowledge bases; all that the person may read where none is named",
            },
            "count": _COUNT,
        },
        required=("query",),
        run="knowledge.query",
    ),
    Row(
        name="grep_knowledge_files",
        category="knowledge",
        brought=True,
        description="Finds the lines with a text in one file, or in the files of all knowledge bases.",
        parameters={
            "pattern": text("The text, taken literally; | separates several"),
            "file_id": text("Only this file"),
            "case_insensitive": flag("Whether capitals don't matter (they don't by default)"),
            "count_only": flag("Only how many lines there are"),
        },
        required=("pattern",),
        run="knowledge.grep",
    ),
    Row(
        name="view_knowledge_file",
        category="knowledge",
        brought=True,
        description="Reads the text of a file, or a part of it.",
        parameters={
            "file_id": text("The file's id"),
            "offset": number("Begin at this character"),
            "max_chars": number("How many characters at most"),
            "line_numbers": flag("Whether each line begins with its number"),
            "start_line": number("The first line, from 1"),
            "end_line": number("The last line"),
        },
        required=("file_id",),
        run="knowledge.view",
    ),
    *own_rows.ROWS,
    Row(
        name="view_skill",
        category="skills",
        description=(
            "Reads a skill of <available_skills>: how a kind of work is done here. Read the skill that fits what is asked before"
            " you begin, and follow it."
        ),
        parameters={"id": text("The skill's id")},
        required=("id",),
        with_skills=True,
        run="skills.view",
    ),
    Row(
        name="read_skill_file",
        category="skills",
        description="Reads a file of a skill, or a part of it. view_skill tells which files there are.",
        parameters={
            "id": text("The skill's id"),
            "path": text("The file's path"),
            "offset": number("Begin at this character"),
            "max_chars": number("How many characters at most"),
        },
        required=("id", "path"),
        with_skills=True,
        run="skills.read",
    ),
    Row(
        name="grep_skill_files",
        category="skills",
        description="Finds the lines with a text in the files of a skill.",
        parameters={
            "id": text("The skill's id"),
            "pattern": text("The text, taken literally; | separates several"),
            "path": text("Only this file, or the files in this folder"),
            "case_insensitive": flag("Whether capitals don't matter (they don't by default)"),
            "max_results": number("How many lines at most"),
        },
        required=("id", "pattern"),
        with_skills=True,
        run="skills.grep",
    ),
    Row(
        name="create_skill",
        category="skills",
        description=(
            "Writes down how a kind of work is done, as a skill that the person can choose from then on. Only where the person"
            " wants one made."
        ),
        parameters={
            "id": text("An id of small letters, digits and '-'"),
            "name": text("What it is called"),
            "content": text("Its text, in Markdown: when it is used, and what is done then"),
            "files": {
                "type": "array",
                "description": "Further files that the text names",
                "items": {
                    "type": "object",
                    "properties": {"path": text("Its path"), "content": text("What stands in it")},
                    "required": ["path", "content"],
                },
            },
            "commit_message": text("What was made, in a few words"),
        },
        required=("id", "name", "content"),
        needs=("workspace.skills",),
        run="skills.create",
    ),
    Row(
        name="update_skill_files",
        category="skills",
        description="Changes files of a skill, all or none of them. Only where the person wants it changed.",
        parameters={
            "id": text("The skill's id"),
            "operations": {
                "type": "array",
                "description": "The changes, one after the other",
                "items": {
                    "type": "object",
                    "properties": {
                        "op": {
                            "type": "string",
                            "enum": ["put", "move", "delete"],
                            "description": "put writes the whole file",
                        },
                        "path": text("The file's path; SKILL.md is the skill's text"),
                        "content": text("Of put: what stands in it then"),
                        "destination": text("Of move: its new path"),
                    },
                    "required": ["op", "path"],
                },
            },
            "commit_message": text("What was changed, in a few words"),
        },
        required=("id", "operations"),
        needs=("workspace.skills",),
        with_skills=True,
        run="skills.change",
    ),
    Row(
        name="search_web",
        category="web_search",
        description=(
            "Searches the web, reads what is found, and answers with the passages that fit best. Cite a passage that you use by"
            " its `cite_as`."
        ),
        parameters={"query": text("What to search for"), "count": number("How many passages at most")},
        required=("query",),
        needs=("features.web_search",),
        feature="web_search",
        setting="web.search.enable",
        seconds=90.0,
        run="web.search",
    ),
    Row(
        name="fetch_url",
        category="web_search",
        description="Reads the page at an address of the web.",
        parameters={"url": text("The address, with https://")},
        required=("url",),
        needs=("features.web_search", "chat.web_upload"),
        feature="web_search",
        setting="web.search.enable",
        seconds=60.0,
        run="web.fetch",
    ),
    Row(
        name="generate_image",
        category="image_generation",
        description=(
            "Makes a picture and shows it to the person below the answer. Describe all that is to be seen: subject, setting,"
            " light, style."
        ),
        parameters={
            "prompt": text("The description"),
            "negative_prompt": text("What is not to be seen"),
            "size": text("Width and height, like 1024x1024; left out, as the server has it"),
        },
        required=("prompt",),
        needs=("features.image_generation",),
        feature="image_generation",
        setting="image_generation.enable",
        # The longest that an admin may set; the engine's own time ends the call.
        seconds=3_900.0,
        run="images.generate",
    ),
    Row(
        name="edit_image",
        category="image_generation",
        description="Changes pictures, or makes one out of several, and shows the result to the person below the answer.",
        parameters={
            "prompt": text("What is to be changed"),
            "image_urls": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Urls of the pictures; left out, those that the person attached last",
            },
            "size": text("Width and height, like 1024x1024; left out, as the server has it"),
        },
        required=("prompt",),
        needs=("features.image_generation",),
        feature="image_generation",
        setting="images.edit.enable",
        seconds=3_900.0,
        run="images.edit",
    ),
    Row(
        name="read_tool_result",
        category="results",
        description="Reads on in a long result of a tool, of which you got the beginning.",
        parameters={
            "id": text("The result's id, as its beginning says"),
            "offset": number("Begin at this character"),
            "max_chars": number("How many characters at most, up to 50000 (default 20000)"),
        },
        required=("id",),
        on_demand=True,
        run="results.read",
    ),
    Row(
        name="execute_code",
        category="code_interpreter",
        description=(
            "Runs Python and answers with what it printed, its errors, and the value of its last line. Use it to compute, to"
            " look into files and to draw. Files that the person attached lie in the working directory. What one call names,"
            " later calls in this chat may know. Plots, and files that are written, are shown to the person; link one by its"
            " url."
        ),
        parameters={"code": text("The Python to run")},
        required=("code",),
        needs=("features.code_interpreter",),
        feature="code_interpreter",
        setting="code_interpreter.enable",
        # The longest that an admin may set, and a turn's wait; the engine ends the call at its own time.
        seconds=3_700.0,
        run="code.execute",
    ),
)
