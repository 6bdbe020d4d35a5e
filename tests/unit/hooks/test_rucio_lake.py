from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from airflow.sdk import Connection
from airflow.sdk.bases.hook import BaseHook
from rucio.common import exception as rucio_errors  # noqa: TID253 - the errors are what is tested

from esap_batch.products import Claim, ProductFile
from hooks.errors import BackendRefused, BackendUnavailable, RefusedForGood
from hooks.rucio_lake import RucioLake, RucioSettings, dump

DATASET = "/ctao/esap/x/p-g1"
FILES = [
    ProductFile(f"f{n}", f"{DATASET}/f{n}", f"file:///f{n}", 10 + n, f"0000000{n}", "ab") for n in range(3)
]
SETTINGS = RucioSettings("http://lake", "esap", credentials={"username": "u", "password": "secret"})


class FakeClient:
    """Rucio's client with its state in dictionaries, and its errors."""

    def __init__(self) -> None:
        self.dids: dict[str, dict[str, Any]] = {}
        self.replicas: dict[str, dict[str, Any]] = {}
        self.content: dict[str, list[str]] = {}
        self.rules: list[dict[str, str]] = []
        self.calls: list[tuple[str, Any]] = []

    def add_dataset(self, scope: str, name: str, meta: dict[str, Any]) -> None:
        if name in self.dids:
            raise rucio_errors.DataIdentifierAlreadyExists
        self.calls.append(("add_dataset", scope))
        self.dids[name] = {"open": True, "meta": meta}

    def list_dids(self, _scope: str, filters: dict[str, Any], did_type: str) -> list[str]:
        assert did_type == "dataset"
        return [n for n in self.dids if n.startswith(filters["name"].removesuffix("*"))]

    def get_did(self, _scope: str, name: str) -> dict[str, Any]:
        return self.dids[name]

    def get_metadata(self, _scope: str, name: str, plugin: str) -> dict[str, Any]:
        assert plugin == "JSON"
        meta: dict[str, Any] = self.dids[name]["meta"]
        return meta

    def lfns2pfns(self, rse: str, dids: list[str], operation: str) -> dict[str, str]:
        self.calls.append(("lfns2pfns", operation))
        return {did: f"file:///{rse}{did.split(':', 1)[1]}" for did in reversed(dids)}

    def list_replicas(self, dids: list[dict[str, str]]) -> list[dict[str, Any]]:
        return [self.replicas[d["name"]] for d in dids if d["name"] in self.replicas]

    def add_replicas(self, rse: str, files: list[dict[str, Any]]) -> None:
        self.calls.append(("add_replicas", [f["name"] for f in files]))
        for f in files:
            entry = self.replicas.setdefault(f["name"], {**f, "rses": {}})
            entry["rses"][rse] = []

    def list_content(self, _scope: str, name: str) -> list[dict[str, str]]:
        return [{"name": n} for n in self.content.get(name, [])]

    def attach_dids(self, _scope: str, name: str, dids: list[dict[str, str]]) -> None:
        self.calls.append(("attach_dids", [d["name"] for d in dids]))
        self.content.setdefault(name, []).extend(d["name"] for d in dids)

    def add_replication_rule(
        self, _dids: Any, copies: int, rse: str, grouping: str, **_more: Any
    ) -> list[str]:
        assert (copies, grouping) == (1, "DATASET")
        if any(r["rse_expression"] == rse for r in self.rules):
            raise rucio_errors.DuplicateRule
        self.rules.append({"rse_expression": rse, "id": f"id{len(self.rules)}"})
        return [self.rules[-1]["id"]]

    def list_did_rules(self, _scope: str, _name: str) -> list[dict[str, str]]:
        return self.rules

    def set_status(self, _scope: str, name: str, open: bool) -> None:  # noqa: A002 - Rucio's name
        if not self.dids[name]["open"] or self.dids[name].get("locked"):
            raise rucio_errors.UnsupportedOperation
        self.dids[name]["open"] = open


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def lake(client: FakeClient) -> RucioLake:
    lake = RucioLake(SETTINGS)
    lake.__dict__["client"] = client  # where its cached property would keep the real one
    return lake


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (rucio_errors.ServerConnectionException(), BackendUnavailable),
        (rucio_errors.ServiceUnavailable(), BackendUnavailable),
        (rucio_errors.DatabaseException(), BackendUnavailable),
        (rucio_errors.RucioException("502 bad gateway"), BackendUnavailable),
        (requests.ConnectionError("no route"), BackendUnavailable),
        (TimeoutError("slow"), BackendUnavailable),
        (rucio_errors.CannotAuthenticate(), RefusedForGood),
        (rucio_errors.DataIdentifierNotFound(), BackendRefused),
        (rucio_errors.AccessDenied(), RefusedForGood),
    ],
)
def test_a_lake_that_is_down_is_told_from_one_that_says_no(
    lake: RucioLake, client: FakeClient, monkeypatch: pytest.MonkeyPatch, cause: Exception, kind: type
) -> None:
    def broken(*_args: Any) -> None:
        raise cause

    monkeypatch.setattr(client, "get_did", broken)
    with pytest.raises(kind, match="Rucio at http://lake") as error:
        lake.is_published(DATASET)
    assert error.value.__cause__ is cause


def test_a_mistake_in_the_code_is_no_error_of_the_lake(lake: RucioLake) -> None:
    with pytest.raises(KeyError):
        lake.is_published(DATASET)


def test_a_claim_succeeds_once_and_carries_its_metadata(lake: RucioLake, client: FakeClient) -> None:
    assert lake.claim(DATASET, {"esap_run": "d/r1"})
    assert not lake.claim(DATASET, {"esap_run": "d/r2"})
    assert lake.claims("/ctao/esap/x/p") == [Claim(DATASET, "d/r1", is_published=False)]
    assert client.calls == [("add_dataset", "esap")]


def test_claims_are_in_the_order_of_generations_not_of_letters(lake: RucioLake) -> None:
    for n in (10, 2, 9):
        lake.claim(f"/ctao/esap/x/p-g{n}", {})
    lake.close("/ctao/esap/x/p-g9")
    assert [(c.generation, c.is_published) for c in lake.claims("/ctao/esap/x/p")] == [
        (2, False),
        (9, True),
        (10, False),
    ]


def test_each_lfn_gets_its_own_pfn_in_one_call(lake: RucioLake, client: FakeClient) -> None:
    lfns = [f.lfn for f in FILES]
    assert lake.pfns("R", lfns) == {lfn: f"file:///R{lfn}" for lfn in lfns}
    assert client.calls == [("lfns2pfns", "write")]


def test_nothing_is_asked_about_no_files(lake: RucioLake, client: FakeClient) -> None:
    assert lake.pfns("R", []) == {}
    assert client.calls == []


def test_files_are_registered_and_attached_once(lake: RucioLake, client: FakeClient) -> None:
    lake.add_files(DATASET, "R", FILES)
    lake.add_files(DATASET, "R", FILES)
    names = [f.lfn for f in FILES]
    assert client.calls == [("add_replicas", names), ("attach_dids", names)]
    assert client.replicas[names[1]]["bytes"] == 11


def test_a_try_goes_on_where_an_earlier_one_broke_off(lake: RucioLake, client: FakeClient) -> None:
    lake.add_files(DATASET, "R", FILES[:1])
    client.replicas[FILES[1].lfn] = {"name": FILES[1].lfn, "adler32": FILES[1].adler32, "rses": {"R": []}}
    client.calls.clear()
    lake.add_files(DATASET, "R", FILES)
    assert client.calls == [
        ("add_replicas", [FILES[2].lfn]),
        ("attach_dids", [FILES[1].lfn, FILES[2].lfn]),
    ]


def test_a_file_that_is_known_elsewhere_gets_a_replica_here(lake: RucioLake, client: FakeClient) -> None:
    lake.add_files(DATASET, "OTHER", FILES[:1])
    client.calls.clear()
    lake.add_files(DATASET, "R", FILES[:1])
    assert client.calls == [("add_replicas", [FILES[0].lfn])]


def test_other_content_under_a_known_name_is_refused_before_anything_changes(
    lake: RucioLake, client: FakeClient
) -> None:
    client.replicas[FILES[2].lfn] = {"name": FILES[2].lfn, "adler32": "ffffffff", "rses": {"R": []}}
    with pytest.raises(BackendRefused, match=r"f2 is known with adler32 ffffffff, this one has 00000002"):
        lake.add_files(DATASET, "R", FILES)
    assert client.calls == []


def test_a_rule_that_stands_is_adopted(lake: RucioLake) -> None:
    first = lake.add_rule(DATASET, "R", activity="a")
    second = lake.add_rule(DATASET, "S", activity="a")
    assert first != second
    assert lake.add_rule(DATASET, "R", activity="a") == first
    assert lake.rules(DATASET) == {"R": first, "S": second}


def test_closing_publishes_and_may_be_repeated(lake: RucioLake) -> None:
    lake.claim(DATASET, {})
    assert not lake.is_published(DATASET)
    lake.close(DATASET)
    lake.close(DATASET)
    assert lake.is_published(DATASET)


def test_a_dataset_that_cannot_be_closed_is_not_called_published(lake: RucioLake, client: FakeClient) -> None:
    lake.claim(DATASET, {})
    client.dids[DATASET]["locked"] = True
    with pytest.raises(BackendRefused):
        lake.close(DATASET)


def test_settings_come_from_the_connection_and_never_show_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = Connection(
        conn_id="rucio_lake", conn_type="http", host="http://lake", login="u", password="secret",
        extra=json.dumps({"account": "esap"}),
    )  # fmt: skip
    monkeypatch.setattr(BaseHook, "get_connection", lambda _conn_id: connection)
    settings = RucioLake.from_connection("rucio_lake").settings
    assert settings == SETTINGS
    assert settings.auth_type == "userpass"
    assert "secret" not in repr(settings)


def test_two_lakes_or_users_never_share_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    class Recorder:
        """Takes what Rucio's client is made with."""

        TOKEN_PATH_PREFIX = ""

        def __init__(self, **arguments: Any) -> None:
            self.arguments = arguments

    monkeypatch.setattr("hooks.lake_client.LakeClient", Recorder)

    def prefix(url: str, user: str) -> str:
        made: Any = RucioLake(RucioSettings(url, "esap", credentials={"username": user})).client
        assert made.arguments["rucio_host"] == made.arguments["auth_host"] == url
        assert made.arguments["creds"] == {"username": user}
        return str(made.TOKEN_PATH_PREFIX)

    prefixes = [prefix(url, user) for url in ("http://a", "http://b") for user in ("u", "v")]
    assert len(set(prefixes)) == 4
    assert prefix("http://a", "u") == prefixes[0]


def test_a_document_is_the_same_bytes_whatever_the_order_of_its_keys() -> None:
    assert dump({"b": 1, "a": [2]}) == dump({"a": [2], "b": 1})
    assert dump({"a": 1}).endswith(b"}\n")


def test_a_claim_knows_what_its_product_lacks(lake: RucioLake) -> None:
    lake.claim(DATASET, {"esap_run": "d/r1", "esap_missing_jobs": 3, "esap_jobs": 8})
    assert lake.claims("/ctao/esap/x/p") == [Claim(DATASET, "d/r1", is_published=False, missing=3, jobs=8)]
