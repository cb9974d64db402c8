"""Prompts that are refused before anything is drawn: by our own short list, and by an operator's.

A line of a list is a rule: words or phrases divided by `|`, any of which will do; with `+` between such groups, one of
each must be there, in any order. `1..17` in a phrase is any of these numbers, in digits or in words; `(1..17)` in
digits and brackets. A line that begins with `!` has phrases that mean no harm, and count as not being there. `#` begins
a remark.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from fluxfarm.errors import SettingsError
from fluxfarm.spelling import SPELT, Reading, as_written, in_a_row, once, reading, words

BUILT_IN: Final = Path(__file__).with_name("blocked_prompts.txt")

_RANGE: Final = re.compile(r"\b([0-9]{1,3})\.\.([0-9]{1,3})\b")
_HARMLESS: Final = "!"
_NUMBERS: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)

Phrase = tuple[str, ...]
"""Its words, each as it is compared."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One phrase of each group must be found in a prompt."""

    name: str
    groups: tuple[frozenset[Phrase], ...]


class Phrases:
    """All that is looked for, as tables: the time that a prompt takes grows with its length alone."""

    def __init__(self, phrases: Iterable[Phrase]) -> None:
        self._of_words: list[dict[str, set[Phrase]]] = []
        self._spelt: dict[str, set[Phrase]] = {}
        for phrase in phrases:
            # Gaps may be left out, so a phrase is as many words as it has, or fewer.
            self._of_words += [{} for _ in range(len(phrase) - len(self._of_words))]
            joined = "".join(phrase)
            for table in (*self._of_words[: len(phrase)], *([self._spelt] if len(joined) >= SPELT else [])):
                table.setdefault(once(joined), set()).add(phrase)
        self._lengths = sorted({*map(len, self._spelt)})

    def found(self, read: Reading) -> set[Phrase]:
        """Those that a text holds, also in their plural."""
        return {*self._in_words(read), *self._letter_by_letter(read)}

    def _in_words(self, read: Reading) -> Iterator[Phrase]:
        for count, table in enumerate(self._of_words, 1):
            for joined in {*_joined(read.apart, count), *_joined(read.closed, count)}:
                for singular in (joined, joined.removesuffix("s"), joined.removesuffix("es")):
                    yield from _as_often(table.get(once(singular), ()), singular)

    def _letter_by_letter(self, read: Reading) -> Iterator[Phrase]:
        for run in read.runs:
            letters, often = once(run), in_a_row(run)
            for length in self._lengths:
                for at in range(len(letters) - length + 1):
                    if known := self._spelt.get(letters[at : at + length]):
                        written = map(str.__mul__, letters[at : at + length], often[at : at + length])
                        yield from _as_often(known, "".join(written))


def _as_often(known: Iterable[Phrase], written: str) -> Iterator[Phrase]:
    """Those of whose letters none is written less often in a row than it should be."""
    for phrase in known:
        if all(map(int.__le__, in_a_row("".join(phrase)), in_a_row(written))):
            yield phrase


def _joined(read: Sequence[str], count: int) -> Iterator[str]:
    """Every so many words that follow one another, without their gaps."""
    return map("".join, zip(*(read[at:] for at in range(count)), strict=False))


@dataclass(frozen=True, slots=True)
class PromptFilter:
    name: str
    """Where it comes from, and a hash of what it says."""
    rules: tuple[Rule, ...]
    phrases: Phrases
    harmless: re.Pattern[str] | None

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
        lines = [line for file, text in zip(files, texts, strict=True) for line in _lines(file.name, text)]
        rules = tuple(_rule(name, said) for name, said in lines if not said.startswith(_HARMLESS))
        harmless = [phrase for name, said in lines if said.startswith(_HARMLESS) for phrase in _harmless(name, said)]
        digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]
        phrases = Phrases(phrase for rule in rules for group in rule.groups for phrase in group)
        called = f"{'+'.join(file.name for file in files)}@{digest}"
        return cls(called, rules, phrases, as_written(harmless) if harmless else None)

    def blocking(self, prompt: str) -> Rule | None:
        """The first rule that a prompt falls under."""
        found = self.phrases.found(reading(prompt, self.harmless))
        return next((rule for rule in self.rules if all(group & found for group in rule.groups)), None)


def _lines(file: str, text: str) -> Iterator[tuple[str, str]]:
    """What each line says, and what it is called."""
    for number, line in enumerate(text.splitlines(), 1):
        if said := line.partition("#")[0].strip():
            yield f"{file}:{number}", said


def _rule(name: str, said: str) -> Rule:
    return Rule(name, tuple(_group(name, part.split("|")) for part in said.split("+")))


def _group(name: str, phrases: Iterable[str]) -> frozenset[Phrase]:
    wanted = frozenset(tuple(words(each)) for phrase in phrases for each in _counted(phrase))
    if not wanted or not all(wanted):
        raise SettingsError(f"the list of blocked prompts, {name}: a word is missing beside | or +")
    return wanted


def _harmless(name: str, said: str) -> Iterator[str]:
    for phrase in said.removeprefix(_HARMLESS).split("|"):
        if not words(phrase):
            raise SettingsError(f"the list of blocked prompts, {name}: a word is missing beside | or {_HARMLESS}")
        yield from _counted(phrase)


def _counted(phrase: str) -> Iterator[str]:
    """The phrase with each number of its range, if it has one."""
    if (found := _RANGE.search(phrase)) is None:
        yield phrase
        return
    for number in range(int(found[1]), int(found[2]) + 1):
        spoken = () if f"({found[0]})" in phrase else _NUMBERS[number : number + 1]
        for said in (str(number), *spoken):
            yield phrase.replace(found[0], said)
