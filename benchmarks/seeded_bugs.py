"""`make seeded-bugs`: put each known bug into a copy of the tree, and demand that the test it names fails for it.

Each must apply, the changed module must import, and the named test must fail by an assertion, where without the bug all
those tests pass. Tests that catch nothing are found that way.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "tests" / "seeded_bugs.toml"
TEST_SECONDS = 300
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".fluxfarm", "__pycache__", "*.egg-info", "node_modules")
BY_ASSERTION = ("AssertionError", "Failed: DID NOT RAISE")


@dataclass(frozen=True, slots=True)
class Bug:
    """One replacement in one file, and the test that must notice."""

    name: str
    file: str
    old: str
    new: str
    test: str

    def put_into(self, tree: Path) -> str:
        """Change the file; returns what it was."""
        path = tree / self.file
        whole = path.read_text()
        if whole.count(self.old) != 1:
            raise ValueError(f"what it replaces stands {whole.count(self.old)} times in {self.file}")
        path.write_text(whole.replace(self.old, self.new))
        return whole


@dataclass(frozen=True, slots=True)
class Outcome:
    passed: bool
    failures: tuple[str, ...]
    """The texts of tests that failed; of errors, nothing."""
    said: str


def main() -> None:
    parser = argparse.ArgumentParser(prog="make seeded-bugs", description=__doc__)
    parser.add_argument("words", nargs="*", help="only bugs with one of these in their names")
    words = parser.parse_args().words
    bugs = [bug for bug in listed() if not words or any(word in bug.name for word in words)]
    with tempfile.TemporaryDirectory(prefix="seeded-bugs-") as directory:
        tree = Path(directory) / "tree"
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT, symlinks=True)
        sys.exit(0 if try_all(tree, bugs) else 1)


def listed() -> list[Bug]:
    return [Bug(**entry) for entry in tomllib.loads(LIST.read_text())["bug"]]


def try_all(tree: Path, bugs: Sequence[Bug]) -> bool:
    """Whether all tests pass without the bugs, and each bug is caught."""
    without = outcome(tree, sorted({bug.test for bug in bugs}))
    print(f"{'ok' if without.passed else 'NOT WELL':9} without any of them", flush=True)
    if not without.passed:
        print(without.said)
    escaped = 0
    for bug in bugs:
        problem = escapes(tree, bug)
        escaped += problem is not None
        print(
            f"{'caught' if problem is None else 'ESCAPED':9} {bug.name}" + (f": {problem}" if problem else ""),
            flush=True,
        )
    print(f"{len(bugs) - escaped} of {len(bugs)} caught")
    return without.passed and not escaped


def escapes(tree: Path, bug: Bug) -> str | None:
    """Why it was not caught as it should be; None if it was."""
    try:
        whole = bug.put_into(tree)
    except ValueError as error:
        return str(error)
    try:
        module = bug.file.removesuffix(".py").replace("/", ".")
        if run(tree, "-c", f"import importlib; importlib.import_module({module!r})").returncode:
            return "it does not import"
        found = outcome(tree, [bug.test])
    finally:
        (tree / bug.file).write_text(whole)
    if found.passed:
        return f"{bug.test} passes"
    if not any(word in failure for failure in found.failures for word in BY_ASSERTION):
        return f"{bug.test} fails, but by no assertion: {found.said[-500:]}"
    return None


def outcome(tree: Path, tests: Sequence[str]) -> Outcome:
    report = tree / "seeded-bugs.xml"
    report.unlink(missing_ok=True)
    done = run(tree, "-m", "pytest", "-n", "0", "--maxfail=3", f"--junitxml={report}", *tests)
    failures = [each.get("message", "") + (each.text or "") for each in _failures(report)]
    return Outcome(done.returncode == 0, tuple(failures), done.stdout[-2000:])


def _failures(report: Path) -> list[ET.Element]:
    return list(ET.parse(report).iter("failure")) if report.exists() else []


def run(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python in the tree, with the tree's own modules."""
    surroundings = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *words]
    try:
        return subprocess.run(
            command, cwd=tree, env=surroundings, capture_output=True, text=True, check=False, timeout=TEST_SECONDS
        )
    except subprocess.TimeoutExpired as late:
        return subprocess.CompletedProcess(command, 1, str(late), "")


if __name__ == "__main__":
    main()
