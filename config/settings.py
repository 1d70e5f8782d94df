"""Django settings. Everything that differs between installations comes from `config.environment`."""

from typing import Any

from django.core.management.utils import get_random_secret_key
from django.utils.translation import gettext_lazy as _

from config import csp
from config.databases import postgresql
from config.environment import BASE_DIR, read_environment
from config.logs import logging_settings
from config.unfold import LOGIN_REDIRECT_URL, UNFOLD  # noqa: F401  (settings, as Django and Unfold read them)

env = read_environment()

DEBUG = env.debug
# Without a key (allowed with DEBUG only) each start gets its own, so sessions end with the process.
SECRET_KEY = env.secret_key.get_secret_value() or get_random_secret_key()
ALLOWED_HOSTS = env.allowed_hosts or ["localhost", "127.0.0.1", "[::1]"]
CSRF_TRUSTED_ORIGINS = env.csrf_trusted_origins

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_tasks_db",
    *([] if env.use_sqlite else ["procrastinate.contrib.django"]),
    "task_engines",
    "relay",
    "reports",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "config.csp.page_policy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "relay.middleware.ActingPerson",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # Before those of the applications: ours that stand in the place of Unfold's.
        "DIRS": [BASE_DIR / "config" / "templates"],
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.cached.Loader",
                    ["django.template.loaders.filesystem.Loader", "config.csp.Loader"],
                )
            ],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.csp",
            ],
        },
    },
]

DATABASES: dict[str, dict[str, Any]]
if env.use_sqlite:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": env.sqlite_path,
            "OPTIONS": {
                # Writers queue at BEGIN instead of failing at the first write; readers never wait (WAL).
                "transaction_mode": "IMMEDIATE",
                # An import of a million rows is one transaction of some twenty seconds: others wait it out.
                "timeout": 60,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
            },
        }
    }
else:
    DATABASES = {
        "default": postgresql(
            HOST=env.db_host,
            PORT=env.db_port,
            NAME=env.db_name,
            USER=env.db_user,
            PASSWORD=env.db_password.get_secret_value(),
        )
    }
if env.analytics_db_name:
    DATABASES["analytics"] = postgresql(
        HOST=env.analytics_db_host,
        PORT=env.analytics_db_port,
        NAME=env.analytics_db_name,
        USER=env.analytics_db_user,
        PASSWORD=env.analytics_db_password.get_secret_value(),
    )
    DATABASES["analytics"]["OPTIONS"]["sslmode"] = env.analytics_db_sslmode
DATABASE_ROUTERS = ["reports.routers.AnalyticsRouter"]

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
] + [{"NAME": "relay.logins.RecordedPassword"}]

# Of everybody, whatever their browser prefers: the labels are those of the guide. Contributors set it to "en".
LANGUAGE_CODE = "es"
LANGUAGES = [("es", _("Spanish")), ("en", _("English"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = env.time_zone
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_AUTOREFRESH = DEBUG
MEDIA_ROOT = env.attachments_root
FILE_UPLOAD_PERMISSIONS = 0o640
# Of a form without its files. A template may have 2 MB; one that has somewhat more is to get a sentence, not a 400.
DATA_UPLOAD_MAX_MEMORY_SIZE = 10_000_000

SECURE_CSP = csp.NOTHING
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 12 * 60 * 60

_tls = not DEBUG and not env.insecure_http
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = _tls
SESSION_COOKIE_SECURE = _tls
CSRF_COOKIE_SECURE = _tls
SECURE_HSTS_SECONDS = 31_536_000 if _tls else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = _tls
SECURE_HSTS_PRELOAD = _tls

LOGGING_CONFIG = None
logging_settings(level=env.log_level, json=not DEBUG)

# What the product itself reads. Names as in the deployment guide.
ATTACHMENTS_ROOT = env.attachments_root
DOPPLER_RELAY_API_KEY = env.doppler_relay_api_key.get_secret_value()
DOPPLER_RELAY_ACCOUNT_ID = env.doppler_relay_account_id
DOPPLER_RELAY_FROM_EMAIL = env.doppler_relay_from_email
DOPPLER_RELAY_FROM_NAME = env.doppler_relay_from_name
DOPPLER_RELAY_BASE_URL = env.doppler_relay_base_url
DOPPLER_RELAY_AUTH_SCHEME = env.doppler_relay_auth_scheme
RELAY_MAX_CONNECTIONS = env.relay_max_connections
RELAY_TIMEOUT_SECONDS = env.relay_timeout_seconds
RELAY_LEASE_SECONDS = env.relay_lease_seconds
RELAY_MAX_CONNECTIONS_TOTAL = env.relay_max_connections_total
RELAY_MAX_RATE = env.relay_max_rate
RELAY_SETTLEMENT_LOOKS = env.relay_settlement_looks
RELAY_STOP_LOSS = env.relay_stop_loss
RELAY_HOLIDAYS_COUNTRY = env.relay_holidays_country
BULK_SCHEDULER_ENABLED = env.bulk_scheduler_enabled
BULK_SCHEDULER_INTERVAL_MIN = env.bulk_scheduler_interval_min
BULK_MAX_UPLOAD_MB = env.bulk_max_upload_mb
BULK_MISSED_AFTER_MIN = env.bulk_missed_after_min
BULK_CONFIRM_ABOVE = env.bulk_confirm_above
BULK_APPROVAL_ABOVE = env.bulk_approval_above
DOPPLER_REPORTS_TIMEOUT = env.doppler_reports_timeout
DOPPLER_REPORTS_POLL_INITIAL_DELAY = env.doppler_reports_poll_initial_delay
DOPPLER_REPORTS_POLL_MAX_DELAY = env.doppler_reports_poll_max_delay
DOPPLER_REPORTS_POLL_TOTAL_TIMEOUT = env.doppler_reports_poll_total_timeout
DOPPLER_REPORTS_FILE_HOSTS = env.doppler_reports_file_hosts
DOPPLER_REPORTS_CSV_TIMEZONE = env.doppler_reports_csv_timezone
REPORTS_MAX_REJECT_SHARE = env.reports_max_reject_share
REPORTS_MAX_FILE_MB = env.reports_max_file_mb
REPORTS_AUTO_ENABLED = env.reports_auto_enabled
REPORTS_AUTO_AFTER_MIN = env.reports_auto_after_min
REPORTS_AUTO_DAYS = env.reports_auto_days
REPORTS_TIMER_ENABLED = env.reports_timer_enabled
REPORTS_TIMER_INTERVAL = env.reports_timer_interval
REPORTS_TIMER_LOCK_PATH = env.reports_timer_lock_path
TASKS_ENGINE = env.tasks_engine or ("db" if env.use_sqlite else "procrastinate")
TASKS = {
    "default": {
        "BACKEND": {
            "db": "task_engines.embedded.EmbeddedBackend",
            "procrastinate": "task_engines.distributed.ProcrastinateBackend",
        }[TASKS_ENGINE],
        # Each has a process of its own in `manage.py worker`: a long import delays no send.
        "QUEUES": ["sending", "settlement", "imports", "reports"],
    }
}
PROCRASTINATE_ON_APP_READY = "task_engines.distributed.register"
PROCRASTINATE_AUTODISCOVER_MODULE_NAME = ""
INSECURE_HTTP = env.insecure_http
LOG_LEVEL = env.log_level
