"""What `manage.py worker` does every few seconds, of all apps. Each names its own when it is set up."""

from collections.abc import Callable

from django.utils.module_loading import import_string

_paths: list[str] = []


def register(path: str) -> None:
    """`path` names a function without arguments; it is imported by workers only."""
    if path not in _paths:
        _paths.append(path)


def registered() -> list[Callable[[], None]]:
    """In the order in which the apps were set up."""
    return [import_string(path) for path in _paths]
