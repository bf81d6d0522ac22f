"""`python -m llamaforge`: the command line."""

from llamaforge.cli import app

if __name__ == "__main__":
    app(prog_name="llamaforge")
