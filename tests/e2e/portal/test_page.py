"""The pages for people, in headless Chromium: by mouse, by keyboard, on a phone, without script."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from localgrid.grid import Grid
from localgrid.screenshots.browser import BROWSER, SWITCHES
from localgrid.signin import passwords
from tests.e2e.conftest import Runs
from tests.e2e.tokens import REFUSED, Mint, require_refusal
from tests.e2e.uws import Uws, number

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.skipif(not BROWSER.exists(), reason=f"there is no {BROWSER}")
PATIENCE_MS = 120_000
PHONE = {"width": 360, "height": 740}
PATHS = ("/batch/", "/batch/new", "/batch/new/cta_concordia", "/batch/facilities", "/batch/jobs/{job}")
# Each text's contrast with what is behind it (WCAG 2.1, 1.4.3), where it is below the 4.5 of level AA.
POOR_CONTRAST = """() => {
  const parts = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
  const linear = value => (value /= 255) <= .03928 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4;
  const light = colour => {
    const [r, g, b] = parts(colour).map(linear);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (parts(colour)[3] !== 0) return colour;
    }
    throw new Error("the page has no background of its own");
  };
  const hasText = element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
  return [...document.body.querySelectorAll("*")]
    .filter(element => element.checkVisibility() && hasText(element) && !element.closest("svg"))
    .map(element => {
      const text = light(getComputedStyle(element).color), ground = light(behind(element));
      const contrast = (Math.max(text, ground) + .05) / (Math.min(text, ground) + .05);
      return [contrast, element.outerHTML.slice(0, 80)];
    })
    .filter(one => one[0] < 4.5);
}"""
NAMELESS = """() => [...document.querySelectorAll("input:not([type=hidden]), select, textarea, button, a")]
  .filter(e => e.checkVisibility())
  .filter(e => !e.labels?.length && !e.textContent.trim() && !e.getAttribute("aria-label"))
  .map(e => e.outerHTML)"""
FOCUS = """() => { const e = document.activeElement; const s = getComputedStyle(e);
  return [e.tagName, e.id || e.textContent.trim(), s.outlineStyle] }"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def session(chromium: Browser, grid: Grid) -> Any:
    """Log alice in at her issuer, beginning at a page of ours; give what the browser keeps of it."""
    context = chromium.new_context(base_url=grid.info["airflow"]["url"])
    page = opened(context)
    page.goto("/batch/facilities")
    page.fill("input[name=username]", "alice")
    page.fill("input[name=password]", passwords(grid.info)["alice"])
    page.click("button[type=submit]")
    page.wait_for_url("**/batch/facilities")
    assert page.locator("h1").inner_text() == "Facilities"
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def visit(chromium: Browser, grid: Grid, session: Any) -> Iterator[Callable[..., Page]]:
    """Give a function that opens a page as alice. What goes wrong in the browser fails the test."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def open_page(path: str, **options: Any) -> Page:
        context = chromium.new_context(base_url=grid.info["airflow"]["url"], storage_state=session, **options)
        contexts.append(context)
        page = opened(context)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if _is_fault(line) else None)
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def _is_fault(line: Any) -> bool:
    """Tell errors of scripts and of the security policy from answers that a test has asked for."""
    return line.type == "error" and (
        not line.text.startswith("Failed to load resource") or "/static/" in line.location["url"]
    )


def opened(context: BrowserContext) -> Page:
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    return page


@pytest.fixture(scope="module")
def uws(users: Callable[[str], Runs]) -> Uws:
    return Uws(users("alice").api)


@pytest.fixture(scope="module")
def job(uws: Uws, wait_for: Callable[..., Any]) -> str:
    """A job of alice that has its results."""
    path = uws.make(PHASE="RUN", n_jobs=2, RUNID="for the pages")
    wait_for(lambda: uws.phase(path) == "COMPLETED", 240)
    return number(path)


def test_a_job_is_made_by_form_watched_and_its_results_fetched(
    visit: Callable[..., Page], tmp_path: Path
) -> None:
    page = visit("/batch/")
    page.get_by_role("link", name="New job", exact=True).first.click()
    page.get_by_role("link", name="Hello world").click()
    page.get_by_label("Message").fill(message := uuid.uuid4().hex)
    page.get_by_label("Number of jobs").fill("none")
    page.get_by_role("button", name="Check").click()
    page.get_by_role("alert").get_by_text("1 problem to mend").wait_for()
    assert page.get_by_label("Number of jobs").input_value() == "none"
    page.get_by_label("Number of jobs").fill("2")
    page.get_by_role("button", name="Check").click()
    page.get_by_text("Nothing is wrong with this request").wait_for()
    assert page.get_by_role("row").filter(has_text="lapalma").count() == 1
    page.get_by_role("button", name="Create and run").click()
    page.wait_for_url(re.compile(r"/batch/jobs/\d+$"))
    page.get_by_role("heading", name="Steps").wait_for()
    page.locator(".phase", has_text="COMPLETED").wait_for()  # the script shows it, nobody reloads
    with page.expect_download() as download:
        page.get_by_role("link", name="hello_00001.json").click()
    download.value.save_as(tmp_path / "hello.json")
    assert message in (tmp_path / "hello.json").read_text()
    assert page.locator("svg g.entity").count() >= 3
    assert page.locator("svg g.activity").count() >= 2


def test_progress_is_shown_while_jobs_run_and_an_abort_ends_them(
    visit: Callable[..., Page], uws: Uws, wait_for: Callable[..., Any]
) -> None:
    path = uws.make(PHASE="RUN", n_jobs=3, behaviour="slow", duration_s=120)
    page = visit(f"/batch/jobs/{number(path)}")
    page.locator(".progress", has_text="of 3 done").wait_for()
    assert page.locator("[aria-current=step]").inner_text().startswith("Wait for the jobs")
    page.get_by_text("Last lines of the log").wait_for()
    page.get_by_role("button", name="Abort").click()
    page.locator(".phase", has_text="ABORTED").wait_for()
    wait_for(lambda: uws.phase(path) == "ABORTED")


def test_a_failed_job_says_why_with_the_last_lines_of_its_jobs(
    visit: Callable[..., Page], uws: Uws, wait_for: Callable[..., Any]
) -> None:
    path = uws.make(PHASE="RUN", n_jobs=1, behaviour="always_fail")
    wait_for(lambda: uws.phase(path) == "ERROR", 240)
    page = visit(f"/batch/jobs/{number(path)}")
    assert "DIAGNOSIS PAYLOAD_FAILED" in page.locator("pre.wrong").inner_text()
    assert "PAYLOAD_FAILED" in page.locator("summary").first.inner_text()
    assert page.locator("details[open] pre").first.inner_text().strip()


def test_a_page_whose_session_has_ended_goes_to_the_login_once(visit: Callable[..., Page], uws: Uws) -> None:
    path = uws.make(PHASE="RUN", n_jobs=1, behaviour="slow", duration_s=120)
    page = visit(f"/batch/jobs/{number(path)}")
    page.locator(".progress").wait_for()
    logins: list[str] = []
    # Only what is answered: the browser tells of a redirect that it does not follow as well.
    page.on("response", lambda had: logins.append(had.url) if "/auth/login" in had.url else None)
    page.context.clear_cookies()
    page.locator("input[name=password]").wait_for()
    assert len(logins) == 1
    uws.post(f"{path}/phase", PHASE="ABORT")


def test_all_can_be_done_by_keyboard(visit: Callable[..., Page], uws: Uws) -> None:
    """Make a job without touching the mouse: every stop is visible, in the order of the page."""
    page = visit("/batch/new/hello_world")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUS)[1] == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    names = page.eval_on_selector_all(
        "main input:not([type=hidden]), main select, main textarea, main button",
        "found => found.map(e => e.id || e.textContent.trim())",
    )
    stops = []
    for _ in names:
        page.keyboard.press("Tab")
        tag, name, outline = page.evaluate(FOCUS)
        assert outline != "none", f"{tag} {name} shows no focus"
        stops.append(name)
        if name == "f-message":
            page.keyboard.press("Control+a")
            page.keyboard.type(label := uuid.uuid4().hex)
        if name == "f-behaviour":
            page.keyboard.type("slow")
    assert stops == names
    while page.evaluate(FOCUS)[1] != "Create only":
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/batch/jobs/\d+$"))
    made = page.url.rsplit("/", 1)[-1]
    found = uws.parameters(f"jobs/{made}")
    assert (found["message"], found["behaviour"]) == (label, "slow")
    assert uws.phase(f"jobs/{made}") == "PENDING"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone_and_can_be_read_by_all(visit: Callable[..., Page], job: str, scheme: str) -> None:
    page = visit("/batch/", viewport=PHONE, color_scheme=scheme)
    for path in PATHS:
        page.goto(path.format(job=job))
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
        assert page.evaluate(POOR_CONTRAST) == [], path
        assert page.evaluate(NAMELESS) == [], path
        assert page.locator("h1").count() == 1, path
        assert page.locator("html").get_attribute("lang") == "en"


def test_without_script_all_works_and_progress_is_shown_anew(
    visit: Callable[..., Page], uws: Uws, tmp_path: Path
) -> None:
    file = tmp_path / "steering.json"
    request = {"n_jobs": 1, "message": uuid.uuid4().hex}
    file.write_text(json.dumps({"workflow": "hello_world", "request": request}))
    page = visit("/batch/new", java_script_enabled=False)
    page.get_by_label("Steering file").set_input_files(file)
    page.get_by_role("button", name="Show its form").click()
    assert page.get_by_label("Number of jobs").input_value() == "1"
    page.get_by_role("button", name="Create and run").click()
    page.wait_for_url(re.compile(r"/batch/jobs/\d+$"))
    page.locator(".phase", has_text="COMPLETED").wait_for()  # the browser loads it again by itself


def test_a_job_is_started_and_deleted_from_its_page(visit: Callable[..., Page], uws: Uws) -> None:
    path = uws.make(n_jobs=1)
    page = visit(f"/batch/find?id={number(path)}")
    page.get_by_text("Change or delete").click()
    page.get_by_label("Leaves the list (UTC)").fill("2027-03-01T12:00")
    page.get_by_role("button", name="Change").click()
    page.get_by_text("2027-03-01 12:00:00 UTC").wait_for()
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator(".phase", has_not_text="PENDING").wait_for()
    page.get_by_text("Change or delete").click()
    page.get_by_role("button", name="Delete this job").click()
    page.wait_for_url("**/batch/")
    assert page.get_by_role("link", name=re.compile(f"^{number(path)}\\b")).count() == 0
    assert number(path) not in uws.ids()


def test_airflows_navigation_leads_here(users: Callable[[str], Runs]) -> None:
    (plugin,) = users("carol").api.get("/plugins")["plugins"]
    (view,) = plugin["external_views"]
    assert (view["href"], view["url_route"], view["destination"]) == ("/batch/", None, "nav")


@pytest.mark.parametrize("user", ["bob", "dave"])
def test_pages_of_another_users_job_are_not_there(users: Callable[[str], Runs], job: str, user: str) -> None:
    api = users(user).api
    with httpx.Client(base_url=f"{api.url}/batch/", timeout=60) as other:
        other.headers["Authorization"] = f"Bearer {api.token}"
        for path in (f"jobs/{job}", f"jobs/{job}/now", f"find?id={job}"):
            answer = other.get(path)
            assert answer.status_code == 404, path
            assert "for the pages" not in answer.text
        for action in ("run", "abort", "delete", "destruction"):
            assert other.post(f"jobs/{job}/{action}", data={"token": ""}).status_code in (403, 404), action
        assert "for the pages" not in other.get("").text
        assert other.get(f"new/hello_world?like={job}").status_code == 404


def test_bad_credentials_see_nothing(grid: Grid, job: str) -> None:
    mint = Mint(grid.info)
    with httpx.Client(base_url=f"{grid.info['airflow']['url']}/batch/", timeout=60) as nobody:
        for kind in REFUSED:
            for path in ("", "new", "new/hello_world", "facilities", f"jobs/{job}", f"find?id={job}"):
                require_refusal(nobody.get(path, headers=mint.headers(kind, "alice")), kind)
            answer = nobody.post(f"jobs/{job}/delete", headers=mint.headers(kind, "alice"))
            require_refusal(answer, kind)


def test_a_form_of_another_site_changes_nothing(
    grid: Grid, session: Any, uws: Uws, visit: Callable[..., Page]
) -> None:
    path = uws.make()
    page = visit(f"/batch/jobs/{number(path)}")
    token = page.locator("input[name=token]").first.get_attribute("value")
    cookies = {c["name"]: c["value"] for c in session["cookies"]}
    url = f"{grid.info['airflow']['url']}/batch/jobs/{number(path)}/delete"
    for origin in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        answer = httpx.post(url, data={"token": token or ""}, cookies=cookies, headers=origin)
        assert answer.status_code == 403
    assert httpx.post(url, data={"token": ""}, cookies=cookies).status_code == 403
    assert uws.phase(path) == "PENDING"
