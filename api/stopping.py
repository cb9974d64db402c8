"""What is done first when this process is told to stop, while its last answers still go out."""

from collections.abc import Callable

_wanted: list[Callable[[], None]] = []


def before_it(do: Callable[[], None]) -> None:
    _wanted.append(do)


def begin() -> None:
    for do in _wanted:
        do()
