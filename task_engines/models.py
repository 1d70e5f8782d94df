from django.db import models


class EmbeddedWorker(models.Model):
    """A worker of the embedded engine that is alive: django-tasks-db itself does not notice one that died."""

    id = models.CharField(max_length=64, primary_key=True)
    heartbeat_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.id
