"""What a source of prompts is: it lists prompts with their names, and says what one of them is. One whose prompts are texts only
says which there are (`Texts`).
"""

import abc
import re
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from open_webui.errors import BadRequest
from open_webui.principal import Principal
from open_webui.services.mcp_endpoint.messages import Wire
from open_webui.services.mcp_endpoint.own_tools import Deps

# Of a slot counts what stands before the first `|`.
SLOT: Final = re.compile(r"\{\{([^{}]{1,2000})\}\}")


class Argument(msgspec.Struct, frozen=True):
    """What is filled into a prompt. default: what it is where nothing is said. choices: what it may be, where that is known."""

    name: str
    description: str = ""
    required: bool = False
    default: str = ""
    choices: tuple[str, ...] = ()


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt. text: with `{{NAME}}` where an argument goes; empty in lists."""

    name: str
    title: str
    description: str = ""
    arguments: tuple[Argument, ...] = ()
    text: str = ""


class Source(Protocol):
    """A kind of prompts. Each raises OuiError, and knows nothing of names that are not its own: None."""

    async def listed(self, deps: Deps, principal: Principal) -> Sequence[Prompt]:
        """Those that somebody may use."""
        ...

    async def said(self, deps: Deps, principal: Principal, name: str, arguments: dict[str, str]) -> Wire | None:
        """One of them with its arguments, as the protocol answers."""
        ...

    async def values(
        self, deps: Deps, principal: Principal, name: str, about: tuple[str, str], context: dict[str, str]
    ) -> tuple[list[str], bool] | None:
        """What an argument may be, of which the beginning is known, and whether there is more. about: its name and that
        beginning.
        """
        ...


class Texts(abc.ABC):
    """Prompts that are texts: a source that says which there are, and what one of them says."""

    @abc.abstractmethod
    async def listed(self, deps: Deps, principal: Principal) -> Sequence[Prompt]:
        """See `Source`."""

    @abc.abstractmethod
    async def find(self, deps: Deps, principal: Principal, name: str) -> Prompt | None:
        """One with its text, if somebody may use it."""

    async def said(self, deps: Deps, principal: Principal, name: str, arguments: dict[str, str]) -> Wire | None:
        """See `Source`."""
        prompt = await self.find(deps, principal, name)
        if prompt is None:
            return None
        content = {"type": "text", "text": _filled(prompt, arguments)}
        return {"description": prompt.description, "messages": [{"role": "user", "content": content}]}

    async def values(
        self, deps: Deps, principal: Principal, name: str, about: tuple[str, str], context: dict[str, str]
    ) -> tuple[list[str], bool] | None:
        """See `Source`."""
        del context
        prompt = await self.find(deps, principal, name)
        if prompt is None:
            return None
        argument, begun = about
        choices = next((one.choices for one in prompt.arguments if one.name == argument), ())
        return [choice for choice in choices if choice.lower().startswith(begun.lower())], False


def _filled(prompt: Prompt, arguments: Mapping[str, str]) -> str:
    known = {argument.name: arguments.get(argument.name) or argument.default for argument in prompt.arguments}
    if unknown := [name for name in arguments if name not in known]:
        raise BadRequest(f"This prompt has no argument {unknown[0][:100]!r}.")
    if missing := [argument.name for argument in prompt.arguments if argument.required and not known[argument.name]]:
        raise BadRequest(f"This prompt needs: {', '.join(missing)[:500]}.")
    # What an argument says is not read for slots again; slots of nothing that the prompt asks for stay as they are.
    return SLOT.sub(lambda slot: known.get(slot_name(slot[1]), slot[0]), prompt.text)


def slot_name(inside: str) -> str:
    """The argument that a slot is for."""
    return inside.partition("|")[0].strip()
