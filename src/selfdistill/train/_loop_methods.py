"""Methods that are nothing but a target and a loss, which any loop can take."""

from __future__ import annotations

from typing import Any

from selfdistill._core.errors import SettingError
from selfdistill.rivals import Method
from selfdistill.rivals._method import Context, matched, never
from selfdistill.train._methods import METHODS, WITHOUT_EPOCHS, method


class NotedContext(Context):
    """Notes what a method asks."""

    def __getattribute__(self, name: str) -> Any:
        if name in {"epochs", "steps"}:
            self.asked.add(name)
        return super().__getattribute__(name)

    @property
    def asked(self) -> set[str]:
        """Names of what was asked."""
        found: set[str] = vars(self).setdefault("_asked", set())
        return found


def target_method(name: str) -> Method:
    """Look a method up that is nothing but a target and a loss."""
    able = [one for one, found in METHODS.items() if is_target(found)]
    if name in WITHOUT_EPOCHS or (name in METHODS and name not in able):
        raise SettingError(
            f"method {name!r} is more than a target and a loss, and cannot be put into a loop",
            f"Choose one of: {', '.join(able)}.",
        )
    return method(name, able)


def is_target(found: Method) -> bool:
    alone = found.networks == 1 and found.first is None and found.keep is None and found.objective is matched
    return alone and found.needs_train_predictions is never
