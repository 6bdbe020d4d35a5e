"""Takes what a run will recall from the budgets of its user and its campaign."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from esap_batch.budget import (
    Budget,
    BudgetExceeded,
    Entry,
    campaign_budget,
    entry_lfn,
    entry_of,
    in_words,
    next_number,
    taken,
    user_budget,
)
from esap_batch.products import scope_of
from hooks.lake_bulk import BulkLake
from hooks.rucio_lake import RucioLake
from hooks.settings import LAKE_CONNECTION, config_dir
from operators.site import run_key

if TYPE_CHECKING:
    from airflow.sdk import Context

LOG = logging.getLogger(__name__)


class ReserveRecall(BaseOperator):
    """Reserves what the run will recall in every budget that it is under, or in none.

    Fails without another try when a budget has not enough left. Two runs cannot both take the last bytes.

    :param steering: what `ValidateRequest` gives. :param plan: what `SearchLake` gives.
    :returns: `{"bytes", "budgets": [ledger, ...]}`.
    """

    template_fields = ("steering", "plan")

    def __init__(self, *, steering: Any, plan: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steering = steering
        self.plan = plan

    def execute(self, context: Context) -> dict[str, Any]:
        lake = BulkLake(RucioLake.from_connection(LAKE_CONNECTION))
        size, found = self.plan["recall_bytes"], budgets(self.steering, context)
        reserve(lake, found, run_key(context), size)
        return {"bytes": size, "budgets": [b.account for b in found]}


def budgets(steering: Mapping[str, Any], context: Context) -> list[Budget]:
    """Give the budgets that a run is under: its owner's of the month, and its campaign's if it is of one."""
    month = context["dag_run"].run_after.strftime("%Y-%m")
    found = [user_budget(config_dir() / "budgets.yaml", steering["owner"], month)]
    if steering["campaign"]["name"]:
        found.append(campaign_budget(steering["campaign"]["name"], steering["campaign"]["budget_bytes"]))
    return found


def reserve(lake: BulkLake, found: list[Budget], run: str, size: int) -> None:
    """Bring what a run has reserved up to `size` bytes in each budget.

    AirflowFailException, and nothing more than before reserved, when one of them has not enough.
    """
    before = {b.account: taken(e for e in ledger(lake, b.account) if e.run == run) for b in found}
    for budget in found:
        try:
            _reserve(lake, budget, run, size)
        except BudgetExceeded as error:
            for one in found:
                settle(lake, one.account, run, before[one.account])
            raise AirflowFailException(f"{error}: nothing is recalled") from None


def _reserve(lake: BulkLake, budget: Budget, run: str, size: int) -> None:
    """Append an entry for what is lacking; to make one larger that stands could not be atomic."""
    while True:
        entries = ledger(lake, budget.account)
        lacking = size - taken(e for e in entries if e.run == run)
        if lacking <= 0:
            return
        number = next_number(budget, entries, lacking)
        if lake.append(budget.account, entry_lfn(budget.account, number), run, lacking):
            left = in_words(budget.limit - taken(entries) - lacking)
            LOG.info("%s taken from the budget of %s, %s left", in_words(lacking), budget.who, left)
            return
        LOG.info("another run was faster with the budget of %s, looking again", budget.who)


def settle(lake: BulkLake, account: str, run: str, size: int) -> None:
    """Give back what a run has reserved beyond `size` bytes in the ledger `account`."""
    left, changed = size, {}
    for entry in (e for e in ledger(lake, account) if e.run == run):
        kept = min(entry.size, left)
        left -= kept
        if kept < entry.size:
            changed[entry_lfn(account, entry.number)] = {"esap_bytes": kept}
    lake.describe(changed)


def ledger(lake: BulkLake, account: str) -> list[Entry]:
    """Read the entries of a ledger, in their order."""
    names = lake.find(scope_of(entry_lfn(account, 1)), [{"esap_ledger": account}])
    return [entry_of(lfn, meta) for lfn, meta in sorted(lake.metadata(names).items())]
