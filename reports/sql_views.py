"""The views that people query, in every database that reports are loaded into: `report_daily`, `report_events`,
`report_recipients`. Their columns are promised (docs/howto/consultas.md): new ones may come, none goes.

A migration that changes `reports_deliveries` takes them down before and puts them up after: SQLite makes a changed
table anew, and PostgreSQL changes no column that a view reads.
"""

from django.db.backends.base.base import BaseDatabaseWrapper

# What the relay's words mean in the words of the console. The file has no type of bounce (the API has): `rejected` and
# `invalid` are final when a report is made some 36 hours after the sending, so they are the hard ones; soft is what the
# relay still tries again. A soft bounce that it has given up is told as `rejected`, and counts as hard from then on.
HARD = "('rejected', 'invalid')"
SOFT = "('retrying')"
KNOWN = "('sent', 'rejected', 'invalid', 'retrying', 'dropped', 'queued')"


def _times(condition: str) -> str:
    return f"sum(CASE WHEN {condition} THEN 1 ELSE 0 END)"


_DAILY = f"""
SELECT local_day, sender, count(*) AS total,
       {_times("status = 'sent'")} AS sent,
       {_times(f"status IN {HARD}")} AS hard_bounces,
       {_times(f"status IN {SOFT}")} AS soft_bounces,
       {_times("status = 'dropped'")} AS dropped,
       {_times("status = 'queued'")} AS queued,
       {_times(f"status NOT IN {KNOWN}")} AS other,
       sum(opens) AS opens, {_times("opens > 0")} AS unique_opens,
       sum(clicks) AS clicks, {_times("clicks > 0")} AS unique_clicks
  FROM reports_deliveries
 GROUP BY local_day, sender
"""  # noqa: S608


def _event(name: str, condition: str, times: str = "1") -> str:
    return f"""
SELECT '{name}' AS event, id AS delivery_id, sent_at, local_day, sender, recipient, subject, status,
       CASE WHEN status IN {HARD} THEN 'hard' WHEN status IN {SOFT} THEN 'soft' END AS bounce, {times} AS times
  FROM reports_deliveries WHERE {condition}
"""  # noqa: S608


_EVENTS = " UNION ALL ".join(
    [
        _event("deliveries", "1 = 1"),
        _event("sent", "status = 'sent'"),
        _event("bounces", f"status IN {HARD} OR status IN {SOFT}"),
        _event("opens", "opens > 0", "opens"),
        _event("clicks", "clicks > 0", "clicks"),
        # The eight columns tell of neither; the names exist, so that a question has an answer and not an error.
        _event("spam", "1 = 0"),
        _event("unsubscribed", "1 = 0"),
    ]
)
_OF_RECIPIENT = "PARTITION BY recipient"
_RECIPIENTS = f"""
SELECT recipient, status, CASE WHEN status IN {HARD} THEN 'hard' WHEN status IN {SOFT} THEN 'soft' END AS bounce,
       sent_at AS last_sent_at, local_day AS last_day, sender AS last_sender, subject AS last_subject,
       first_sent_at, deliveries, sent, hard_bounces, opens, clicks
  FROM (SELECT recipient, status, sent_at, local_day, sender, subject,
               row_number() OVER ({_OF_RECIPIENT} ORDER BY sent_at DESC, ordinal, key DESC) AS place,
               min(sent_at) OVER ({_OF_RECIPIENT}) AS first_sent_at,
               count(*) OVER ({_OF_RECIPIENT}) AS deliveries,
               {_times("status = 'sent'")} OVER ({_OF_RECIPIENT}) AS sent,
               {_times(f"status IN {HARD}")} OVER ({_OF_RECIPIENT}) AS hard_bounces,
               sum(opens) OVER ({_OF_RECIPIENT}) AS opens,
               sum(clicks) OVER ({_OF_RECIPIENT}) AS clicks
          FROM reports_deliveries) AS told
 WHERE place = 1
"""  # noqa: S608

VIEWS = {
    "report_daily": (
        _DAILY,
        "Deliveries of a local day (TIME_ZONE of the installation) and sender, counted by their last known state."
        " hard_bounces: rejected and invalid. soft_bounces: retrying, which the relay still tries again; one that it"
        " gives up becomes rejected. other: words we do not know. unique_opens, unique_clicks: deliveries with any.",
    ),
    "report_events": (
        _EVENTS,
        "A row for each delivery and each of the seven names that applies to it: deliveries, sent, bounces (bounce says"
        " hard or soft, as in report_daily), opens and clicks (times says how many). spam and unsubscribed are always"
        " empty: the columns of the relay''s reports do not tell.",
    ),
    "report_recipients": (
        _RECIPIENTS,
        "Each address with the state of the last delivery to it (of several in one second, the one that got farthest)"
        " and what is known of all.",
    ),
}


def put_up(connection: BaseDatabaseWrapper) -> None:
    take_down(connection)
    with connection.cursor() as cursor:
        for name, (sql, comment) in VIEWS.items():
            cursor.execute(f"CREATE VIEW {name} AS {sql}")
            if connection.vendor == "postgresql":
                cursor.execute(f"COMMENT ON VIEW {name} IS '{comment}'")


def take_down(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        for name in VIEWS:
            cursor.execute(f"DROP VIEW IF EXISTS {name}")
