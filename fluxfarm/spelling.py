"""A text as somebody takes it who is not easily deceived: without case, accents, look-alikes, digits for letters, gaps.

What is lost on the way is lost on both sides of a comparison: "l" and "1" are both "i". A letter that is written more
often in a row than a word has it is taken for that word; one that is written less often is not: "as" is not "ass".
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

_LOOK_ALIKES: Final = str.maketrans(
    "авезкмнорстухѕіјӏԁԛԝһүгипбь"  # Cyrillic
    "αβγδεηικλμνορσςτυχω"  # Greek
    "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢıɑɡɩʋƒ"  # small capitals and phonetic letters
    "øłđħŧæœðþ",
    "abeekmhopctyxsijldqwhyrunbbabydenikluvopoctuxwabcdefghijklmnoprstuvwyziagiufoldhtaodp",
)
_FOR_LETTERS: Final = str.maketrans("0134578l9@$€", "oieastbigase")
_STROKE: Final = re.compile(r"[!|](?=[!|]*\w)")
"""At a word's end it is punctuation."""
_WORD: Final = re.compile(r"\([0-9]{1,2}\)|[\w@$€]+")
"""A number in brackets is a word of its own: behind somebody it tells an age."""
_CLOSING: Final = re.compile(r"[^\w@$€\s]+")
_REPEATED: Final = re.compile(r"([^\W\d])\1+")
_ROW: Final = re.compile(rf"{_REPEATED.pattern}|.", re.DOTALL)
_PLAIN_GAP: Final = r"[\s-]+"
_AGE: Final = re.compile(r"(?<!\w)([0-9]{1,2})(?=y(?:\W?o|r|ear))")
"""Its digits are a number, though letters follow: 30yo."""
SPELT: Final = 3
"""So many letters in a row, each for itself, are a word, or several."""
_INVISIBLE: Final = frozenset({"Mn", "Me", "Cf"})


@dataclass(frozen=True, slots=True)
class Reading:
    """All ways to read a text, each word as it is compared."""

    apart: Sequence[str]
    """Word for word."""
    closed: Sequence[str]
    """What stands between two gaps as one word."""
    runs: Sequence[str]
    """Letters that stand alone, put together; where a word begins and ends there is not known."""


def words(text: str) -> list[str]:
    """The words of a text, each as it is compared."""
    return [_compared(word) for word in _WORD.findall(_plain(text))]


def reading(text: str, harmless: re.Pattern[str] | None = None) -> Reading:
    """All ways to read a text, without the phrases that `harmless` finds."""
    plain = _plain(text)
    if harmless is not None:
        plain = harmless.sub(" . ", plain)
    apart = _all_compared(_WORD.findall(plain))
    closed = _all_compared(_CLOSING.sub("", plain).split())
    runs = ("".join(run) for alone, run in groupby(apart, key=lambda word: len(word) == 1) if alone)
    return Reading(apart, closed, [_compared(run) for run in runs if len(run) >= SPELT])


def as_written(phrases: Iterable[str]) -> re.Pattern[str]:
    """Finds phrases in plain letters, their words divided by gaps or hyphens and by nothing else."""
    each = (_PLAIN_GAP.join(map(re.escape, _WORD.findall(_plain(phrase)))) for phrase in phrases)
    return re.compile(rf"(?<!\w)(?:{'|'.join(each)})(?!\w)")


def once(compared: str) -> str:
    """A word with each letter once in a row."""
    return _REPEATED.sub(r"\1", compared)


def in_a_row(compared: str) -> list[int]:
    """How often each character of `once` is written in a row; each digit of a number is one."""
    return [len(row[0]) for row in _ROW.finditer(compared)]


def _plain(text: str) -> str:
    """In small letters of the alphabet, as far as they look like some, without what cannot be seen."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    seen = (char for char in unicodedata.normalize("NFD", folded) if unicodedata.category(char) not in _INVISIBLE)
    alike = _STROKE.sub("i", "".join(seen).translate(_LOOK_ALIKES)).replace("_", " ")
    return _AGE.sub(r"\1 ", alike)


def _all_compared(found: Sequence[str]) -> list[str]:
    """Long texts say the same words again."""
    known = {word: _compared(word) for word in {*found}}
    return [known[word] for word in found]


def _compared(word: str) -> str:
    """Digits count as letters only beside some."""
    return word if word.strip("()").isdigit() else word.translate(_FOR_LETTERS)
