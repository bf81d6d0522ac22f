"""E-mail over the operator's SMTP server, in a thread: each letter on a connection of its own."""

import asyncio
import re
from typing import TYPE_CHECKING, Final

from open_webui.env import Settings
from open_webui.errors import OuiError
from open_webui.jobs.kinds import GiveUp

if TYPE_CHECKING:
    from email.message import EmailMessage

SECONDS: Final = 20.0
NO_SERVER: Final = "This server sends no e-mail: its operator has set no SMTP_HOST."
NO_ADDRESS: Final = "The account's e-mail address is none that a letter can be sent to."
_ADDRESS: Final = re.compile(r"[^\s@<>,;:\"()\\\[\]\x00-\x1f\x7f]{1,64}@[A-Za-z0-9.-]{1,253}")
_ODD: Final = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")


def is_there(settings: Settings) -> bool:
    return bool(settings.smtp_host)


def is_address(text: str) -> bool:
    """Whether it is one plain address, with nothing in it that would be another header or another recipient."""
    return _ADDRESS.fullmatch(text) is not None


def letter(settings: Settings, to: str, subject: str, text: str) -> "EmailMessage":
    """A plain letter. Raises GiveUp for an address that is none."""
    # Not needed to start.
    from email.message import EmailMessage  # noqa: PLC0415
    from email.policy import SMTP  # noqa: PLC0415
    from email.utils import formatdate, make_msgid  # noqa: PLC0415

    sender = settings.smtp_from or settings.smtp_user
    if not is_address(to):
        raise GiveUp(NO_ADDRESS)
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = to
    # A line's end in a header would begin another one.
    message["Subject"] = _ODD.sub(" ", subject).strip()[:200]
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2].strip("> ") or None)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    return message


async def send(settings: Settings, to: str, subject: str, text: str) -> None:
    """Raises OuiError for what may go better another time, and GiveUp for what won't."""
    if not is_there(settings):
        raise GiveUp(NO_SERVER)
    await asyncio.to_thread(_send, settings, letter(settings, to, subject, text))


def _send(settings: Settings, message: "EmailMessage") -> None:
    # Not needed to start.
    import smtplib  # noqa: PLC0415
    import ssl  # noqa: PLC0415

    context = ssl.create_default_context()
    host, port = settings.smtp_host, settings.smtp_port
    try:
        connection = (
            smtplib.SMTP_SSL(host, port, timeout=SECONDS, context=context)
            if settings.smtp_security == "tls"
            else smtplib.SMTP(host, port, timeout=SECONDS)
        )
        with connection:
            if settings.smtp_security == "starttls":
                connection.starttls(context=context)
            if settings.smtp_user:
                connection.login(settings.smtp_user, settings.smtp_password.get_secret_value())
            connection.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        raise GiveUp("The mail server takes nothing for this address.") from error
    except smtplib.SMTPResponseException as error:
        said = f"The mail server refused it ({error.smtp_code})."
        if error.smtp_code >= 500:
            raise GiveUp(said) from error
        raise OuiError(said, status=502) from error
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise OuiError(f"The mail server could not be used ({type(error).__name__}).", status=502) from error
