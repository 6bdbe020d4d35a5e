"use strict";
// Keeps the steps of a job up to date. When its phase changes, which UWS tells by WAIT, all of the page is new.
const place = document.getElementById("now");
const PAUSE_MS = 4000;
const FAST_MS = 1000; // an answer within it has not waited: phases as HELD are told at once
const OPEN = "esap-open"; // what is open stays open: somebody may be about to press a button in it

let leaving = false; // a page that is renewed would call off what the user has just sent
document.addEventListener("submit", () => (leaving = true));

// Few connections to a host are all that a browser has for its tabs: one that nobody sees holds none.
let call = new AbortController();
document.addEventListener("visibilitychange", () => document.hidden && call.abort());

const rest = (time) => new Promise((done) => setTimeout(done, time));

async function seen() {
  while (document.hidden)
    await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
}

function renew() {
  if (leaving) return PAUSE_MS;
  leaving = true;
  const open = [...document.querySelectorAll("details[open] > summary")].map((one) => one.textContent);
  sessionStorage.setItem(OPEN, JSON.stringify(open));
  location.reload();
  return new Promise(() => {}); // asked again, a slow reload would begin anew
}

function reopen() {
  const open = JSON.parse(sessionStorage.getItem(OPEN) || "[]");
  sessionStorage.removeItem(OPEN);
  for (const one of document.querySelectorAll("details > summary"))
    if (open.includes(one.textContent)) one.parentElement.open = true;
}

// To follow the way to the login would begin one, at another host, whose answer no script may read.
const ask = (address, options) => fetch(address, { ...options, redirect: "manual" });
const hasEnded = (answer) => answer.type === "opaqueredirect" || answer.status === 401;

async function show() {
  const answer = await ask(place.dataset.address, { headers: { Accept: "text/html" } });
  if (hasEnded(answer)) return renew();
  const text = await answer.text();
  if (answer.ok && text !== place.dataset.shown && !place.contains(document.activeElement)) {
    place.innerHTML = text;
    place.dataset.shown = text;
  }
  return PAUSE_MS;
}

async function wait() {
  const began = performance.now();
  call = new AbortController();
  const answer = await ask(place.dataset.wait, { signal: call.signal });
  const phase = (await answer.text()).trim();
  if (hasEnded(answer) || (answer.ok && phase !== place.dataset.phase)) return renew();
  return answer.ok && performance.now() - began > FAST_MS ? 0 : PAUSE_MS;
}

// Does a step again and again while somebody sees the page, after the pause that it gives, or that of a failure.
async function again(step) {
  for (;;) {
    await seen();
    await rest(await step().catch(() => PAUSE_MS));
  }
}

if (place) {
  reopen();
  rest(PAUSE_MS).then(() => again(show));
  again(wait);
}
