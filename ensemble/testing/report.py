"""Run named checks and report all failures at once."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Mapping

from ensemble.core.errors import UnknownName


def run_checks(
    what: str, name: str, checks: Mapping[str, Callable[[str], None]], leave_out: Collection[str] = ()
) -> None:
    """Call every check with ``name``; failures become one AssertionError that lists them.

    Raises:
        AssertionError: when a promise does not hold; the message has one line for each.
        UnknownName: when a check to leave out does not exist.
    """
    for left in leave_out:
        if left not in checks:
            raise UnknownName("check", left, checks)
    failed: list[str] = []
    for title, check in checks.items():
        if title in leave_out:
            continue
        try:
            check(name)
        except Exception as error:  # the code of others may fail in any way; its author wants the whole list
            line = traceback.extract_tb(error.__traceback__)[-1].line
            reason = str(error).strip().partition("\n")[0] or f"{type(error).__name__} at `{line}`"
            failed.append(f"  {title}: {reason}")
    if failed:
        lines = "\n".join(failed)
        raise AssertionError(f"the {what} breaks {len(failed)} of {len(checks)} promises:\n{lines}")
