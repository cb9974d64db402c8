"""What the code is held to beside its behaviour: sizes, words, and documents that tell the truth."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.codes import CANCELLATIONS, CANCELLED, ERRORS, FAILURE_NUMBERS, FAILURES
from benchmarks import seeded_bugs
from fluxfarm import errors
from fluxfarm.catalog import load_catalog
from fluxfarm.cli.main import main
from fluxfarm.cli.model_pages import pages
from fluxfarm.cli.settings import page
from fluxfarm.errors import FluxfarmError
from fluxfarm.inputs import parse, schema
from fluxfarm.settings import PREFIX, Settings
from fluxfarm.status import MOVES, TERMINAL, Status

ROOT = Path(__file__).parents[2]
OWN = ("fluxfarm", "api", "worker", "migrations")
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
OVERRIDES = {"handle_exit", "handle_error"}
"""Names that a library gives to what we override."""
VAGUE = re.compile(r"utils?|helpers?|common|managers?|base|(handle|process)_.*")
BROAD = {
    "api/waiting.py": 1,
    "fluxfarm/announce.py": 2,
    "worker/checking.py": 1,
    "worker/drain.py": 1,
    "worker/finisher.py": 1,
    "worker/lease.py": 1,
    "worker/maintenance.py": 1,
    "worker/prepare.py": 1,
    "worker/previewer.py": 1,
    "worker/run.py": 1,
}


def files() -> Iterator[Path]:
    for folder in OWN:
        yield from (ROOT / folder).rglob("*.py")


def test_files_and_functions_stay_short_and_well_named() -> None:
    offenders = []
    for path in files():
        source = path.read_text()
        name = str(path.relative_to(ROOT))
        if source.count("\n") > LONGEST_FILE:
            offenders.append(f"{name}: longer than {LONGEST_FILE} lines")
        if VAGUE.fullmatch(path.stem):
            offenders.append(f"{name}: says nothing of what is in it")
        for node in ast.walk(ast.parse(source)):
            lines = (getattr(node, "end_lineno", 0) or 0) - getattr(node, "lineno", 0)
            if isinstance(node, ast.FunctionDef) and lines >= LONGEST_FUNCTION and path.parent.name != "versions":
                offenders.append(f"{name}: {node.name} is longer than {LONGEST_FUNCTION} lines")
            if (
                isinstance(node, ast.FunctionDef | ast.ClassDef)
                and VAGUE.fullmatch(node.name)
                and node.name not in OVERRIDES
            ):
                offenders.append(f"{name}: {node.name} says nothing of what it does")
    assert offenders == []


def test_only_long_lived_loops_and_edges_catch_everything() -> None:
    found = {}
    for path in files():
        handlers = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ExceptHandler)]
        broad = [h for h in handlers if h.type is None or (isinstance(h.type, ast.Name) and h.type.id == "Exception")]
        if broad:
            found[str(path.relative_to(ROOT))] = len(broad)
    assert found == BROAD


def test_only_the_session_scope_commits() -> None:
    offenders = [
        str(path.relative_to(ROOT)) for path in files() if ".commit(" in path.read_text() and path.name != "env.py"
    ]
    assert offenders == []


def test_imports_stand_at_the_top() -> None:
    offenders = []
    for path in files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                hidden = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
                offenders += [f"{path.relative_to(ROOT)}:{n.lineno}" for n in hidden]
    assert offenders == []


def test_every_setting_is_on_its_page() -> None:
    assert (ROOT / "docs/settings.md").read_text().rstrip() == page().rstrip(), "run `make docs`"


def test_every_model_has_a_card_and_its_page() -> None:
    written = {path.name: path.read_text() for path in (ROOT / "docs/models").glob("*.md")}
    assert written == pages(), "run `make docs`"
    models = load_catalog(Settings()).models.values()
    assert [model.slug for model in models if model.card is None] == []


def test_every_example_of_a_card_is_taken() -> None:
    for model in load_catalog(Settings()).models.values():
        assert model.card
        parse(model, dict(model.card.example))
        assert model.card.recommended.keys() <= {*schema(model)["properties"], "size"}


def test_every_field_says_what_it_is() -> None:
    for model in load_catalog(Settings()).models.values():
        for name, field in schema(model)["properties"].items():
            told = {"description", "examples"} <= field.keys()
            assert told, f"{model.slug}: {name}"


def test_settings_that_documents_name_exist() -> None:
    known = {PREFIX + field.name.upper() for field in dataclasses.fields(Settings)}
    known |= {"FLUXFARM_URL", "FLUXFARM_API_KEY", "FLUXFARM_S3_"}
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*")]
    named = {word for path in pages if path.is_file() for word in re.findall(r"FLUXFARM_[A-Z0-9_]+", path.read_text())}
    assert named - known == set()


def test_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [name for name in main.commands if not re.search(rf"`fluxfarm {name}\b", readme)] == []


def test_every_error_code_is_documented() -> None:
    def kinds(kind: type[FluxfarmError]) -> Iterator[type[FluxfarmError]]:
        yield kind
        for each in kind.__subclasses__():
            yield from kinds(each)

    documented = (ROOT / "docs/errors.md").read_text()
    codes = {kind.code for kind in kinds(errors.FluxfarmError) if kind.__module__.startswith(("fluxfarm", "api"))}
    in_source = {
        code
        for path in files()
        for code in re.findall(
            r'PredictionFailed\(\s*"([a-z_]+)"|ending\(Status\.FAILED, "([a-z_]+)"', path.read_text()
        )
        for code in code
        if code
    }
    assert {code for code in codes | in_source if f"`{code}`" not in documented} == set()
    assert {
        code for code in {*ERRORS, *FAILURES, *CANCELLATIONS} if f'<a id="{code}"></a>`{code}`' not in documented
    } == set()


def test_every_end_without_pictures_has_a_number() -> None:
    assert {*FAILURE_NUMBERS} == {*FAILURES, *CANCELLATIONS, CANCELLED}


@pytest.mark.parametrize("status", Status)
def test_a_terminal_status_is_one_that_nothing_leaves(status: Status) -> None:
    assert (status in TERMINAL) == (not MOVES[status])


def test_the_tests_that_the_threat_model_names_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text())
    missing = [f"{path}::{name}" for path, name in named if f"def {name}(" not in (ROOT / path).read_text()]
    assert len(named) > 20
    assert missing == []


def test_every_seeded_bug_still_applies_and_names_a_test() -> None:
    stale = []
    for bug in seeded_bugs.listed():
        path, _, name = bug.test.partition("::")
        if (ROOT / bug.file).read_text().count(bug.old) != 1 or f"def {name}" not in (ROOT / path).read_text():
            stale.append(bug.name)
    assert stale == []
