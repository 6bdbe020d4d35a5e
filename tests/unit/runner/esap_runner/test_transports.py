from __future__ import annotations

import os

from tests.unit.runner.conftest import Json, Node, adler32, sh, wait_until
from tests.unit.runner.esap_runner.store import Store


def http_input(store: Store, content: bytes) -> Json:
    store.files["/in.bin"] = content
    return {
        "name": "in.bin",
        "lfn": "/ctao/esap/in.bin",
        "size": len(content),
        "adler32": adler32(content),
        "pfn": store.url("/in.bin"),
    }


def test_http_in_and_out_over_short_failures(node: Node, store: Store) -> None:
    given = http_input(store, b"abc" * 100_000)
    store.failures = 2
    output = node.output("out.bin") | {"pfn": store.url("/out.bin")}
    outcome = node.run(node.job(sh("cp in.bin out.bin"), inputs=[given], outputs=[output]))
    assert outcome.code == 0, outcome.report["message"]
    assert store.files["/out.bin"] == b"abc" * 100_000
    assert outcome.stdout.count("next try") == 2


def test_http_equal_file_is_adopted(node: Node, store: Store) -> None:
    store.files["/out.bin"] = b"x\n"
    output = node.output("out.bin") | {"pfn": store.url("/out.bin")}
    assert node.run(node.job(sh("echo x > out.bin"), outputs=[output])).code == 0
    assert store.puts == 0


def test_http_input_that_is_gone(node: Node, store: Store) -> None:
    given = http_input(store, b"abc")
    store.files.clear()
    outcome = node.run(node.noop("ok", inputs=[given]))
    assert outcome.code == 20
    assert "404" in outcome.report["message"]
    assert "next try" not in outcome.stdout


def test_http_input_of_a_server_that_does_not_serve_it_now(node: Node, store: Store) -> None:
    given = http_input(store, b"abc" * 100_000)
    store.failures = 99
    outcome = node.run(node.noop("ok", inputs=[given]))
    assert (outcome.code, outcome.report["reason"]) == (22, "INPUT_UNREACHABLE")
    store.failures, store.cuts, store.knows_ranges = 0, [100_000] * 3, False
    outcome = node.run(node.noop("ok", inputs=[given]))
    assert outcome.report["reason"] == "INPUT_UNREACHABLE"
    assert "was cut off, 200000 bytes before its end" in outcome.report["message"]
    assert outcome.stdout.count("next try") == 2


def test_http_input_that_nobody_answers_for(node: Node, store: Store) -> None:
    given = http_input(store, b"abc") | {"pfn": "http://127.0.0.1:9/in.bin"}
    assert node.run(node.noop("ok", inputs=[given])).report["reason"] == "INPUT_UNREACHABLE"


def test_http_input_that_stays_corrupt(node: Node, store: Store) -> None:
    given = http_input(store, b"abc")
    store.files["/in.bin"] = b"abd"
    assert node.run(node.noop("ok", inputs=[given])).code == 21


def test_http_server_that_is_down_or_refuses(node: Node, store: Store) -> None:
    output = node.output("out.bin") | {"pfn": store.url("/out.bin")}
    store.refuses_puts = True
    outcome = node.run(node.job(sh("echo x > out.bin"), outputs=[output]))
    assert outcome.code == 50
    assert "403" in outcome.report["message"]
    output["pfn"] = "http://127.0.0.1:9/out.bin"
    assert node.run(node.job(sh("echo x > out.bin"), outputs=[output])).code == 50


def test_http_download_goes_on_where_it_was_cut_off(node: Node, store: Store) -> None:
    given = http_input(store, os.urandom(300_000))
    store.cuts = [100_000, 150_000]
    outcome = node.run(node.job(sh("true"), inputs=[given]))
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert store.starts == [0, 100_000, 250_000]


def test_http_download_from_a_server_without_ranges_begins_anew(node: Node, store: Store) -> None:
    given = http_input(store, os.urandom(300_000))
    store.cuts, store.knows_ranges = [100_000], False
    outcome = node.run(node.job(sh("true"), inputs=[given]))
    assert outcome.report["reason"] == "OK", outcome.stdout
    assert store.starts == [0, 0]


def test_http_download_of_a_file_that_has_changed_meanwhile_begins_anew(node: Node, store: Store) -> None:
    given = http_input(store, b"x" * 300_000)
    store.files["/in.bin"] = b"y" * 300_000
    store.cuts = [100_000]
    process = node.start(node.job(sh("true"), inputs=[given]))
    wait_until(lambda: len(store.starts) == 1, "the first try")
    store.files["/in.bin"] = b"x" * 300_000
    assert node.finish(process).report["reason"] == "OK"
    assert store.starts == [0, 100_000, 0]
