"""A process that reads files on a machine where Tesseract is not installed, wherever it runs."""

from open_webui.internal.child.serve import serve
from open_webui.retrieval.parsing import reader

if __name__ == "__main__":
    reader._TESSDATA = ()
    serve(reader.read, (reader.Refused,))
