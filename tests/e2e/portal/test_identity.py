"""Who may do what: every endpoint of Airflow's REST API and UI, with every kind of credentials."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from localgrid.airflow_api import AirflowApi
from localgrid.grid import Grid
from localgrid.setup import postgres
from tests.e2e.airflow_routes import Route, airflow_routes
from tests.e2e.conftest import Runs
from tests.e2e.tokens import REFUSED, Mint, require_refusal

DAG, TASK, ASKING = "cta_irf", "validate_request", "confirm_events"
CAMPAIGN = "campaign_crab_2026"
LARGE = {"statistical_uncertainty": 0.015}
PUBLIC = {"/api/v2/monitor/health", "/api/v2/version", "/api/v2/auth/login", "/api/v2/auth/logout"}
# Query parameters without which a route answers 422.
QUERIES: dict[str, dict[str, Any]] = {
    "/ui/structure/structure_data": {"dag_id": DAG},
    "/ui/backfills": {"dag_id": CAMPAIGN},
    "/api/v2/backfills": {"dag_id": CAMPAIGN},
    "/ui/dashboard/historical_metrics_data": {"start_date": "2026-01-01T00:00:00Z"},
    "/ui/dependencies": {"node_id": f"dag:{DAG}"},
    "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/wait": {"interval": 1},
    "/api/v2/eventLogs": {"order_by": "-when"},
    "/api/v2/dags/{dag_id}/dagRuns": {"order_by": "-run_after"},
    "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances": {"order_by": "-run_after"},
    "/api/v2/dagStats": {"dag_ids": [DAG]},
}
CALENDAR = "/ui/calendar/{dag_id}"  # Airflow's own answers 500 when a run has no logical date
# What tells of runs without naming any: must be the same before and after somebody else's run.
COUNTS = (
    "/api/v2/dagStats",
    "/ui/dashboard/historical_metrics_data",
    "/ui/dashboard/dag_stats",
    "/ui/dags",
    "/ui/dags/{dag_id}/latest_run",
    CALENDAR,
    "/ui/grid/runs/{dag_id}",
    "/api/v2/dags/{dag_id}/dagRuns",
    "/api/v2/eventLogs",
)


@dataclass
class Secret:
    """A run of alice's that nobody else may hear of, and the words that would tell of it."""

    run: str
    backfill: int
    event_log: int
    task_ids: set[str]
    note: str
    before: dict[tuple[str, str], Any]
    routes: list[Route] = field(default_factory=list)

    def values(self, route: Route, **changes: object) -> dict[str, object]:
        asked = {
            "dag_id": DAG,
            "dag_run_id": self.run,
            "run_id": self.run,
            "task_id": ASKING if "hitlDetails" in route.path else TASK,
            "map_index": -1,
            "try_number": 1,
            "task_try_number": 1,
            "xcom_key": "return_value",
            "key": "anything",
            "event_log_id": self.event_log,
            "backfill_id": self.backfill,
            "group_id": "none",
            "version_number": 1,
            "import_error_id": 1,
            "asset_id": 1,
            "asset_alias_id": 1,
            "connection_id": "rucio_lake",
            "variable_key": "any",
            "pool_name": "default_pool",
            "section": "core",
            "option": "fernet_key",
            "file_token": "none",
        } | changes
        return {name: asked[name] for name in route.parameters}

    def reading(self) -> list[Route]:
        return [r for r in self.routes if r.method == "GET" and not r.path.startswith("/api/v2/auth/")]

    def told_by(self, text: str) -> set[str]:
        return {word for word in (self.run, self.note, *self.task_ids) if word in text}


def query(route: Route) -> dict[str, Any]:
    return QUERIES.get(route.path, {})


@pytest.fixture(scope="module")
def mint(grid: Grid) -> Mint:
    return Mint(grid.info)


@pytest.fixture(scope="module")
def client(grid: Grid) -> Iterator[httpx.Client]:
    # No connection is used twice: one that the server closes when idle may be lost in mid-request.
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=grid.info["airflow"]["url"], timeout=60, limits=limits) as http:
        yield http


@pytest.fixture(scope="module")
def tokens(grid: Grid, mint: Mint) -> dict[str, str]:
    """Good tokens: of the issuer's users; of hank, who is no more than a member of CTAO as alice is; of erin
    and fiona, who are in a group that shares its runs.
    """
    known = {name: AirflowApi.of(grid.info, name).token for name in ("alice", "bob", "carol", "dave")}
    pair = ("ctao/users", "ctao/pi-crab")
    made = {"hank": mint.token("hank"), "erin": mint.token("erin", pair), "fiona": mint.token("fiona", pair)}
    return known | made


Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def ask(client: httpx.Client, tokens: dict[str, str]) -> Ask:
    def call(user: str, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {tokens[user]}"}
        return client.request(method, path, headers=headers, **options)

    return call


def counts(ask: Ask, user: str) -> dict[tuple[str, str], Any]:
    found = {}
    for path in COUNTS:
        route = Route("GET", path)
        answer = ask(user, "GET", route.url(dag_id=DAG) if route.parameters else path, params=query(route))
        assert answer.status_code in (200, 403, 404) or path == CALENDAR, f"{path}: {answer.status_code}"
        found[user, path] = _of_runs(answer.json()) if answer.is_success else answer.status_code
    return found


def _of_runs(document: Any) -> Any:
    """Leave out when DAGs were parsed, which changes by itself."""
    if isinstance(document, dict):
        return {k: _of_runs(v) for k, v in document.items() if not k.startswith("last_")}
    return [_of_runs(v) for v in document] if isinstance(document, list) else document


@pytest.fixture(scope="module")
def secret(
    grid: Grid, ask: Ask, alice: Runs, wait_for: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Secret]:
    before = counts(ask, "hank") | counts(ask, "dave")
    run = f"secret-{uuid.uuid4().hex}"
    own = {**LARGE, "zenith_deg": 30 + random.random()}  # a product that nobody else makes
    assert alice.api.trigger(DAG, own, run).status_code == 200
    wait_for(lambda: alice.task_state(DAG, run, ASKING) == "awaiting_input")
    log = grid.layout.log("airflow-scheduler")  # until it has heard of it Airflow may ask again
    wait_for(lambda: any(run in x and "state=awaiting_input" in x for x in log.read_text().splitlines()))
    note = f"note-{uuid.uuid4().hex}"
    alice.api.call("PATCH", f"/dags/{DAG}/dagRuns/{run}", json={"note": note}).raise_for_status()
    tasks = {str(t["id"]) for t in alice.api.tasks(DAG, run).values()}
    events = alice.api.get("/eventLogs", run_id=run)["event_logs"]
    asked = {"dag_id": CAMPAIGN, "from_date": "2026-11-01T00:00:00Z", "to_date": "2026-11-02T00:00:00Z"}
    backfill = ask("alice", "POST", "/api/v2/backfills", json=asked)
    assert backfill.status_code == 200, backfill.text
    number = backfill.json()["id"]
    try:
        found = airflow_routes(tmp_path_factory.mktemp("airflow"))
        yield Secret(run, number, events[0]["event_log_id"], tasks, note, before, found)
    finally:
        alice.api.set_state(DAG, run, "failed")
        alice.end(DAG, run)


@pytest.mark.parametrize("kind", REFUSED)
def test_bad_credentials_are_refused_everywhere(
    kind: str, secret: Secret, mint: Mint, client: httpx.Client
) -> None:
    headers = mint.headers(kind, "alice")
    for route in secret.routes:
        if route.path not in PUBLIC:
            url = route.url(**secret.values(route))
            require_refusal(client.request(route.method, url, headers=headers, params=query(route)), kind)


def test_the_owner_sees_the_run_wherever_runs_are_shown(secret: Secret, ask: Ask) -> None:
    told = {str(r) for r in secret.reading() if _tells(secret, ask, "alice", r, wide=False)}
    run = "GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}"
    task = f"{run}/taskInstances/{{task_id}}"
    assert {
        run, "GET /api/v2/dags/{dag_id}/dagRuns", "GET /api/v2/eventLogs", f"{run}/taskInstances", task,
        f"{task}/tries", f"{task}/xcomEntries", f"{run}/hitlDetails", f"{task}/{{map_index}}/hitlDetails",
        "GET /api/v2/eventLogs/{event_log_id}", "GET /ui/dags", "GET /ui/grid/runs/{dag_id}",
        "GET /ui/gantt/{dag_id}/{run_id}",
    } <= told  # fmt: skip


def _tells(secret: Secret, ask: Ask, user: str, route: Route, wide: bool = True) -> set[str]:
    """Give the words that a route tells a user of the run, if `wide` also with `~` for what may be open."""
    found: set[str] = set()
    asked: list[dict[str, object]] = [{}]
    if wide and "dag_run_id" in route.parameters:
        asked += [{"dag_run_id": "~"}, {"dag_id": "~", "dag_run_id": "~"}]
        if "task_id" in route.parameters:
            asked.append({"dag_id": "~", "dag_run_id": "~", "task_id": "~"})
    elif wide and "dag_id" in route.parameters:
        asked.append({"dag_id": "~"})
    for changes in asked:
        url = route.url(**secret.values(route, **changes))
        if route.path.endswith("/wait") and user == "alice":
            continue  # it would wait for the end of the run
        answer = ask(user, route.method, url, params=query(route))
        assert answer.status_code != 401, f"{user}: {route}: {answer.text}"
        failed = answer.status_code >= 500 and route.path != CALENDAR
        assert not failed, f"{user}: {route} {url}: {answer.status_code} {answer.text[:500]}"
        asked_for = {secret.run} if secret.run in url else set()  # an error may repeat the question
        told = secret.told_by(answer.text)
        found |= told if answer.is_success else told - asked_for
    return found


@pytest.mark.parametrize("user", ["hank", "dave"])
def test_nobody_else_hears_of_the_run(user: str, secret: Secret, ask: Ask) -> None:
    leaks = {str(r): _tells(secret, ask, user, r) for r in secret.reading()}
    assert {route: told for route, told in leaks.items() if told} == {}


@pytest.mark.parametrize("user", ["hank", "dave"])
def test_nobody_else_can_count_the_run(user: str, secret: Secret, ask: Ask) -> None:
    after = counts(ask, user)
    assert after == {key: value for key, value in secret.before.items() if key[0] == user}


@pytest.mark.parametrize("user", ["hank", "dave"])
def test_nobody_else_finds_the_run_with_a_long_query(user: str, secret: Secret, ask: Ask) -> None:
    runs, tasks = "/api/v2/dags/~/dagRuns", "/api/v2/dags/~/dagRuns/~/taskInstances"
    for path, state in ((runs, {"states": ["running"]}), (tasks, {"state": ["awaiting_input"]})):
        mine = ask("alice", "POST", f"{path}/list", json=state)
        assert secret.told_by(mine.text), f"the owner's list lacks it: {mine.text[:200]}"
        answer = ask(user, "POST", f"{path}/list", json=state)
        assert answer.status_code == 200, answer.text
        assert not secret.told_by(answer.text)


def bodies(secret: Secret) -> dict[str, Any]:
    """What the routes that change something want to hear; one that is not here is new in Airflow."""
    run, run_path = secret.run, "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}"
    task = f"{run_path}/taskInstances/{{task_id}}"
    state = {"new_state": "failed"}
    value = {"key": "return_value", "value": "changed", "map_index": -1}
    bulk = {"actions": [{"action": "delete", "entities": [run]}]}
    answer = {"chosen_options": ["Approve"], "params_input": {}}
    clear = {"dry_run": False, "dag_run_id": run, "task_ids": [TASK], "only_failed": False}
    entity = {"task_id": TASK, "dag_id": DAG, "dag_run_id": run, "new_state": "failed"}
    return {
        "PUT /api/v2/backfills/{backfill_id}/pause": None,
        "PUT /api/v2/backfills/{backfill_id}/unpause": None,
        "PUT /api/v2/backfills/{backfill_id}/cancel": None,
        f"DELETE {run_path}": None,
        f"PATCH {run_path}": {"state": "failed"},
        "PATCH /api/v2/dags/{dag_id}/dagRuns": bulk,
        f"POST {run_path}/clear": {"dry_run": False},
        "POST /api/v2/dags/{dag_id}/clearDagRuns": {"dry_run": False, "dag_runs": [{"dag_run_id": run}]},
        "POST /api/v2/dags/{dag_id}/clearTaskInstances": clear,
        f"POST {task}/xcomEntries": value,
        f"PATCH {task}/xcomEntries/{{xcom_key:path}}": value,
        f"DELETE {task}/xcomEntries/{{xcom_key:path}}": None,
        f"PUT {task}/state-store/{{key:path}}": {"value": "changed"},
        f"PATCH {task}/state-store/{{key:path}}": {"value": "changed"},
        f"DELETE {task}/state-store/{{key:path}}": None,
        f"DELETE {task}/state-store": None,
        f"PATCH {run_path}/taskGroupInstances/{{group_id}}": state,
        f"PATCH {run_path}/taskGroupInstances/{{group_id}}/dry_run": state,
        f"PATCH {task}/{{map_index}}/dry_run": state,
        f"PATCH {task}/dry_run": state,
        f"PATCH {run_path}/taskInstances": {"actions": [{"action": "update", "entities": [entity]}]},
        f"PATCH {task}/{{map_index}}": state,
        f"PATCH {task}": state,
        f"DELETE {task}": None,
        f"PATCH {task}/{{map_index}}/hitlDetails": answer,
    }


def snapshot(ask: Ask, secret: Secret) -> Any:
    path = f"/api/v2/dags/{DAG}/dagRuns/{secret.run}"
    parts = [path, f"{path}/taskInstances", f"{path}/taskInstances/{TASK}/xcomEntries", f"{path}/hitlDetails"]
    parts += [f"/api/v2/backfills/{secret.backfill}"]
    return [_of_runs(ask("carol", "GET", part).raise_for_status().json()) for part in parts]


@pytest.mark.parametrize("user", ["hank", "dave"])
def test_nobody_else_changes_the_run(user: str, secret: Secret, ask: Ask) -> None:
    known, before = bodies(secret), snapshot(ask, secret)
    about_runs = {"dag_run_id", "backfill_id"}
    for route in secret.routes:
        if route.method == "GET" or route.path.endswith("/list"):
            continue
        if not (about_runs & route.parameters or str(route) in known):
            continue
        assert str(route) in known, f"{route} is new: say what it wants to hear"
        options = {} if known[str(route)] is None else {"json": known[str(route)]}
        answer = ask(user, route.method, route.url(**secret.values(route)), **options)
        told = f"{user}: {route}: {answer.status_code} {answer.text[:300]}"
        assert answer.status_code in (200, 403, 404), told
        assert answer.status_code != 200 or _changes_nothing(answer.json(), secret), told
    assert snapshot(ask, secret) == before


def _changes_nothing(answer: Any, secret: Secret) -> bool:
    """Whether a bulk call, which always says 200, has done nothing."""
    done = json.dumps([action.get("success") for action in answer.values() if isinstance(action, dict)])
    return not secret.told_by(done) and not answer.get("total_entries")


def test_the_owner_may_not_change_what_tasks_have_told_each_other(secret: Secret, ask: Ask) -> None:
    entry = f"/api/v2/dags/{DAG}/dagRuns/{secret.run}/taskInstances/{TASK}/xcomEntries"
    assert ask("alice", "GET", f"{entry}/return_value").status_code == 200
    changed = {"key": "return_value", "value": {"owner": "carol"}}
    assert ask("alice", "PATCH", f"{entry}/return_value", json=changed).status_code == 403
    assert ask("alice", "POST", entry, json=changed | {"key": "more"}).status_code == 403
    assert ask("alice", "DELETE", f"{entry}/return_value").status_code == 403


@pytest.mark.parametrize("user", ["alice", "dave"])
def test_the_installation_is_for_administrators(user: str, secret: Secret, ask: Ask) -> None:
    closed = ["connections", "variables", "pools", "config", "jobs", "providers", "assets"]
    closed += ["importErrors", "connections/rucio_lake", "config/section/core/option/fernet_key"]
    for what in closed:
        assert ask(user, "GET", f"/api/v2/{what}").status_code == 403, what
    assert ask(user, "GET", "/api/v2/plugins").status_code == 200, "the UI's navigation needs it"
    for what in ("connections", "variables", "pools", "jobs"):
        assert ask("carol", "GET", f"/api/v2/{what}").status_code == 200, what
    pause = {"is_paused": True}
    assert ask(user, "PATCH", f"/api/v2/dags/{DAG}", json=pause).status_code == 403
    assert ask(user, "DELETE", f"/api/v2/dags/{DAG}").status_code == 403
    ask("carol", "PATCH", "/api/v2/dags/housekeeping", json={"is_paused": False}).raise_for_status()


def test_affiliation_decides_which_workflows_there_are(ask: Ask) -> None:
    def seen(user: str) -> set[str]:
        return {d["dag_id"] for d in ask(user, "GET", "/api/v2/dags").json()["dags"]}

    assert seen("dave") == {"hello_world", "km3net_concordia", "km3net_reduction"}
    assert DAG in seen("alice")
    assert "km3net_concordia" not in seen("alice")
    assert "housekeeping" not in seen("alice") | seen("dave")
    assert {"housekeeping", "km3net_concordia", DAG} <= seen("carol")
    run: dict[str, Any] = {"logical_date": None, "conf": {}}
    for user, dag in (("dave", DAG), ("alice", "km3net_concordia"), ("alice", "housekeeping")):
        for method, path in (("GET", ""), ("GET", "/dagRuns"), ("POST", "/dagRuns")):
            answer = ask(
                user, method, f"/api/v2/dags/{dag}{path}", **({"json": run} if method == "POST" else {})
            )
            assert answer.status_code == 403, f"{user} {method} {dag}{path}"


def test_a_user_of_no_known_group_is_told_so(client: httpx.Client, mint: Mint) -> None:
    for groups in ((), ("unheard/of",)):
        headers = {"Authorization": f"Bearer {mint.token('nina', groups)}"}
        answer = client.get("/api/v2/dags", headers=headers)
        assert answer.status_code == 403
        assert "user nina is in" in answer.json()["detail"]


def test_who_has_left_all_groups_is_in_none_for_their_runs_either(
    client: httpx.Client, mint: Mint, grid: Grid
) -> None:
    name = f"left-{uuid.uuid4().hex[:8]}"

    def come(groups: tuple[str, ...], **changes: Any) -> tuple[int, object]:
        headers = {"Authorization": f"Bearer {mint.token(name, groups, **changes)}"}
        status = client.get("/api/v2/dags", headers=headers).status_code
        ((kept,),) = postgres.query(
            grid.layout, f"select groups::text from esap_user where name = '{name}'", "airflow"
        )
        return status, json.loads(str(kept))

    assert come(("ctao/users",)) == (200, ["ctao/users"])
    assert come((), **{"wlcg.groups": None}) == (403, ["ctao/users"]), "it does not tell of groups"
    assert come(()) == (403, [])
    assert come(("ctao/users",)) == (200, ["ctao/users"])


def test_a_name_stays_with_the_account_that_came_first(client: httpx.Client, mint: Mint, ask: Ask) -> None:
    assert ask("alice", "GET", "/api/v2/dags").status_code == 200
    other = {"Authorization": f"Bearer {mint.token('alice')}"}  # of another `sub`
    answer = client.get("/api/v2/dags", headers=other)
    assert answer.status_code == 403
    assert "belongs to another account" in answer.json()["detail"]


def test_groups_that_share_see_and_do_not_touch(ask: Ask) -> None:
    run = f"shared-{uuid.uuid4().hex}"
    asked: dict[str, Any] = {"logical_date": None, "dag_run_id": run, "conf": {}}
    started = ask("erin", "POST", "/api/v2/dags/hello_world/dagRuns", json=asked)
    assert started.status_code == 200, started.text
    path = f"/api/v2/dags/hello_world/dagRuns/{run}"
    assert ask("fiona", "GET", path).json()["triggering_user_name"] == "erin"
    assert ask("bob", "GET", path).status_code == 200
    assert ask("alice", "GET", path).status_code == 404
    assert ask("fiona", "PATCH", path, json={"state": "failed"}).status_code == 404
    assert ask("fiona", "DELETE", path).status_code == 404
    assert ask("erin", "PATCH", path, json={"state": "failed"}).status_code == 200
