"""Channels: where people, and models that they ask, write to each other."""

from typing import Annotated, Any

from fastapi import Path, Query, Request, Response

from open_webui import constants
from open_webui.access.policy import PUBLIC, USER
from open_webui.deps import AppState, Caller, Page
from open_webui.models.channels import Channel, Member
from open_webui.routers.users import shown
from open_webui.routing import allow, new_router
from open_webui.schemas import channels as forms
from open_webui.schemas import replies
from open_webui.schemas.replies.shape import Media, Shape
from open_webui.services.channels import channels, members, messages, webhooks

router = new_router(prefix="/api/v1/channels", tag="channels")
LIST, READ, WRITE = (USER.on("channel", action) for action in ("list", "read", "write"))
# Whoever may write in a channel writes messages; those who may change it are fewer.
SAY = USER.on("channel", "create")
ChannelId = Annotated[str, Path(alias="id", max_length=constants.MAX_ID)]
MessageId = Annotated[str, Path(max_length=constants.MAX_ID)]
WebhookId = Annotated[str, Path(max_length=constants.MAX_ID)]
AMessage = Annotated[str | None, Query(max_length=constants.MAX_ID)]
Text = Annotated[str | None, Query(max_length=500)]
Skip = Annotated[int, Query(ge=0, le=1_000_000)]
Limit = Annotated[int, Query(ge=1, le=100)]


@router.get("/")
@allow(LIST)
async def list_channels(
    state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.channels.ListedChannel])]":
    """One's channels, with how much of each one has not read; none where channels are off."""
    return await channels.listed(state, caller)


@router.get("/list")
@allow(LIST)
async def all_channels(
    state: AppState, caller: Caller
) -> "Annotated[list[Channel], Shape(list[replies.channels.Channel])]":
    """All channels that one may read, conversations that one has put away among them."""
    return await channels.all_of_mine(state, caller)


@router.get("/users/{user_id}")
@allow(USER.on("channel", "list"))
async def conversation(
    user_id: Annotated[str, Path(max_length=constants.MAX_ID)], request: Request, state: AppState, caller: Caller
) -> "Annotated[Channel | None, Shape(replies.channels.Channel | None)]":
    """One's conversation with somebody. A page that sends its token begins it where there is none; a link to here does not."""
    begins = request.headers.get("authorization") is not None
    return await channels.conversation_with(state, caller, user_id, begin=begins)


@router.post("/create")
@allow(SAY)
async def create(
    form: forms.CreateChannelForm, state: AppState, caller: Caller
) -> "Annotated[Channel, Shape(replies.channels.Channel)]":
    """Makes a channel: an open one (administrators), a group, or a conversation, which is the one that these people have."""
    return await channels.create(state, caller, form)


@router.get("/webhooks/{webhook_id}/profile/image")
@allow(USER)
async def webhook_picture(
    webhook_id: WebhookId, request: Request, state: AppState
) -> "Annotated[Response, Media('image/*', also=(302, 304))]":
    """A webhook's picture, or the one that all have."""
    return shown(await webhooks.picture(state, webhook_id), request)


@router.post("/webhooks/{webhook_id}/{token}")
@allow(PUBLIC)
async def webhook_post(
    webhook_id: WebhookId,
    token: Annotated[str, Path(max_length=constants.MAX_ID)],
    form: forms.WebhookMessageForm,
    request: Request,
    state: AppState,
) -> "Annotated[dict[str, Any], Shape(replies.channels.Posted)]":
    """Writes a message by a webhook's address; whoever knows it needs no account."""
    address = request.client.host if request.client else ""
    return await webhooks.post(state, address, webhook_id, token, form)


@router.get("/{id}")
@allow(READ)
async def get(
    channel_id: ChannelId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.channels.WholeChannel)]":
    """A channel, with what one may do there."""
    return await channels.get(state, caller, channel_id)


@router.post("/{id}/update")
@allow(WRITE)
async def update(
    channel_id: ChannelId, form: forms.ChannelForm, state: AppState, caller: Caller
) -> "Annotated[Channel, Shape(replies.channels.Channel)]":
    """Changes what a channel is called and what is said about it."""
    return await channels.update(state, caller, channel_id, form)


@router.post("/{id}/access/update")
@allow(USER.on("channel", "share"))
async def set_access(
    channel_id: ChannelId, form: forms.AccessForm, state: AppState, caller: Caller
) -> "Annotated[Channel, Shape(replies.channels.Channel)]":
    """Replaces the grants on an open channel."""
    return await channels.set_access(state, caller, channel_id, form)


@router.delete("/{id}/delete")
@allow(USER.on("channel", "delete"))
async def delete(channel_id: ChannelId, state: AppState, caller: Caller) -> bool:
    """Removes a channel with all that was said in it."""
    return await channels.delete(state, caller, channel_id)


@router.get("/{id}/members")
@allow(READ)
async def list_members(
    channel_id: ChannelId,
    state: AppState,
    caller: Caller,
    *,
    query: Text = None,
    order_by: Text = None,
    direction: Text = None,
    page: Page = 1,
) -> "Annotated[dict[str, Any], Shape(replies.channels.People)]":
    """Who is in a channel, or may read it, 30 a page."""
    return await members.page(state, caller, channel_id, members.Asked(query, order_by, direction, page))


@router.post("/{id}/members/active")
@allow(READ)
async def set_active(channel_id: ChannelId, form: forms.ActiveForm, state: AppState, caller: Caller) -> bool:
    """Puts a conversation away, or brings it back, for oneself."""
    return await members.set_active(state, caller, channel_id, form.is_active)


@router.post("/{id}/members/mute")
@allow(READ)
async def set_muted(
    channel_id: ChannelId, form: forms.MutedForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.channels.Muted)]":
    """Whether one is told of new messages."""
    return await members.set_muted(state, caller, channel_id, form.is_channel_muted)


@router.post("/{id}/update/members/add")
@allow(WRITE)
async def add_members(
    channel_id: ChannelId, form: forms.MembersForm, state: AppState, caller: Caller
) -> "Annotated[list[Member], Shape(list[replies.channels.Member])]":
    """Lets people into a group; answered is who was not in it."""
    return await members.add(state, caller, channel_id, form)


@router.post("/{id}/update/members/remove")
@allow(WRITE)
async def remove_members(channel_id: ChannelId, form: forms.RemoveMembersForm, state: AppState, caller: Caller) -> int:
    """Puts people out of a group, or leaves it; answered is how many were in it."""
    return await members.remove(state, caller, channel_id, form)


@router.get("/{id}/messages")
@allow(READ)
async def list_messages(
    channel_id: ChannelId, state: AppState, caller: Caller, skip: Skip = 0, limit: Limit = 50
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.channels.ListedMessage])]":
    """Messages that are in no thread, the newest first."""
    return await messages.outside(state, caller, channel_id, skip, limit)


@router.get("/{id}/messages/pinned")
@allow(READ)
async def pinned(
    channel_id: ChannelId, state: AppState, caller: Caller, page: Page = 1
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.channels.PinnedMessage])]":
    """Messages that are pinned, the newest pin first, 20 a page."""
    return await messages.pinned(state, caller, channel_id, page)


@router.post("/{id}/messages/post")
@allow(SAY.keeping_files())
async def post(
    channel_id: ChannelId, form: forms.MessageForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.channels.Message)]":
    """Writes a message. Models that it mentions are asked, and answer in the channel."""
    return await messages.post(state, caller, channel_id, form)


@router.get("/{id}/messages/{message_id}")
@allow(READ)
async def get_message(
    channel_id: ChannelId, message_id: MessageId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.channels.WholeMessage)]":
    """A message."""
    return await messages.get(state, caller, channel_id, message_id)


@router.get("/{id}/messages/{message_id}/data")
@allow(READ)
async def message_data(
    channel_id: ChannelId, message_id: MessageId, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any] | None, Shape(dict[str, Any] | None)]":
    """What is with a message: files, and the parts of an answer."""
    return await messages.data(state, caller, channel_id, message_id)


@router.get("/{id}/messages/{message_id}/thread")
@allow(READ)
async def thread(
    channel_id: ChannelId,
    message_id: MessageId,
    state: AppState,
    caller: Caller,
    *,
    skip: Skip = 0,
    limit: Limit = 50,
    around: AMessage = None,
    before: AMessage = None,
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.channels.ListedMessage])]":
    """A thread, the newest first, and at its end the message that it began with."""
    part = messages.Part(skip, limit, around, before)
    return await messages.thread(state, caller, channel_id, message_id, part)


@router.post("/{id}/messages/{message_id}/update")
@allow(SAY.keeping_files())
async def update_message(
    channel_id: ChannelId, message_id: MessageId, form: forms.MessageForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.channels.Message)]":
    """Changes a message of one's own; whoever manages an open channel changes others, too."""
    return await messages.update(state, caller, channel_id, message_id, form)


@router.post("/{id}/messages/{message_id}/pin")
@allow(SAY)
async def pin(
    channel_id: ChannelId, message_id: MessageId, form: forms.PinForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.channels.ListedMessage)]":
    """Pins a message, or takes the pin off."""
    return await messages.pin(state, caller, channel_id, message_id, form.is_pinned)


@router.post("/{id}/messages/{message_id}/reactions/add")
@allow(SAY)
async def add_reaction(
    channel_id: ChannelId, message_id: MessageId, form: forms.ReactionForm, state: AppState, caller: Caller
) -> bool:
    """Reacts to a message."""
    return await messages.react(state, caller, channel_id, message_id, form.name, takes_back=False)


@router.post("/{id}/messages/{message_id}/reactions/remove")
@allow(SAY)
async def remove_reaction(
    channel_id: ChannelId, message_id: MessageId, form: forms.ReactionForm, state: AppState, caller: Caller
) -> bool:
    """Takes a reaction of one's own back."""
    return await messages.react(state, caller, channel_id, message_id, form.name, takes_back=True)


@router.delete("/{id}/messages/{message_id}/delete")
@allow(SAY)
async def delete_message(channel_id: ChannelId, message_id: MessageId, state: AppState, caller: Caller) -> bool:
    """Removes a message with its thread: one's own, or in a channel that one manages."""
    return await messages.delete(state, caller, channel_id, message_id)


@router.get("/{id}/webhooks")
@allow(WRITE)
async def list_webhooks(
    channel_id: ChannelId, state: AppState, caller: Caller
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.channels.Webhook])]":
    """A channel's webhooks with their tokens, for whoever manages it."""
    return await webhooks.listed(state, caller, channel_id)


@router.post("/{id}/webhooks/create")
@allow(WRITE)
async def create_webhook(
    channel_id: ChannelId, form: forms.WebhookForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.channels.Webhook)]":
    """Makes a webhook."""
    return await webhooks.create(state, caller, channel_id, form)


@router.post("/{id}/webhooks/{webhook_id}/update")
@allow(WRITE)
async def update_webhook(
    channel_id: ChannelId, webhook_id: WebhookId, form: forms.WebhookForm, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.channels.Webhook)]":
    """Changes a webhook's name and picture."""
    return await webhooks.update(state, caller, channel_id, webhook_id, form)


@router.delete("/{id}/webhooks/{webhook_id}/delete")
@allow(WRITE)
async def delete_webhook(channel_id: ChannelId, webhook_id: WebhookId, state: AppState, caller: Caller) -> bool:
    """Removes a webhook; what it wrote stays."""
    return await webhooks.delete(state, caller, channel_id, webhook_id)
