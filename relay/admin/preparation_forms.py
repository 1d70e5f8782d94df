"""What is filled in while a bulk send is prepared: step (a) template and sender, step (b) file and columns."""

from typing import Any

from django import forms
from django.db.models import Q
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminEmailInputWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from relay.addresses import AddressProblem, check_address
from relay.admin import words
from relay.models import MailTemplate, Preparation, Sender
from relay.rendering import TemplateProblem, compile_template
from relay.senders import senders_for
from relay.text_encoding import ENCODINGS

LONGEST_SUBJECT = 1_000


class TemplateStepForm(forms.Form):
    name = forms.CharField(
        label=_("Name of the bulk send"),
        max_length=200,
        required=False,
        help_text=_("Empty: the name of the file."),
        widget=UnfoldAdminTextInputWidget,
    )
    # Drawn by the page itself, as a list with previews.
    template = forms.CharField(label=capfirst(_("template")), max_length=100)
    sender = forms.ModelChoiceField(
        Sender.objects.none(),
        label=capfirst(_("sender")),
        required=False,
        empty_label=_("The usual one of this installation, or of the template"),
        widget=UnfoldAdminSelectWidget,
    )
    subject = forms.CharField(
        label=_("Subject of its own"),
        max_length=LONGEST_SUBJECT,
        required=False,
        help_text=_("Empty: the template's. It may hold variables, written {{name}}."),
        widget=UnfoldAdminTextInputWidget,
    )
    reply_to = forms.CharField(
        label=_("Reply to"),
        max_length=254,
        required=False,
        help_text=_("Where answers go. Empty: to the sender."),
        widget=UnfoldAdminEmailInputWidget,
    )

    def __init__(self, user: Any, preparation: Preparation | None, data: Any = None) -> None:
        super().__init__(data, initial=_template_step(preparation))
        self.fields["template"].error_messages["required"] = _("Choose a template.")
        senders = senders_for(user)
        if preparation is not None and preparation.sender_id is not None:  # also when it is no longer to be chosen
            senders = Sender.objects.filter(Q(pk__in=senders) | Q(pk=preparation.sender_id))
        self.fields["sender"].queryset = senders  # type: ignore[attr-defined]

    def clean_template(self) -> MailTemplate:
        chosen = MailTemplate.objects.there().filter(template_id=self.cleaned_data["template"]).first()
        if chosen is None:
            raise forms.ValidationError(_("This template is no longer there: choose another."))
        return chosen

    def clean_reply_to(self) -> str:
        written: str = self.cleaned_data["reply_to"]
        address = check_address(written) if written else ""
        if isinstance(address, AddressProblem):
            raise forms.ValidationError(address.sentence)
        return address

    def clean_subject(self) -> str:
        subject: str = self.cleaned_data["subject"]
        try:
            compile_template(subject, "")
        except TemplateProblem as problem:
            raise forms.ValidationError(problem.sentence) from problem
        return subject

    def clean_sender(self) -> Sender | None:
        sender: Sender | None = self.cleaned_data["sender"]
        if sender is not None and not sender.active:
            raise forms.ValidationError(_("This sender is not active any more: choose another."))
        return sender

    def saved(self) -> dict[str, Any]:
        """The fields of a preparation."""
        chosen: MailTemplate = self.cleaned_data["template"]
        return {
            "name": self.cleaned_data["name"],
            "template_id": chosen.template_id,
            "template_name": chosen.name[:200],
            "sender": self.cleaned_data["sender"],
            "subject": self.cleaned_data["subject"],
            "reply_to": self.cleaned_data["reply_to"],
        }


def _template_step(preparation: Preparation | None) -> dict[str, Any]:
    if preparation is None:
        return {}
    return {
        "name": preparation.name,
        "template": preparation.template_id,
        "sender": preparation.sender_id,
        "subject": preparation.subject,
        "reply_to": preparation.reply_to,
    }


class FileStepForm(forms.Form):
    """What was understood from the file, each correctable, and where each variable comes from."""

    encoding = forms.ChoiceField(label=capfirst(_("encoding")), required=False, widget=UnfoldAdminSelectWidget)
    delimiter = forms.ChoiceField(label=capfirst(_("delimiter")), required=False, widget=UnfoldAdminSelectWidget)
    address_column = forms.ChoiceField(
        label=capfirst(_("address column")), required=False, widget=UnfoldAdminSelectWidget
    )
    allow_repeats = forms.BooleanField(
        label=_("An address may receive several messages"),
        required=False,
        help_text=_(
            "Without this, of rows with the same address only the first is sent. Rows that are equal in everything are"
            " sent once in any case."
        ),
        widget=UnfoldBooleanWidget,
    )
    allow_empty = forms.BooleanField(
        label=_("Variables may be empty"),
        required=False,
        help_text=_(
            "Without this, a row in which a variable of the template is empty is not sent. With it, the message leaves"
            " with a gap there."
        ),
        widget=UnfoldBooleanWidget,
    )

    def __init__(self, preparation: Preparation, needed: list[str], data: Any = None) -> None:
        super().__init__(data, initial=_file_step(preparation, needed))
        self._preparation, self._needed = preparation, needed
        understood = preparation.understood
        if understood.get("format", "csv") != "csv":
            del self.fields["encoding"], self.fields["delimiter"]
        else:
            self._choices("encoding", dict(ENCODINGS), understood.get("encoding", ""))
            self._choices("delimiter", dict(words.DELIMITERS), understood.get("delimiter", ""))
        columns = {name: name for name in preparation.header}
        if columns:
            self._choices("address_column", columns, understood.get("address_column", ""))
        else:
            del self.fields["address_column"]
        for number, variable in enumerate(needed if columns else []):
            self.fields[f"column_{number}"] = forms.ChoiceField(
                label=variable,
                required=False,
                choices=[("", _("— choose the column —")), *columns.items()],
                widget=UnfoldAdminSelectWidget,
            )

    def _choices(self, name: str, choices: dict[str, Any], understood: str) -> None:
        """The first, as it is understood, is no correction."""
        said = choices.get(understood, understood)
        corrected = bool(getattr(self._preparation, name))
        first = _("as the file says") if corrected or not said else _("%(what)s, as understood") % {"what": said}
        self.fields[name].choices = [("", first), *choices.items()]  # type: ignore[attr-defined]

    @property
    def understood_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in ("encoding", "delimiter", "address_column") if name in self.fields]

    @property
    def variable_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name.startswith("column_")]

    @property
    def option_fields(self) -> list[forms.BoundField]:
        return [self["allow_repeats"], self["allow_empty"]]

    def saved(self) -> dict[str, Any]:
        """The fields of a preparation. What this page did not ask stays as it is."""
        filled = self.cleaned_data
        found: dict[str, Any] = {
            name: filled[name]
            for name in ("encoding", "delimiter", "address_column", "allow_repeats", "allow_empty")
            if name in filled
        }
        if self.variable_fields:
            chosen = {variable: filled[f"column_{number}"] for number, variable in enumerate(self._needed)}
            found["variable_map"] = {variable: column for variable, column in chosen.items() if column}
        return found


def _file_step(preparation: Preparation, needed: list[str]) -> dict[str, Any]:
    chosen = {f"column_{number}": preparation.variable_map.get(variable, "") for number, variable in enumerate(needed)}
    return chosen | {
        name: getattr(preparation, name)
        for name in ("encoding", "delimiter", "address_column", "allow_repeats", "allow_empty")
    }
