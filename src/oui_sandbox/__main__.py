"""`python -P path/to/oui_sandbox`: the zygote, started by the server with the number of its end of the control socket."""

import sys
from pathlib import Path


def _main() -> None:
    # The folder that this package is in may hold the server, too: it is on the path for a moment only.
    home = str(Path(__file__).resolve().parent.parent)
    sys.path[:] = [home, *(entry for entry in sys.path if entry != str(Path(__file__).resolve().parent))]
    from oui_sandbox import zygote  # noqa: PLC0415 - it is found only now

    zygote.main(sys.argv[1:])


if __name__ == "__main__":
    _main()
