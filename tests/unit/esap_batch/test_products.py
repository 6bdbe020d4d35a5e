from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esap_batch.products import (
    Claim,
    ClaimAction,
    RunState,
    base_of,
    decide_claim,
    generation_name,
    generation_of,
    incomplete,
    is_complete,
    judge,
    newest_open,
    next_generation,
    production_name,
    scope_of,
)

BASE = "/ctao/irf/prod6/cta-irf-0123456789ab"


def claim(generation: int, run: str = "d/other", published: bool = False) -> Claim:
    return Claim(generation_name(BASE, generation), run, published)


def decide(claims: list[Claim], holder: RunState | None = None, force: bool = False) -> Any:
    return decide_claim(BASE, claims, "d/mine", holder, force=force)


def test_the_scope_is_the_second_component() -> None:
    assert scope_of("/ctao/irf/a/b.fits.gz") == "irf"


@pytest.mark.parametrize("lfn", ["", "/", "/ctao", "/ctao/irf", "ctao/irf/x", "//irf/x"])
def test_what_is_no_lfn_is_refused(lfn: str) -> None:
    with pytest.raises(ValueError, match="allowed is /<vo>/<scope>/<path>"):
        scope_of(lfn)


def test_names_say_what_they_are() -> None:
    assert production_name("cta_irf", "0123456789abcdef") == "cta-irf-0123456789ab"
    assert generation_of(generation_name(BASE, 12)) == 12
    with pytest.raises(ValueError, match="no generation"):
        generation_of(BASE)


def test_the_first_request_claims_the_first_generation() -> None:
    assert decide([]).action is ClaimAction.CREATE
    assert decide([]).dataset == f"{BASE}-g1"


def test_a_published_product_is_used() -> None:
    found = decide([claim(1), claim(2, published=True)], RunState.ALIVE)
    assert (found.action, found.dataset, found.run) == (ClaimAction.USE, f"{BASE}-g2", "d/other")


def test_a_run_in_flight_is_waited_for() -> None:
    found = decide([claim(1)], RunState.ALIVE)
    assert (found.action, found.run) == (ClaimAction.WAIT, "d/other")


def test_the_claim_of_a_run_that_failed_is_taken_over_by_a_new_generation() -> None:
    found = decide([claim(1)], RunState.ENDED)
    assert (found.action, found.dataset) == (ClaimAction.CREATE, f"{BASE}-g2")


def test_a_retry_goes_on_with_its_own_claim() -> None:
    found = decide([claim(1, "d/mine")])
    assert (found.action, found.dataset) == (ClaimAction.CONTINUE, f"{BASE}-g1")


def test_a_run_that_is_cleared_after_it_published_uses_its_product() -> None:
    assert decide([claim(1, "d/mine", published=True)]).action is ClaimAction.USE


@pytest.mark.parametrize("published", [True, False])
def test_force_makes_a_new_generation(published: bool) -> None:
    found = decide([claim(1, published=published)], RunState.ALIVE, force=True)
    assert (found.action, found.dataset) == (ClaimAction.CREATE, f"{BASE}-g2")


def test_a_forced_run_that_is_tried_again_does_not_make_a_third() -> None:
    found = decide([claim(1, published=True), claim(2, "d/mine")], force=True)
    assert (found.action, found.dataset) == (ClaimAction.CONTINUE, f"{BASE}-g2")


@given(st.integers(1, 20), st.integers(0, 19), st.randoms())
def test_equal_requests_make_one_product_in_whatever_order_they_come(
    runs: int, failures: int, random: Any
) -> None:
    """Play the lake: any number of runs, some of which fail, take turns until all have ended."""
    lake: dict[str, Claim] = {}
    state = {f"d/{n}": "running" for n in range(runs)}
    doomed = set(random.sample(sorted(state), min(failures, runs - 1)))
    made = []
    while waiting := [r for r, s in state.items() if s == "running"]:
        run = random.choice(waiting)
        standing = newest_open(lake.values())
        alive = standing and state[standing.run] == "running"
        holder = RunState.ALIVE if alive else RunState.ENDED
        decision = decide_claim(BASE, lake.values(), run, holder, force=False)
        if decision.action is ClaimAction.CREATE:
            assert decision.dataset not in lake
            lake[decision.dataset] = Claim(decision.dataset, run, is_published=False)
        elif decision.action is ClaimAction.CONTINUE:
            state[run] = "failed" if run in doomed else "success"
            if run not in doomed:
                lake[decision.dataset] = Claim(decision.dataset, run, is_published=True)
                made.append(run)
        elif decision.action is ClaimAction.USE:
            state[run] = "success"
    assert len(made) == 1


def validation(output: str, verdict: str, *checks: tuple[str, bool]) -> dict[str, Any]:
    listed = [{"name": n, "passed": p, "value": 2, "allowed": "0..1", "target": "PSF"} for n, p in checks]
    return {"output": output, "verdict": verdict, "report": {"checks": listed}}


def test_a_valid_product_passes() -> None:
    verdict = judge([validation("irf", "valid", ("psf.norm", True))], ["irf"], {})
    assert verdict.passed
    assert verdict.checks == 1


def test_a_failed_check_is_an_error_unless_the_profile_says_otherwise() -> None:
    report = validation("irf", "invalid", ("psf.norm", False), ("header.date", False))
    verdict = judge([report], ["irf"], {"header.date": "warning"})
    assert [f.check for f in verdict.errors] == ["psf.norm"]
    assert [str(f.severity) for f in verdict.findings] == ["error", "warning"]
    assert "is 2, allowed 0..1" in verdict.errors[0].message
    assert judge([report], ["irf"], {"header.date": "ignore", "psf.norm": "warning"}).passed


def test_a_file_that_was_never_checked_does_not_pass() -> None:
    assert not judge([], ["irf"], {}).passed


def test_an_unreadable_file_does_not_pass_even_if_no_check_is_named() -> None:
    assert not judge([validation("irf", "unreadable")], ["irf"], {}).passed


def test_a_verdict_is_json() -> None:
    document = judge([validation("irf", "invalid", ("psf.norm", False))], ["irf"], {}).document()
    assert document["passed"] is False
    assert document["findings"][0]["check"] == "psf.norm"


def test_a_run_is_complete_when_its_newest_generation_is_published_and_lacks_nothing() -> None:
    partial, rest = Claim("/ctao/esap/p-g1", "d/r", True, 2, 6), Claim("/ctao/esap/p-g2", "d/r", True, 0, 6)
    other = Claim("/ctao/esap/p-g3", "d/other", is_published=True)
    assert not is_complete([other], "d/r")
    assert not is_complete([partial, other], "d/r")
    assert is_complete([rest, partial, other], "d/r")
    assert not is_complete([partial, Claim("/ctao/esap/p-g2", "d/r", is_published=False)], "d/r")


def test_the_next_generation_comes_after_everybodys() -> None:
    claims = [Claim(f"/ctao/esap/p-g{n}", "d/r", is_published=True) for n in (1, 10, 9)]
    assert next_generation(claims) == "/ctao/esap/p-g11"
    assert base_of("/ctao/esap/p-g10") == "/ctao/esap/p"


def test_who_finds_a_partial_product_is_told_what_is_missing_in_it() -> None:
    partial = Claim("/ctao/esap/p-g1", "d/other", True, 2, 6)
    found = decide_claim("/ctao/esap/p", [partial], "d/r", None, force=False)
    assert (found.action, found.missing, found.jobs) == (ClaimAction.USE, 2, 6)
    assert incomplete("/ctao/esap/p-g1", "d/other", 2, 6).startswith("2 of 6 jobs are missing")
