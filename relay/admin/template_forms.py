"""What is filled in about a template."""

from typing import Any

from django import forms
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from relay.addresses import AddressProblem, check_address
from relay.mail_templates import Version
from relay.rendering import TemplateProblem
from relay.template_previews import mistakes

# The relay's own application asks for no more (relay API notes §3.2); of the content we read no more (`rendering`).
LONGEST = {"name": 100, "subject": 256, "from_email": 256, "from_name": 100}
LARGEST_HTML = 2_000_000  # bytes


class TemplateForm(forms.Form):
    name = forms.CharField(label=capfirst(_("name")), max_length=LONGEST["name"], widget=UnfoldAdminTextInputWidget)
    subject = forms.CharField(
        label=capfirst(_("subject")),
        max_length=LONGEST["subject"],
        help_text=_("Variables in double braces work here too."),
        widget=UnfoldAdminTextInputWidget,
    )
    from_email = forms.CharField(
        label=capfirst(_("from")),
        max_length=LONGEST["from_email"],
        help_text=_("The address that applies where a bulk send names no sender."),
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "email", "autocomplete": "off"}),
    )
    from_name = forms.CharField(
        label=capfirst(_("from name")),
        max_length=LONGEST["from_name"],
        required=False,
        widget=UnfoldAdminTextInputWidget,
    )
    html = forms.CharField(
        label=capfirst(_("content (HTML)")),
        strip=False,
        widget=UnfoldAdminTextareaWidget(
            attrs={"rows": 24, "spellcheck": "false", "class": "mail-templates-html", "maxlength": LARGEST_HTML}
        ),
    )
    # What the person had before them when they began to write: see `relay.template_saving`.
    seen = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)

    def __init__(self, *args: Any, made_visually: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if made_visually:
            del self.fields["html"]

    def clean_from_email(self) -> str:
        address = check_address(self.cleaned_data["from_email"])
        if isinstance(address, AddressProblem):
            raise forms.ValidationError(address.sentence)
        return address

    def clean_html(self) -> str:
        html: str = self.cleaned_data["html"].replace("\r\n", "\n")
        size = len(html.encode())
        if size > LARGEST_HTML:
            raise forms.ValidationError(
                _("The content has %(size).1f MB; 2 MB is the most: move images out of it, to the web.")
                % {"size": size / 1_000_000}
            )
        if not html.strip():
            raise forms.ValidationError(_("A template without content would send empty mails: write it."))
        return html

    def clean(self) -> dict[str, Any]:
        filled: dict[str, Any] = super().clean() or {}
        for problem in mistakes(filled.get("subject", ""), filled.get("html", "")):
            self._point_to(problem)
        return filled

    def _point_to(self, problem: TemplateProblem) -> None:
        part = str(problem.params.get("part", "html"))
        self.add_error(part if part in self.fields else None, problem.sentence)

    def version(self, html: str = "") -> Version:
        """What was written; `html` where the form has no content of its own."""
        filled = self.cleaned_data
        return Version(
            filled["name"], filled["subject"], filled["from_email"], filled["from_name"], filled.get("html", html)
        )
