"""What is wrong with a model, as a sentence."""


class UnusableModel(Exception):
    """A folder that holds no model which can be run here; its text is a sentence for an admin."""
