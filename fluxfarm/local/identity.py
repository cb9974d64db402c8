"""Who the private PostgreSQL runs as, since it refuses to run as root.

An ordinary user runs it as himself. Root runs it in a user namespace, where root's files belong to an ordinary account;
so does a user whom /etc/passwd does not name, since `initdb` wants a name. Where the system forbids namespaces, root
runs it as an unprivileged account, with data and programs in a place that this account can reach (a clone under /root
is none).
"""

import contextlib
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from fluxfarm.errors import SettingsError

ACCOUNTS = ("fluxfarm", "nobody")
SHARED_HOME = Path("/var/lib/fluxfarm")
# Becomes the account and then the command; the interpreter itself may lie where the account cannot read.
BECOME = (
    "import os,sys; os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1])); "
    "os.chdir('/'); os.execv(sys.argv[3], sys.argv[3:])"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """`prefix` goes before every command of the server; its files lie in `home` and belong to `uid`."""

    prefix: tuple[str, ...]
    home: Path
    programs: Path
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine allows; looked up once, and set by hand in tests."""

    root: bool
    namespace: tuple[str, ...] | None
    """What goes before a command to run it in a user namespace, if that is needed and allowed."""
    named: bool = True
    """Whether /etc/passwd knows the user."""
    accounts: tuple[str, ...] = ACCOUNTS
    shared_home: Path = SHARED_HOME


def look_at_machine() -> Machine:
    root, named = os.geteuid() == 0, _is_named(os.geteuid())
    return Machine(root=root, named=named, namespace=None if named and not root else working_namespace())


def choose_identity(machine: Machine, *, directory: Path, programs: Path) -> Identity:
    """Decide who runs the server and where its files lie; what an earlier start decided for its data is kept.

    Raises:
        SettingsError: root has no way to run it here.

    """
    own = Identity(prefix=(), home=directory, programs=programs, uid=os.geteuid(), gid=os.getegid())
    if not machine.root and machine.named:
        return own
    shared = machine.shared_home / hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    if machine.namespace is not None and not shared.exists():
        return replace(own, prefix=machine.namespace)
    if not machine.root:
        raise SettingsError(
            f"PostgreSQL only runs for a user whom /etc/passwd names, and it names no {own.uid}; "
            "run fluxfarm as one that it names, or give FLUXFARM_DATABASE_URL"
        )
    if (directory / "postgres").exists():
        raise SettingsError(
            f"{directory / 'postgres'} was made in a user namespace and this system allows none now; "
            "allow them, run fluxfarm as an ordinary user, or give FLUXFARM_DATABASE_URL"
        )
    return _as_account(machine, home=shared, programs=programs)


def _as_account(machine: Machine, *, home: Path, programs: Path) -> Identity:
    entry = _account(machine.accounts)
    if entry is None:
        raise SettingsError(
            "PostgreSQL does not run as root, and this system has neither user namespaces nor an account `fluxfarm` "
            "or `nobody`; run fluxfarm as an ordinary user, or give FLUXFARM_DATABASE_URL"
        )
    machine.shared_home.mkdir(parents=True, exist_ok=True)
    machine.shared_home.chmod(0o755)
    if not reachable_by_all(machine.shared_home):
        raise SettingsError(
            f"PostgreSQL does not run as root, and the account {entry.pw_name} cannot reach {machine.shared_home}; "
            "run fluxfarm as an ordinary user, or give FLUXFARM_DATABASE_URL"
        )
    home.mkdir(exist_ok=True)
    home.chmod(0o700)
    os.chown(home, entry.pw_uid, entry.pw_gid)
    return Identity(
        prefix=(sys.executable, "-I", "-S", "-c", BECOME, str(entry.pw_uid), str(entry.pw_gid)),
        home=home,
        programs=programs if reachable_by_all(programs / "bin" / "postgres") else _copied(programs, machine),
        uid=entry.pw_uid,
        gid=entry.pw_gid,
    )


def reachable_by_all(path: Path) -> bool:
    """Whether any account may enter every directory on the way and read and run what is there."""
    resolved = path.resolve()
    wanted = stat.S_IROTH | stat.S_IXOTH
    return resolved.stat().st_mode & wanted == wanted and all(
        parent.stat().st_mode & stat.S_IXOTH for parent in resolved.parents
    )


def _copied(programs: Path, machine: Machine) -> Path:
    """Copy the programs, beside the libraries of their wheel, to where every account can run them."""
    package = programs.parent
    version = hashlib.sha256(f"{package.stat().st_mtime_ns} {programs}".encode()).hexdigest()[:16]
    place = machine.shared_home / f"programs-{version}"
    if not place.exists():
        draft = machine.shared_home / f"programs-{version}.{os.getpid()}"
        shutil.copytree(programs, draft / package.name / programs.name)
        libraries = package.with_name(package.name + ".libs")
        shutil.copytree(libraries, draft / libraries.name)
        for entry in (draft, *draft.rglob("*")):
            if not entry.is_symlink():
                entry.chmod(0o755)
        draft.replace(place)
    return place / package.name / programs.name


def _account(names: tuple[str, ...]) -> pwd.struct_passwd | None:
    for name in names:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


def working_namespace() -> tuple[str, ...] | None:
    """The words that run a command as an ordinary account in a user namespace; none where that is not allowed."""
    ordinary = next((entry for entry in pwd.getpwall() if entry.pw_uid != 0), None)
    if ordinary is None:
        return None
    words = ("unshare", "--user", f"--map-user={ordinary.pw_uid}", f"--map-group={ordinary.pw_gid}")
    try:
        tried = subprocess.run([*words, "true"], check=False, capture_output=True, timeout=10)  # noqa: S603 - our words
    except (OSError, subprocess.TimeoutExpired):
        return None
    return words if tried.returncode == 0 else None


def _is_named(uid: int) -> bool:
    try:
        return bool(pwd.getpwuid(uid))
    except KeyError:
        return False
