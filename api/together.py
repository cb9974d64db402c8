"""Calls that come while another is under way are answered together: one round trip for all that wait.

So a call gets cheaper the more there are, and one that comes alone waits for nobody.
"""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gevent.event import Event

from fluxfarm.errors import Busy

A = TypeVar("A")
R = TypeVar("R")


@dataclass(slots=True, eq=False)
class _Call(Generic[A, R]):
    asked: A
    woken: Event = field(default_factory=Event)
    """It has its answer, or is the one to ask next."""
    answer: R | None = None
    error: Exception | None = None
    done: bool = False


class Together(Generic[A, R]):
    """Asks for groups of up to `most`, one group at a time for each party; first come, first served."""

    def __init__(self, ask_all: Callable[[Sequence[A]], Sequence[R]], *, most: int) -> None:
        self._ask_all = ask_all
        self._most = most
        self._queues: dict[Hashable, deque[_Call[A, R]]] = {}

    def ask(self, party: Hashable, asked: A) -> R:
        """The answer to this call; raises what asking for its group raised."""
        call: _Call[A, R] = _Call(asked)
        queue = self._queues.get(party)
        if queue is None:
            self._queues[party] = queue = deque((call,))
        else:
            queue.append(call)
            self._wait(party, queue, call)
        if not call.done:
            self._lead(party, queue)
        if call.error is not None:
            raise call.error
        return call.answer  # type: ignore[return-value]  # what was asked for, which may be None

    def _wait(self, party: Hashable, queue: deque[_Call[A, R]], call: _Call[A, R]) -> None:
        try:
            call.woken.wait()
        except BaseException:
            # It is being ended: whoever waits behind it must not wait for ever.
            if call in queue:
                queue.remove(call)
            if call.woken.is_set() and not call.done:
                self._pass_on(party, queue)
            raise

    def _lead(self, party: Hashable, queue: deque[_Call[A, R]]) -> None:
        group = [queue.popleft() for _ in range(min(self._most, len(queue)))]
        try:
            answers = self._ask_all([call.asked for call in group])
            for call, answer in zip(group, answers, strict=True):
                call.answer = answer
        except BaseException as error:
            for call in group:
                call.error = error if isinstance(error, Exception) else Busy("This process is ending; try again.")
            if not isinstance(error, Exception):
                raise
        finally:
            for call in group:
                call.done = True
                call.woken.set()
            self._pass_on(party, queue)

    def _pass_on(self, party: Hashable, queue: deque[_Call[A, R]]) -> None:
        if queue:
            queue[0].woken.set()
        else:
            del self._queues[party]
