"""What plugins ask the server: each question a row of `table.py`, answered as the person who called the plugin.

    answer = answering(state, principal)
    await host.call(source, "add", {"a": 1}, context=context, answer=answer)

Answers come through the repositories and services that routes use, so that a plugin learns and changes what its caller may,
and nothing else. What the person may not see is None, as is what there is not.
"""

from open_webui.services.facades.asking import Answering, answering

__all__ = ("Answering", "answering")
