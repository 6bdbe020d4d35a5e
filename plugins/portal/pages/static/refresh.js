"use strict";
// Keeps the steps of a job up to date. When its phase changes, which UWS tells by WAIT, all of the page is new.
const place = document.getElementById("now");
const PAUSE_MS = 4000;
const OPEN = "esap-open"; // what is open stays open: somebody may be about to press a button in it

let leaving = false; // a page that is renewed would call off what the user has just sent
document.addEventListener("submit", () => (leaving = true));

function renew() {
  if (leaving) return;
  const open = [...document.querySelectorAll("details[open] > summary")].map((one) => one.textContent);
  sessionStorage.setItem(OPEN, JSON.stringify(open));
  location.reload();
}

function reopen() {
  const open = JSON.parse(sessionStorage.getItem(OPEN) || "[]");
  sessionStorage.removeItem(OPEN);
  for (const one of document.querySelectorAll("details > summary"))
    if (open.includes(one.textContent)) one.parentElement.open = true;
}

async function show() {
  if (!document.hidden) {
    const answer = await fetch(place.dataset.address, { headers: { Accept: "text/html" } });
    if (answer.redirected || answer.status === 401) return renew();
    const text = await answer.text();
    if (answer.ok && text !== place.dataset.shown && !place.contains(document.activeElement)) {
      place.innerHTML = text;
      place.dataset.shown = text;
    }
  }
  setTimeout(() => show().catch(later), PAUSE_MS);
}

async function wait() {
  const answer = await fetch(place.dataset.wait);
  if (answer.ok && (await answer.text()).trim() !== place.dataset.phase) return renew();
  setTimeout(() => wait().catch(() => setTimeout(wait, PAUSE_MS)), answer.ok ? 0 : PAUSE_MS);
}

function later() {
  setTimeout(() => show().catch(later), PAUSE_MS);
}

if (place) {
  reopen();
  later();
  wait().catch(() => {});
}
