"""What the environment may say, typed; every wrong value is named at once, then what is missing, and nothing starts.

Names and defaults are those of the deployment guide. `.env` beside manage.py is read too (a real environment
variable wins), or the file that `ENV_FILE` names; an empty `ENV_FILE` reads none.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import holidays
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

BASE_DIR = Path(__file__).resolve().parent.parent
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
SHORTEST_LAST_LOOK = 300

CommaSeparated = Annotated[list[str], NoDecode]


class EnvironmentProblem(Exception):
    """The environment is wrong or incomplete; the text lists every variable and what to do."""


class Environment(BaseSettings):
    model_config = SettingsConfigDict(env_file_encoding="utf-8", extra="ignore", env_ignore_empty=True)

    debug: bool = False
    secret_key: SecretStr = SecretStr("")
    allowed_hosts: CommaSeparated = []
    csrf_trusted_origins: CommaSeparated = []
    insecure_http: bool = False
    time_zone: str = "America/Guayaquil"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"

    use_sqlite: bool = True
    sqlite_path: Path = Path("db.sqlite3")
    db_host: str = "127.0.0.1"
    db_port: int = Field(default=5432, ge=1, le=65535)
    db_name: str = ""
    db_user: str = ""
    db_password: SecretStr = SecretStr("")
    attachments_root: Path = Path("attachments")

    analytics_db_host: str = "127.0.0.1"
    analytics_db_port: int = Field(default=5432, ge=1, le=65535)
    analytics_db_name: str = ""
    analytics_db_user: str = ""
    analytics_db_password: SecretStr = SecretStr("")
    analytics_db_sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"

    doppler_relay_api_key: SecretStr = SecretStr("")
    doppler_relay_account_id: str = ""
    doppler_relay_from_email: str = ""
    doppler_relay_from_name: str = ""
    doppler_relay_base_url: str = "https://api.dopplerrelay.com/"
    doppler_relay_auth_scheme: str = "Bearer"

    relay_max_connections: int = Field(default=25, ge=1, le=1000)
    relay_max_connections_total: int | None = Field(default=None, ge=1, le=100_000)
    relay_max_rate: float | None = Field(default=None, gt=0, le=1_000_000)
    relay_timeout_seconds: float = Field(default=30, gt=0, le=600)
    relay_lease_seconds: float = Field(default=60, gt=0, le=3600)
    relay_settlement_looks: Annotated[tuple[float, ...], NoDecode] = (120, 600, 1800)
    relay_stop_loss: float = Field(default=0.5, ge=0, le=1)
    relay_holidays_country: str = ""

    bulk_scheduler_enabled: bool = True
    bulk_scheduler_interval_min: int = Field(default=2, ge=1, le=1440)
    bulk_max_upload_mb: int = Field(default=200, ge=1, le=100_000)
    bulk_missed_after_min: int = Field(default=60, ge=1, le=100_000)
    bulk_confirm_above: int = Field(default=1000, ge=0)
    bulk_approval_above: int | None = Field(default=None, ge=0, le=1_000_000_000)

    doppler_reports_timeout: float = Field(default=30, gt=0, le=600)
    doppler_reports_poll_initial_delay: float = Field(default=5, ge=0, le=3600)
    doppler_reports_poll_max_delay: float = Field(default=15, ge=0, le=3600)
    doppler_reports_poll_total_timeout: float = Field(default=900, gt=0, le=604_800)
    doppler_reports_file_hosts: CommaSeparated = ["files.dopplerrelay.com"]
    doppler_reports_csv_timezone: str = "UTC"
    reports_max_reject_share: float = Field(default=0.05, ge=0, le=1)
    reports_max_file_mb: int = Field(default=2048, ge=1, le=1_000_000)
    reports_auto_after_min: int = Field(default=15, ge=0, le=100_000)
    reports_auto_days: int = Field(default=3, ge=0, le=90)
    reports_auto_enabled: bool = True
    reports_timer_enabled: bool = True
    reports_timer_interval: int = Field(default=15, ge=1, le=1440)
    reports_timer_lock_path: Path = Path("tmp/timer.lock")

    tasks_engine: Literal["", "db", "procrastinate"] = ""

    @field_validator("allowed_hosts", "csrf_trusted_origins", "doppler_reports_file_hosts", mode="before")
    @classmethod
    def split_commas(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("relay_settlement_looks", mode="before")
    @classmethod
    def ascending_seconds(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            looks = tuple(float(part) for part in value.split(","))
        except ValueError:
            looks = ()
        if not looks or list(looks) != sorted(set(looks)) or not 0 < looks[0] <= looks[-1] <= 604_800:
            raise ValueError("must be ascending seconds such as 120,600,1800")
        return looks

    @field_validator("relay_holidays_country")
    @classmethod
    def known_country(cls, value: str) -> str:
        """Empty, a country (`EC`) or a country and one of its parts (`AR-B`), as the library `holidays` names them."""
        country, _, part = value.upper().partition("-")
        known = holidays.list_supported_countries()
        if value and (country not in known or (part and part not in known[country])):
            raise ValueError("must be the code of a country (EC) or of a part of one (AR-B)")
        return value.upper()

    @field_validator("log_level", mode="before")
    @classmethod
    def upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("sqlite_path", "attachments_root", "reports_timer_lock_path")
    @classmethod
    def from_project(cls, value: Path) -> Path:
        return BASE_DIR / value

    @field_validator("doppler_reports_file_hosts")
    @classmethod
    def only_hosts(cls, value: list[str]) -> list[str]:
        hosts = [host.lower() for host in value]
        if not all(re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host) for host in hosts):
            raise ValueError("must be names of hosts, comma-separated, without scheme, port or path")
        return hosts

    @field_validator("time_zone", "doppler_reports_csv_timezone")
    @classmethod
    def known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError("must be a time zone such as America/Guayaquil") from error
        return value

    @field_validator("doppler_relay_auth_scheme")
    @classmethod
    def known_scheme(cls, value: str) -> str:
        canonical = {"bearer": "Bearer", "token": "token"}.get(value.lower())
        if canonical is None:
            raise ValueError("must be Bearer or token")
        return canonical

    @field_validator("doppler_relay_api_key")
    @classmethod
    def printable_key(cls, value: SecretStr) -> SecretStr:
        if not all("!" <= character <= "~" for character in value.get_secret_value()):
            raise ValueError("must be letters, digits and signs without blanks: copy it again")
        return value

    @field_validator("doppler_relay_account_id")
    @classmethod
    def one_segment(cls, value: str) -> str:
        if value in {".", ".."}:
            raise ValueError("must be the name or the number of the account")
        return value

    @field_validator("doppler_relay_from_email")
    @classmethod
    def an_address(cls, value: str) -> str:
        if value and ("@" not in value.strip("@") or " " in value or len(value) > 254):
            raise ValueError("must be one e-mail address")
        return value

    @field_validator("doppler_relay_base_url")
    @classmethod
    def safe_base_url(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            complete = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
            complete = complete and not (parts.username or parts.password or parts.query or parts.fragment)
        except ValueError:
            complete = False
        if not complete:
            raise ValueError("must be a complete URL such as https://api.dopplerrelay.com/")
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise ValueError("must be https: the API key would travel in the clear (http is for this machine only)")
        return value

    @model_validator(mode="after")
    def complete(self) -> Self:
        missing = []
        if not self.debug and not self.secret_key.get_secret_value():
            missing.append("SECRET_KEY (any long random text; or DEBUG=True for development)")
        if not self.use_sqlite:
            missing += [name.upper() for name in ("db_name", "db_user") if not getattr(self, name)]
        if self.analytics_db_name and not self.analytics_db_user:
            missing.append("ANALYTICS_DB_USER (or ANALYTICS_DB_NAME unset: no second database)")
        if missing:
            raise ValueError("these must be set: " + ", ".join(missing))
        if self.use_sqlite and self.tasks_engine == "procrastinate":
            raise ValueError("TASKS_ENGINE=procrastinate needs PostgreSQL (USE_SQLITE=0)")
        if self.relay_settlement_looks[-1] < SHORTEST_LAST_LOOK and not self._relay_is_here():
            raise ValueError(
                f"RELAY_SETTLEMENT_LOOKS must end with {SHORTEST_LAST_LOOK} seconds or more: an overloaded relay"
                " accepts messages minutes late, and what is called absent too early is sent twice"
            )
        if self.relay_lease_seconds <= self.relay_timeout_seconds:
            raise ValueError(
                "RELAY_LEASE_SECONDS must be greater than RELAY_TIMEOUT_SECONDS: a call must end within its lease"
            )
        return self

    def _relay_is_here(self) -> bool:
        """A sandbox."""
        return urlsplit(self.doppler_relay_base_url).hostname in LOOPBACK


def read_environment() -> Environment:
    """Reads environment and `.env`. Raises EnvironmentProblem with one line for each wrong variable."""
    env_file = os.environ.get("ENV_FILE", str(BASE_DIR / ".env"))
    if os.environ.get("ENV_FILE") and not Path(env_file).is_file():
        raise EnvironmentProblem(f"ENV_FILE names {env_file}, which is not a file that can be read.")
    try:
        return Environment(_env_file=env_file or None)  # type: ignore[call-arg]
    except UnicodeDecodeError:
        raise EnvironmentProblem(f"{env_file} is not UTF-8: save it as UTF-8.") from None
    except PermissionError:
        raise EnvironmentProblem(f"{env_file} may not be read by this user.") from None
    except ValidationError as error:
        # Only the name and the rule are shown, never the value: it may be a key.
        lines = [
            f"  {'.'.join(str(part) for part in item['loc']).upper() or 'environment'}: "
            f"{item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_input=False, include_url=False)
        ]
        raise EnvironmentProblem("The environment (or .env) is not right:\n" + "\n".join(lines)) from None
