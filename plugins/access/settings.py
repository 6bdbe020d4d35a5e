"""The files that say who may do what, read again when they change."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from esap_batch.campaigns import FOLDER, Campaign, load_campaigns
from esap_batch.errors import ConfigurationError
from esap_batch.identity import Identities, load_identities
from esap_batch.limits import FILE, Limits, load_limits
from hooks.settings import config_dir

T = TypeVar("T")
log = logging.getLogger(__name__)


class _Kept(Generic[T]):
    """A value made of files, kept as long as none of them changes.

    With `outlasts_errors` also while what they have become is wrong: never for rights, which may have been
    taken away.
    """

    def __init__(
        self, read: Callable[[], T], files: Callable[[], Sequence[Path]], *, outlasts_errors: bool = False
    ) -> None:
        self._read, self._files, self._outlasts_errors = read, files, outlasts_errors
        self._kept: tuple[object, T] | None = None

    def __call__(self) -> T:
        stamp = [(str(path), path.stat().st_mtime_ns) for path in self._files() if path.exists()]
        if self._kept is None or self._kept[0] != stamp:
            self._kept = (stamp, self._new())
        return self._kept[1]

    def _new(self) -> T:
        try:
            return self._read()
        except ConfigurationError as error:
            if self._kept is None or not self._outlasts_errors:
                raise
            log.error("what was read before stays in force: %s", error)
            return self._kept[1]


def _identity_file() -> Path:
    return config_dir() / "identity.yaml"


def _campaign_files() -> list[Path]:
    return sorted((config_dir() / FOLDER).glob("*.yaml"))


identities: Callable[[], Identities] = _Kept(
    lambda: load_identities(_identity_file()), lambda: [_identity_file()]
)
limits: Callable[[], Limits] = _Kept(
    lambda: load_limits(config_dir()), lambda: [config_dir() / FILE], outlasts_errors=True
)
_campaigns: Callable[[], list[Campaign]] = _Kept(lambda: load_campaigns(config_dir()), _campaign_files)


def campaigns() -> dict[str, Campaign]:
    """Give the campaigns by the DAG that runs each."""
    return {campaign.dag_id: campaign for campaign in _campaigns()}
