"""The programs of docs/models, pasted as they are: the address alone is another."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from fluxfarm.cli.model_pages import pages
from tests.api import Client

PAGE = pages()["flux-dev.md"]
LANGUAGES = ("sh", "python", "js")


def run(language: str, client: Client, directory: Path, *, seed: str = "7") -> "subprocess.CompletedProcess[str]":
    """Skips where this machine cannot run it."""
    found = re.search(rf"```{language}\n(.*?)\n```", PAGE, re.DOTALL)
    assert found is not None
    program = found[1].replace("http://127.0.0.1:8000", client.url).replace('"seed": 7', f'"seed": {seed}')
    (directory / "pasted.mjs").write_text(program)
    words = {"sh": ["bash", "-c", program], "python": [sys.executable, "-c", program], "js": ["node", "pasted.mjs"]}
    if shutil.which(words[language][0]) is None:
        pytest.skip(f"there is no {words[language][0]} on this machine")
    environment = {**os.environ, "FLUXFARM_API_KEY": str(client.key)}
    return subprocess.run(
        words[language], cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_program_draws(language: str, client: Client, worker: None, tmp_path: Path) -> None:
    done = run(language, client, tmp_path)
    link = re.search(r"http[^\s\"']+/files/[^\s\"']+", done.stdout)
    assert link is not None, done
    assert requests.get(link[0], timeout=60).headers["Content-Type"] == "image/webp"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_program_says_what_was_wrong(language: str, client: Client, tmp_path: Path) -> None:
    done = run(language, client, tmp_path, seed="-1")
    assert "input.seed: must be a whole number" in done.stdout + done.stderr, done
    assert (language == "sh") is (done.returncode == 0), "curl knows no wrong answer"
