"""One turn of a conversation, from a request to the last event after the answer.

A request (`request.py`) becomes a frozen `Turn` (`turn.py`). The service (`service.py`) stores the question and an empty
answer in one transaction, starts a task that the server owns, and replies. The task runs the stages of `context/` over a
draft of what the model is asked, then the loop (`loop.py`): the provider's events go through one reducer
(`assemble.py`) whose frames are sent to everybody who watches (`delivery/sender.py`) and whose state is
written to the journal (`journal.py`) at least once a second and when it is done. What follows an answer (title,
tags, follow-up questions) is in `aftermath.py`. Requests of API clients take the short way: `api.py` passes the
provider's bytes on (`delivery/sse.py`) and stores nothing but the usage.
"""
