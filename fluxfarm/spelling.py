"""A text as somebody takes it who is not easily deceived: without case, accents, look-alikes, digits for letters, gaps.

What is lost on the way is lost on both sides of a comparison: "l" and "1" are both "i", doubled letters count once.
"""

import re
import unicodedata
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
_STROKE: Final = re.compile(r"[!|](?=\w)")
"""At a word's end it is punctuation."""
_WORD: Final = re.compile(r"[\w@$€]+")
_REPEATED: Final = re.compile(r"([^\W\d])\1+")
_SPELT: Final = 3
"""So many letters in a row, each for itself, are a word."""
_INVISIBLE: Final = frozenset({"Mn", "Me", "Cf"})


def words(text: str) -> list[str]:
    """The words of a text, each as it is compared."""
    return [_compared(word) for word in _WORD.findall(_plain(text))]


def readings(text: str) -> str:
    """All ways to read a text, as words between spaces; ways are divided by semicolons.

    Word for word; with what stands between two gaps taken as one word; and letters that stand alone put together.
    """
    plain = _plain(text)
    apart = [_compared(word) for word in _WORD.findall(plain)]
    closed = [_compared("".join(_WORD.findall(chunk))) for chunk in plain.split()]
    runs = ("".join(run) for alone, run in groupby(apart, key=lambda word: len(word) == 1) if alone)
    spelt = [_compared(run) for run in runs if len(run) >= _SPELT]
    return " " + " ; ".join(" ".join(way) for way in (apart, closed, spelt)) + " "


def _plain(text: str) -> str:
    """In small letters of the alphabet, as far as they look like some, without what cannot be seen."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    seen = (char for char in unicodedata.normalize("NFD", folded) if unicodedata.category(char) not in _INVISIBLE)
    return _STROKE.sub("i", "".join(seen).translate(_LOOK_ALIKES)).replace("_", " ")


def _compared(word: str) -> str:
    """Digits count as letters only beside some."""
    letters = word if word.isdigit() else word.translate(_FOR_LETTERS)
    return _REPEATED.sub(r"\1", letters)
