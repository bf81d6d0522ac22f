"""The text of a note in its forms: Markdown, HTML, the editor's tree, and a document that many change at once."""
