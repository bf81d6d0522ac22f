"""The process that makes pictures, with so little memory that a large one does not fit."""

from open_webui.images.diffusion import __main__ as process
from open_webui.images.diffusion import pipes
from open_webui.internal.child.serve import serve

if __name__ == "__main__":
    pipes._MEMORY = 600 * 2**20
    serve(process._Worker().answer, (process._Refused,))
