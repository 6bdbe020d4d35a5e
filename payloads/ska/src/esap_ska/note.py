"""Notes of checks whose value is a matter of yes or no."""

from __future__ import annotations

from esap_fits.report import Report


def note(report: Report, name: str, passed: bool, allowed: str, problem: str, target: str = "FILE") -> bool:
    """Note a check; `problem` says what is wrong when it has not passed. Gives `passed`."""
    value = "as it should be" if passed else problem
    report.add(name, target, bool(passed), value=value, allowed=allowed, message=problem)
    return bool(passed)
