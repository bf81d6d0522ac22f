"""Commands of the machine as acts. Who may run one is known by the name of their account there."""

import contextlib
import getpass
from collections.abc import Mapping

from open_webui.access.tokens import secret_key
from open_webui.env import Settings
from open_webui.internal import acts
from open_webui.internal.acts import Act, Change
from open_webui.internal.db import Database
from open_webui.services.audit.record import Audit, sealing_of


def record_of(settings: Settings, database: Database) -> Audit:
    """The record as a command writes it: a server links it, which knows that its own secret is the right one."""
    return Audit(database, settings.audit_level, sealing_of(secret_key(settings)), links=False)


def act_of(command: str, action: str = "write", via: str = "command") -> Act:
    """What a command does."""
    act = Act(f"oui-backend {command}", action, area="server", via=via)
    with contextlib.suppress(OSError, KeyError):
        act.actor = getpass.getuser()
    return act


async def tell(record: Audit, act: Act, changes: Mapping[str, Change]) -> None:
    """Records something that is more than one change."""
    if not record.is_on:
        return
    with acts.doing(act):
        act.changes = dict(changes)
        await record.finish(act)
