"""Who may know whom: imports point one way, and what only one module may do, no other does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = [
    name
    for name in ("config", "relay", "relay_client", "relay_sandbox", "reports", "task_engines")
    if (ROOT / name).is_dir()
]
OURS = {
    "config",
    "relay",
    "relay_client",
    "relay_sandbox",
    "reports",
    "task_engines",
    "tests",
    "demo",
    "bench",
    "tools",
}
PURE = ("addresses", "recipients", "rendering", "pacing", "matching", "windows", "wall_clocks", "forecasting")


def modules(package: str) -> list[Path]:
    """The product's modules of a package; migrations are history and may know what they like."""
    return sorted(path for path in (ROOT / package).rglob("*.py") if "migrations" not in path.parts)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), named(path))


def imported(tree: ast.Module, path: Path) -> Iterator[str]:
    """Full names of everything imported anywhere in a module; `from x import y` counts as `x.y`."""
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            inside = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*inside, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("import_module", "importlib.import_module"):
            yield ast.literal_eval(node.args[0]) if isinstance(node.args[0], ast.Constant) else "?"


def imports(path: Path) -> set[str]:
    return set(imported(tree_of(path), path))


def under(names: set[str], *prefixes: str) -> set[str]:
    return {name for name in names if name.startswith(tuple(f"{prefix}." for prefix in prefixes)) or name in prefixes}


def each(*packages: str) -> list:
    return [pytest.param(path, id=named(path)) for package in packages for path in modules(package)]


# --- Imports point one way


@pytest.mark.parametrize("path", each("relay_client", "relay_sandbox"))
def test_client_and_sandbox_know_neither_django_nor_anything_else_of_ours(path):
    others = OURS - {path.relative_to(ROOT).parts[0]}
    assert under(imports(path), "django", *others) == set()


@pytest.mark.parametrize("path", each("relay"))
def test_relay_knows_of_ours_only_itself_and_the_client(path):
    assert under(imports(path), *OURS - {"relay", "relay_client", "task_engines"}) == set()


@pytest.mark.parametrize("path", each("relay"))
def test_relay_uses_what_the_client_gives_away_and_nothing_inside_it(path):
    assert {name for name in under(imports(path), "relay_client") if name.count(".") > 1} == set()


@pytest.mark.parametrize(
    "path", [case for case in each("config") if not case.id.endswith(("settings.py", "unfold.py"))]
)
def test_configuration_knows_no_application(path):
    assert under(imports(path), *OURS - {"config"}) == set()


@pytest.mark.parametrize("name", [*(f"relay/{name}" for name in PURE), "reports/columns"])
def test_a_pure_module_knows_nothing_of_django_but_translation(name):
    """Nor of any module that does: settings, models and the database are out of its reach."""
    for reached in reachable(ROOT / f"{name}.py"):
        django = under(imports(reached), "django")
        assert {found for found in django if not found.startswith("django.utils.translation.")} == set(), named(reached)


def reachable(path: Path) -> set[Path]:
    """The module and all of ours that it imports, directly or not."""
    found, waiting = set(), [path]
    while waiting:
        here = waiting.pop()
        if here in found:
            continue
        found.add(here)
        for name in under(imports(here), *OURS):
            parts = name.split(".")
            for length in (len(parts), len(parts) - 1):
                module = ROOT.joinpath(*parts[:length])
                for candidate in (module.with_suffix(".py"), module / "__init__.py"):
                    if candidate.is_file():
                        waiting.append(candidate)
    return found


EDGES = ("relay.admin", "relay.management", "relay.views", "relay.forms", "relay.urls", "relay.tasks")


@pytest.mark.parametrize("path", [case for case in each("relay") if "/admin/" not in case.id])
def test_what_does_the_work_knows_none_of_its_callers(path):
    # The command `worker` runs the jobs; nothing that they call knows of them.
    callers = set(EDGES) - ({"relay.management", "relay.tasks"} if "management" in path.parts else set())
    assert under(imports(path), *callers) == set()


MODELS = [*modules("relay/models"), ROOT / "reports" / "models.py"]


@pytest.mark.parametrize("path", MODELS, ids=named)
def test_models_know_no_verbs(path):
    """`reasons`, `addresses`, `explained`, `file_problems` and `problems` are pure: they know nothing of models."""
    known = under(imports(path), "relay", "reports")
    pure = (
        "relay.models",
        "relay.reasons",
        "relay.addresses",
        "relay.explained",
        "relay.file_problems",
        "reports.problems",
    )
    assert {name for name in known if not name.startswith(pure)} == set()


# --- One module knows it


@pytest.mark.parametrize("path", each(*(name for name in PACKAGES if name not in ("relay_client", "relay_sandbox"))))
def test_only_the_client_and_the_sandbox_know_the_http_library(path):
    assert under(imports(path), "aiohttp", "yarl", "multidict", "requests", "httpx", "urllib3", "http.client") == set()
    assert under(imports(path), "urllib.request") == set()


def test_the_client_does_know_it():
    """Or the test above could not fail."""
    assert under(imports(ROOT / "relay_client" / "client.py"), "aiohttp")


# --- One module writes it

WRITING = re.compile(
    r"(UPDATE|INSERT\s+INTO|DELETE\s+FROM|COPY|MERGE\s+INTO|TRUNCATE)\s+(?:ONLY\s+)?\"?relay_(recipient|attempt)\b",
    re.I,
)
WRITERS = {"update", "aupdate", "create", "acreate", "update_or_create", "get_or_create", "Recipient"}


def sql_writes(path: Path) -> set[tuple[str, str]]:
    texts = [node.value for node in ast.walk(tree_of(path)) if isinstance(node, ast.Constant)]
    found = [WRITING.findall(text) for text in texts if isinstance(text, str)]
    return {(" ".join(verb.upper().split()), table.lower()) for matches in found for verb, table in matches}


def state_writes(path: Path) -> set[str]:
    """Places that assign `state`: an attribute, or a keyword of what writes rows."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {ast.unparse(target) for target in targets if isinstance(target, ast.Attribute)}
        elif isinstance(node, ast.Call):
            function = ast.unparse(node.func).rpartition(".")[2]
            if function in WRITERS and "state" in {keyword.arg for keyword in node.keywords}:
                found.add(f"{function}.state")
            elif function == "bulk_update" and "'state'" in ast.unparse(node):
                found.add("bulk_update.state")
    return {place for place in found if place.endswith(".state")}


ALLOWED_SQL = {
    "relay/ledger.py": {("UPDATE", "recipient"), ("INSERT INTO", "attempt")},
    # Drafts of which nothing can have left are deleted: decision 0012.
    "relay/whole_sends.py": {("UPDATE", "recipient"), ("DELETE FROM", "recipient")},
    "relay/verdicts.py": {("UPDATE", "recipient")},
    "relay/importing.py": {("COPY", "recipient"), ("INSERT INTO", "recipient")},
}


@pytest.mark.parametrize("path", each(*PACKAGES))
def test_only_three_modules_write_states_and_only_an_import_adds_recipients(path):
    assert sql_writes(path) == ALLOWED_SQL.get(named(path), set())
    if path.parent != ROOT / "reports":  # whose states are those of reports and their loads
        assert state_writes(path) == ({"update.state"} if named(path) == "relay/whole_sends.py" else set())


@pytest.mark.parametrize("path", each("relay"))
def test_only_the_ledger_appends_attempts(path):
    text = ast.unparse(tree_of(path))
    writes = re.search(
        r"\bAttempt\(|\bAttempt\.objects\.(bulk_|a)?create|\battempt_set\.(a?create|add|bulk_create)", text
    )
    # ledger_rows.py declares the class.
    assert bool(writes) == (named(path) in ("relay/ledger.py", "relay/models/ledger_rows.py")), writes


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("Recipient.objects.filter(pk=1).update(state='accepted')", {"update.state"}),
        ("recipient.state = State.PENDING", {"recipient.state"}),
        ("Recipient(row=2, state='pending')", {"Recipient.state"}),
        ("Recipient.objects.create(state='pending')", {"create.state"}),
        ("Recipient.objects.bulk_update(rows, ['state'])", {"bulk_update.state"}),
        ("Recipient.objects.filter(state='pending').update(reason='')", set()),
        ("state = recipient.state", set()),
    ],
)
def test_every_way_of_writing_a_state_is_seen(tmp_path, monkeypatch, source, found):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "x.py").write_text(source)
    assert state_writes(tmp_path / "x.py") == found


@pytest.mark.parametrize(
    "source",
    [
        'x.execute("UPDATE relay_recipient SET state = 1")',
        'x.execute(f"WITH a AS (SELECT 1) update {y}relay_recipient" + \' update "relay_recipient" set\')',
        'x.execute("""\n    INSERT\n  INTO relay_attempt (a)""")',
        'x.copy(f"COPY relay_recipient ({names}) FROM STDIN")',
        'x.execute("delete from relay_recipient")',
    ],
)
def test_every_way_of_writing_a_table_is_seen(tmp_path, monkeypatch, source):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "x.py").write_text(source)
    assert sql_writes(tmp_path / "x.py")
