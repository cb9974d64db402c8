"""Prompts that are refused before anything is drawn: by our own short list, and by an operator's.

A line of a list is a rule: words or phrases divided by `|`, any of which will do; with `+` between such groups, one of
each must be there, in any order. `#` begins a remark.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from fluxfarm.errors import SettingsError
from fluxfarm.spelling import readings, words

BUILT_IN: Final = Path(__file__).with_name("blocked_prompts.txt")


@dataclass(frozen=True, slots=True)
class Rule:
    """One of each group must be found in the readings of a prompt."""

    name: str
    groups: tuple[re.Pattern[str], ...]

    def fits(self, read: str) -> bool:
        return all(group.search(read) for group in self.groups)


@dataclass(frozen=True, slots=True)
class PromptFilter:
    name: str
    """Where it comes from, and a hash of what it says."""
    rules: tuple[Rule, ...]

    @classmethod
    def load(cls, own: Path | None) -> Self:
        """Read our list, and an operator's beside it.

        Raises:
            SettingsError: a file cannot be read, or a line of it says nothing.

        """
        files = [BUILT_IN] if own is None else [BUILT_IN, own]
        try:
            texts = [file.read_text() for file in files]
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"the list of blocked prompts {files[-1]} cannot be read: {error}") from error
        rules = [rule for file, text in zip(files, texts, strict=True) for rule in _rules(file.name, text)]
        digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]
        return cls(f"{'+'.join(file.name for file in files)}@{digest}", tuple(rules))

    def blocking(self, prompt: str) -> Rule | None:
        """The first rule that a prompt falls under."""
        read = readings(prompt)
        return next((rule for rule in self.rules if rule.fits(read)), None)


def _rules(file: str, text: str) -> Iterable[Rule]:
    for number, line in enumerate(text.splitlines(), 1):
        said = line.partition("#")[0].strip()
        if not said:
            continue
        name = f"{file}:{number}"
        groups = tuple(_group(name, part.split("|")) for part in said.split("+"))
        yield Rule(name, groups)


def _group(name: str, phrases: Iterable[str]) -> re.Pattern[str]:
    wanted = [" ?".join(map(re.escape, words(phrase))) for phrase in phrases]
    if not all(wanted):
        raise SettingsError(f"the list of blocked prompts, {name}: a word is missing beside | or +")
    return re.compile(f" (?:{'|'.join(wanted)})(?:e?s)?(?= )")
