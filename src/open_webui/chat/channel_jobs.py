"""What is done for channels in the background."""

from typing import Any

from open_webui.chat.channel_answers import ChannelAnswers, Named
from open_webui.chat.context.stage import Services
from open_webui.jobs.kinds import Kind
from open_webui.services.apps import delivery
from open_webui.services.channels.channels import removing
from open_webui.services.channels.telling import Deps


def kinds(deps: Deps, services: Services, named: Named) -> tuple[Kind[Any], ...]:
    """Channels are removed, models answer there, and apps are told what is said."""
    return removing(deps.database), ChannelAnswers(deps, services, named).kind(), delivery.kind(deps)
