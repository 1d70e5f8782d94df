"""Stored files on their way out: always as a download, never as a page of this site."""

from django.db.models.fields.files import FieldFile
from django.http import FileResponse, Http404
from django.utils.translation import gettext as _


def as_download(stored: FieldFile, *, filename: str) -> FileResponse:
    """The file as an attachment that no browser will interpret. The caller has checked the permission."""
    if not stored:
        raise Http404(_("There is no such file."))
    try:
        content = stored.open("rb")
    except FileNotFoundError as error:
        raise Http404(_("The file is no longer on the disk.")) from error
    response = FileResponse(content, as_attachment=True, filename=filename, content_type="application/octet-stream")
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "private, no-store"  # addresses of people
    return response
