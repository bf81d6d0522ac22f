"""One file per URL prefix: parse, ask, answer."""

from fastapi import APIRouter

from open_webui.routers import (
    affect,
    auths,
    chats,
    completions,
    configs,
    files,
    folders,
    groups,
    jobs,
    later,
    llamaforge,
    models,
    ollama,
    openai,
    root,
    search,
    tasks,
    users,
)

# In the order of matching; what pages and clients call most comes first. pages.py takes any path and is added by main.
ROUTERS: tuple[APIRouter, ...] = (
    root.router,
    completions.router,
    models.catalogue,
    chats.router,
    tasks.router,
    auths.router,
    users.router,
    users.pictures,
    groups.router,
    folders.router,
    files.router,
    search.router,
    models.router,
    configs.router,
    configs.task_router,
    affect.router,
    llamaforge.router,
    jobs.router,
    ollama.router,
    later.router,
    # Takes any path below /openai/, and below the lists of models, that none of the above does.
    openai.router,
)
