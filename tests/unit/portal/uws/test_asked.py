"""What clients ask for, however they send it."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.requests import Request

from esap_batch.workflows import load_workflow, workflow_names
from localgrid.layout import PROJECT
from portal.core.refusals import BadRequest, UnsupportedMedia
from portal.uws.asked import CONTROLS, FORM, JSON, MAX_FIELDS, Asked, read

CONFIG = PROJECT / "config"
HELLO = load_workflow(CONFIG, "hello_world")


def asked(body: bytes = b"", kind: str = FORM, query: str = "") -> Asked:
    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", kind.encode())]
    scope = {"type": "http", "method": "POST", "query_string": query.encode(), "headers": headers}
    return asyncio.run(read(Request(scope, receive)))


def upload(*files: tuple[str, bytes], **fields: str) -> tuple[bytes, str]:
    parts = [
        f'--X\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n'.encode()
        for n, v in fields.items()
    ]
    for name, content in files:
        head = f'--X\r\nContent-Disposition: form-data; name="{name}"; filename="../f.json"\r\n\r\n'
        parts.append(head.encode() + content + b"\r\n")
    return b"".join([*parts, b"--X--\r\n"]), "multipart/form-data; boundary=X"


def test_no_workflow_has_a_field_with_the_name_of_a_control_parameter() -> None:
    fields = {f.lower() for name in workflow_names(CONFIG) for f in load_workflow(CONFIG, name).properties}
    assert not fields & set(CONTROLS)


def test_a_form_a_query_a_document_and_a_file_ask_for_the_same() -> None:
    pairs = {"N_Jobs": "2", "message": "a b", "Phase": "RUN", "runid": "x"}
    document = json.dumps({"N_Jobs": 2, "message": "a b", "Phase": "RUN", "runid": "x"}).encode()
    ways = [
        asked(urlencode(pairs).encode()),
        asked(query=urlencode(pairs)),
        asked(document, JSON),
        asked(*upload(("any", document))),
        asked(*upload(("any", b'{"n_jobs": 2, "message": "a b"}'), PHASE="RUN", RUNID="x")),
        asked(*upload(**pairs)),
    ]
    for way in ways:
        assert way.controls == {"phase": "RUN", "runid": "x"}
        assert way.fields(HELLO) == {"n_jobs": 2, "message": "a b"}


def test_a_field_beside_a_file_completes_and_corrects_it() -> None:
    found = asked(*upload(("f", b'{"n_jobs": 2, "message": "a"}'), N_JOBS="5", behaviour="ok"))
    assert found.fields(HELLO) == {"n_jobs": 5, "message": "a", "behaviour": "ok"}


def test_our_own_steering_file_is_a_request() -> None:
    steering = {
        "steering_version": 1,
        "workflow": "hello_world",
        "request": {"n_jobs": 2},
        "fingerprint": "f",
    }
    found = asked(json.dumps(steering).encode(), JSON)
    assert (found.controls, found.fields(HELLO)) == ({"workflow": "hello_world"}, {"n_jobs": 2})
    with pytest.raises(BadRequest, match="request = null"):
        asked(b'{"steering_version": 1}', JSON)


def test_a_flat_steering_file_of_esap_stays_as_it_is() -> None:
    flat = {"workflow": "CONCORDIA", "type": "URL", "Parameters": {"NSHOW": "200"}}
    found = asked(*upload(("f", json.dumps(flat).encode()), PHASE="RUN"))
    assert (found.controls, found.fields(HELLO)) == ({"phase": "RUN"}, flat)
    with pytest.raises(BadRequest, match=r"n_jobs = 5"):
        asked(*upload(("f", json.dumps(flat).encode()), n_jobs="5")).fields(HELLO)


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (b"n_jobs=%ff", FORM, "UTF-8"),
        (b"n_jobs=\xff", FORM, "UTF-8"),
        (b"&".join([b"a=1"] * (MAX_FIELDS + 1)), FORM, f"at most {MAX_FIELDS} parameters"),
        (b"[1]", JSON, "a JSON object"),
        (b'{"n_jobs": NaN}', JSON, "NaN is no finite number"),
        (b'{"n_jobs": 1, "n_jobs": 2}', JSON, "given more than once: 'n_jobs'"),
        (b'{"a":' * 100_000, JSON, "nested"),
        (b"{", JSON, "allowed is JSON"),
        (b"\xff", JSON, "UTF-8"),
        (b"phase=RUN&PHASE=ABORT", FORM, 'PHASE = \\["RUN", "ABORT"\\]'),
        (*upload(("f", b"%PDF")), "file in 'f': allowed is JSON"),
    ],
)
def test_what_cannot_be_read_is_named(body: bytes, kind: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        asked(body, kind)


def test_a_field_that_repeats_is_a_problem_of_that_field() -> None:
    with pytest.raises(BadRequest, match=r"n_jobs = .*given 2 times"):
        asked(b"n_jobs=1&N_JOBS=2").fields(HELLO)
    with pytest.raises(BadRequest, match=r"N_JOBS = 2.*another case"):
        asked(b'{"n_jobs": 1, "N_JOBS": 2}', JSON).fields(HELLO)


def test_fields_that_no_workflow_types_are_given_once_each() -> None:
    assert asked(b"numbers=1&Numbers=2").texts() == {"numbers": "1", "Numbers": "2"}
    with pytest.raises(BadRequest, match=r'numbers = "2": allowed one value \(it is given more than once\)'):
        asked(b"numbers=1&more=3&numbers=2").texts()


def test_only_some_kinds_of_bodies_are_read() -> None:
    with pytest.raises(UnsupportedMedia, match="text/xml"):
        asked(b"<a/>", "text/xml")
    assert asked(b"", "text/xml") == Asked()


def test_phases_times_and_durations_are_checked() -> None:
    found = asked(b"PHASE=run&DESTRUCTION=soon&EXECUTIONDURATION=-1&ACTION=STOP")
    with pytest.raises(BadRequest, match='PHASE = "run": allowed RUN or ABORT'):
        found.phase("RUN", "ABORT")
    with pytest.raises(BadRequest, match='DESTRUCTION = "soon"'):
        _ = found.destruction
    with pytest.raises(BadRequest, match='EXECUTIONDURATION = "-1"'):
        _ = found.execution_duration
    with pytest.raises(BadRequest, match='ACTION = "STOP": allowed DELETE'):
        found.action()
