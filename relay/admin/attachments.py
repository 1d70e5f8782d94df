"""The files that went with bulk sends: to look up and to download."""

from typing import Any, ClassVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, HttpRequest
from django.shortcuts import get_object_or_404
from django.template.defaultfilters import filesizeformat
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from relay import activity
from relay.activity import What
from relay.admin.downloads import as_download
from relay.admin.unfolded import LookingOnly, ModelAdmin, display
from relay.models import Attachment


@admin.register(Attachment)
class AttachmentAdmin(LookingOnly, ModelAdmin[Attachment]):
    list_display = ["filename", "content_type", "size_text", "download_link"]
    search_fields = ["filename"]
    search_help_text = _("File name")
    ordering = ["-id"]
    actions = None
    # Not `file` itself: Django would show it with the bare address under which it is stored.
    fields: ClassVar[Any] = ["filename", "content_type", "size_text", "sha256", "download_link"]
    readonly_fields = fields

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.download_view)
        return [path("<int:object_id>/download/", view, name="relay_attachment_download"), *super().get_urls()]

    def download_view(self, request: HttpRequest, object_id: int) -> FileResponse:
        attachment = get_object_or_404(Attachment, pk=object_id)
        if not self.has_view_permission(request, attachment):
            raise PermissionDenied
        download = as_download(attachment.file, filename=attachment.filename)
        activity.record(What.EXPORTED, by=request.user, about=attachment, request=request, file="attachment")
        return download

    @display(description=_("size"), ordering="size")
    def size_text(self, attachment: Attachment) -> str:
        return filesizeformat(attachment.size)

    @display(description=_("download"))
    def download_link(self, attachment: Attachment) -> str:
        url = reverse("admin:relay_attachment_download", args=[attachment.pk])
        return format_html('<a class="relay-link" href="{}">{}</a>', url, _("Download"))
