"""Is this text an e-mail address, and in which form does it leave?

A million rows are judged in seconds: one regular expression accepts the ordinary addresses, those for which
email-validator's verdict and normal form are certain, and everything else goes to email-validator itself.

Normal form (what is stored, sent and shown): the name part as written, the domain in lower case, an
international domain as punycode. Two addresses are the same person when their `comparison_key` is equal.
"""

import enum
import re

from django.utils.translation import gettext_lazy as _
from email_validator import EmailNotValidError, validate_email
from email_validator.rfc_constants import CASE_INSENSITIVE_MAILBOX_NAMES

LONGEST = 254  # octets, RFC 5321; email-validator refuses more, and is quadratic in places, so ask first

# A strict subset of what email-validator accepts: at most 64 characters (so no length rule can bite), no doubled
# hyphen (punycode and R-LDH labels), an alphabetic last label that is not a special-use name. Without that last rule
# half of the fast verdicts of a fuzzed corpus were wrong; with it, none was.
_ORDINARY = re.compile(
    r"(?=.{6,64}\Z)"
    r"[A-Za-z0-9_+\-]+(?:\.[A-Za-z0-9_+\-]+)*"
    r"@(?:[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*\.)+"
    r"(?!(?i:arpa|invalid|local|localhost|onion|test)\Z)[A-Za-z]+"
).fullmatch

# `INFO@…` and the other mailbox names of RFC 2142 are one mailbox in any case; email-validator lowers them.
_CASELESS_NAMES = frozenset(CASE_INSENSITIVE_MAILBOX_NAMES)

# Blanks of every kind, and what spreadsheets and chat programs leave around a copied address and nobody sees:
# byte order marks, zero-width characters, soft hyphens, direction marks.
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
_AROUND = _INVISIBLE + "".join(character for character in map(chr, range(0x3001)) if character.isspace())

_SEPARATORS = re.compile(r"[;,|/\s]+")
_NAME_PART = re.compile(r"[A-Za-z0-9_!#$%&'*+\-/=?^`{|}~]+(?:\.[A-Za-z0-9_!#$%&'*+\-/=?^`{|}~]+)*").fullmatch


class AddressProblem(enum.Enum):
    """Why a text is not an address that can be written to. The value is the stable code."""

    EMPTY = "empty"
    NO_AT_SIGN = "no_at_sign"
    SEVERAL_ADDRESSES = "several_addresses"
    NON_ASCII_NAME = "non_ascii_name"
    NAME_AND_ADDRESS = "name_and_address"
    BAD_DOMAIN = "bad_domain"
    TOO_LONG = "too_long"
    INVALID = "invalid"

    @property
    def code(self) -> str:
        return str(self.value)

    @property
    def sentence(self) -> str:
        """For a person, in the active language. Never holds the address."""
        return str(_SENTENCES[self])


_SENTENCES = {
    AddressProblem.EMPTY: _("The address is empty."),
    AddressProblem.NO_AT_SIGN: _("The address has no @."),
    AddressProblem.SEVERAL_ADDRESSES: _("The cell holds several addresses: write one row for each."),
    AddressProblem.NON_ASCII_NAME: _(
        "The part before the @ has accents or other characters that the relay cannot send to."
    ),
    AddressProblem.NAME_AND_ADDRESS: _("The cell holds a name next to the address: leave the address alone."),
    AddressProblem.BAD_DOMAIN: _("The part after the @ is not a domain that can receive mail."),
    AddressProblem.TOO_LONG: _("The address is longer than 254 characters."),
    AddressProblem.INVALID: _("The part before the @ is not valid."),
}


def check_address(text: str) -> str | AddressProblem:
    """The normal form of the address in `text`, or why there is none. Blanks around it do not count."""
    if _ORDINARY(text):
        return text if text.islower() else _lowered(text)
    trimmed = trim(text)
    if trimmed != text and _ORDINARY(trimmed):
        return trimmed if trimmed.islower() else _lowered(trimmed)
    return _obvious_problem(trimmed) or _asked(trimmed)


def comparison_key(address: str) -> str:
    """Two normal forms with the same key are the same recipient."""
    return address.lower()


def trim(text: str) -> str:
    """Without the blanks and the invisible characters around it."""
    return text.strip(_AROUND)


def _lowered(address: str) -> str:
    name, _at, domain = address.partition("@")
    if name.lower() in _CASELESS_NAMES:
        name = name.lower()
    return f"{name}@{domain.lower()}"


def _obvious_problem(text: str) -> AddressProblem | None:
    if not text:
        return AddressProblem.EMPTY
    if "@" not in text:
        return AddressProblem.NO_AT_SIGN
    if text.count("@") > 1 and sum("@" in part for part in _SEPARATORS.split(text)) > 1:
        return AddressProblem.SEVERAL_ADDRESSES
    return AddressProblem.TOO_LONG if len(text) > LONGEST else None


def _asked(text: str) -> str | AddressProblem:
    """email-validator's verdict. It costs about 50 µs, so only the rare and the doubtful come here."""
    try:
        verdict = validate_email(text, check_deliverability=False)
    except EmailNotValidError:
        if text.endswith(">"):
            return AddressProblem.NAME_AND_ADDRESS
        name = text.rpartition("@")[0]
        return AddressProblem.BAD_DOMAIN if _NAME_PART(name) else AddressProblem.INVALID
    # Without SMTPUTF8, which the relay is not known to speak, an accent before the @ cannot be sent.
    return verdict.ascii_email or AddressProblem.NON_ASCII_NAME


def likely_slip(domain: str) -> str | None:
    """The domain that was probably meant, or None. `domain` in normal form; only ever a warning."""
    return _SLIPS.get(domain)


# Slips of the domains that most people in Latin America write to. A misspelling may well be registered (most are, by
# people who live on them; gmail.co is one), which is why this is a warning and not a refusal. Domains at which people
# really have mailboxes (hotmail.es, yahoo.com.ar, outlook.cl, ymail.com, gmx.com, mail.com) must never appear as keys.
_MEANT = {
    "gmail.com": (
        "gmial.com gmai.com gmal.com gmil.com gmaill.com gmaii.com gmali.com gamil.com gmaul.com gmsil.com gmqil.com"
        " gnail.com gemail.com ggmail.com gmmail.com gmeil.com gimail.com gmail.con gmail.cm gmail.om gmail.co"
        " gmail.comm gmail.cpm gmail.vom gmail.xom gmail.coom gmail.cim gmail.ocm gmail.com.com gmail.com.mx"
        " gmail.com.ec gmail.com.ar gmail.com.co gmail.com.pe gmail.es gmail.net hmail.com fmail.com gmailcom.com"
    ),
    "hotmail.com": (
        "hotmial.com hotmal.com hotmai.com hotmil.com hotmaill.com hotmali.com hotamil.com hotnail.com hormail.com"
        " hotmeil.com homail.com htomail.com hitmail.com hotmsil.com hoymail.com otmail.com jotmail.com hotmail.con"
        " hotmail.cm hotmail.om hotmail.co hotmail.comm hotmail.cpm hotmail.vom hotmail.xom hotmail.com.com"
        " hotmail.coom hotmail.ocm"
    ),
    "outlook.com": (
        "outlok.com outloook.com outlokk.com otlook.com outook.com outlool.com oulook.com outllok.com outlock.com"
        " autlook.com outluk.com outlook.con outlook.cm outlook.om outlook.co outlook.comm outlook.cpm outlook.vom"
    ),
    "yahoo.com": (
        "yaho.com yahooo.com yhoo.com yaoo.com yhaoo.com yahho.com yajoo.com yahoo.con yahoo.cm yahoo.om yahoo.co"
        " yahoo.comm yahoo.cpm yahoo.vom uahoo.com tahoo.com"
    ),
    "yahoo.es": "yaho.es yahooo.es yhoo.es",
    "hotmail.es": "hotmial.es hotmal.es hotmai.es hotnail.es",
    "icloud.com": "icloud.con icloud.cm icloud.om icloud.co iclou.com icoud.com iclud.com icluod.com icloud.comm",
    "live.com": "live.con live.cm live.om live.comm",
    "msn.com": "msn.con msn.cm msn.comm",
}
_SLIPS = {slip: meant for meant, slips in _MEANT.items() for slip in slips.split()}
