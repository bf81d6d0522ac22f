"""The models of a forge behind OpenAI's HTTP API: `llamaforge serve`."""

from llamaforge.server.app import create_api_server
from llamaforge.server.run import ApiServer, run_server

create_app = create_api_server

__all__ = ["ApiServer", "create_api_server", "create_app", "run_server"]
