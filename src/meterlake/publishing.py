"""Live sides shown to other processes, as they change."""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING, Final

from meterlake.errors import Fenced
from meterlake.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meterlake.chores import Chores
    from meterlake.live.live import Live
    from meterlake.ports import Publisher

GAP_S: Final = 0.1
"""Pause between two times that what has changed is shown."""


class Publishing:
    """The thread that shows this process's live sides."""

    def __init__(
        self,
        lives: Callable[[], Mapping[str, tuple[Live, int | None]]],
        make: Callable[[str, int | None], Publisher],
        chores: Chores,
    ) -> None:
        """``lives`` gives, by shard, what there is to show and the generation of who holds it; ``make`` makes what shows it."""
        self._lives, self._make, self._chores = lives, make, chores
        self._publishers: dict[str, tuple[Live, Publisher]] = {}
        self._thread = Thread(target=self._run, name="publish", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Wait until the last change is shown; the chores were told to stop."""
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._chores.stop.wait(GAP_S):
            self._chores.attempt("live view", self._show)
        self._chores.attempt("live view", self._show)
        for _, publisher in self._publishers.values():
            publisher.close()

    def _show(self) -> None:
        """Show every live side that is here; forget those that went."""
        lives = self._lives()
        for name, (held, publisher) in list(self._publishers.items()):
            if name not in lives or lives[name][0] is not held:
                del self._publishers[name]
                publisher.close()
        for name, (live, generation) in lives.items():
            if name not in self._publishers:
                self._publishers[name] = live, self._make(name, generation)
            self._publish(name, live)

    def _publish(self, name: str, live: Live) -> None:
        try:
            self._publishers[name][1].publish(live)
        except Fenced as error:
            log.info("no longer shown by us", shard=name, why=str(error))
