"""The console as tests see it."""

from django.test import Client


def page(client: Client, url: str) -> str:
    """The text of a page that must answer."""
    answer = client.get(url)
    assert answer.status_code == 200, url
    return answer.content.decode()
