"""The base of errors that people read as they are."""


class Explained(Exception):
    """Its text is one sentence for a person: what is wrong, where, and what to do. Without anybody's data."""
