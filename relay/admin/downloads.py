"""Stored files on their way out: always as a download, never as a page of this site."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from django.db.models.fields.files import FieldFile
from django.http import FileResponse, Http404, HttpResponse
from django.utils.translation import gettext as _

from relay.standing import neutralised


def as_download(stored: FieldFile, *, filename: str) -> FileResponse:
    """The file as an attachment that no browser will interpret. The caller has checked the permission."""
    if not stored:
        raise Http404(_("There is no such file."))
    try:
        return _sent(stored.open("rb"), filename)
    except FileNotFoundError as error:
        raise Http404(_("The file is no longer on the disk.")) from error


def path_as_download(path: Path | None) -> FileResponse:
    """The same for a file that is known by its place, under its own name."""
    if path is None:
        raise Http404(_("There is no such file."))
    try:
        return _sent(path.open("rb"), path.name)
    except FileNotFoundError as error:
        raise Http404(_("The file is no longer on the disk.")) from error


def rows_as_csv(rows: Iterable[Sequence[Any]], *, filename: str) -> HttpResponse:
    """A table of a page, for spreadsheets: nothing in it is computed, and the mark at its beginning says UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text)
    for row in rows:
        writer.writerow([cell if isinstance(cell, int | float) else neutralised(str(cell)) for cell in row])
    response = HttpResponse(text.getvalue().encode("utf-8-sig"), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{filename}"'
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "private, no-store"
    return response


def _sent(content: BinaryIO | FieldFile, filename: str) -> FileResponse:
    response = FileResponse(content, as_attachment=True, filename=filename, content_type="application/octet-stream")
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "private, no-store"  # addresses of people
    return response
