// Runs refresh.js around a page that is made up, for so many seconds of a clock of its own; prints what it did.
// Its argument is {"script", "seconds", "answers": {address: [[after s, type, status, text] or null to fail]},
// "hidden": [[from s, to s]]}; the last answer of an address holds for all that follow.
const { script, seconds, answers, hidden = [] } = JSON.parse(process.argv[2]);
const told = { now: [], wait: [], aborted: 0, reloads: 0 };
const listeners = [], timers = [];
let clock = 0;

globalThis.setTimeout = (done, time) => timers.push({ at: clock + time, done });
globalThis.performance = { now: () => clock };
globalThis.sessionStorage = { getItem: () => null, setItem: () => {}, removeItem: () => {} };
globalThis.location = { reload: () => told.reloads++ };
const place = { dataset: { address: "now", wait: "wait", phase: "HELD" }, contains: () => false };
globalThis.document = {
  getElementById: () => place,
  querySelectorAll: () => [],
  get hidden() {
    return hidden.some(([from, to]) => from * 1000 <= clock && clock < to * 1000);
  },
  addEventListener: (name, done, { once = false } = {}) => listeners.push({ name, done, once }),
};
globalThis.fetch = (address, { redirect, signal } = {}) =>
  new Promise((done, fail) => {
    told[address].push(clock / 1000);
    const due = answers[address];
    const answer = due.length > 1 ? due.shift() : due[0];
    const followed = answer?.[1] === "opaqueredirect" && redirect !== "manual"; // to another host
    if (!answer || followed) return fail(new TypeError("Failed to fetch"));
    signal?.addEventListener("abort", () => {
      told.aborted++;
      fail(new Error("aborted"));
    });
    const [after, type, status, text] = answer;
    setTimeout(() => done({ type, status, ok: status === 200, text: async () => text }), after * 1000);
  });

function turn() {
  for (const one of listeners.filter((l) => l.name === "visibilitychange")) {
    if (one.once) listeners.splice(listeners.indexOf(one), 1);
    one.done();
  }
}

async function run() {
  for (const time of hidden.flat()) setTimeout(turn, time * 1000);
  require(script);
  for (let steps = 0; steps < 10_000; steps++) {
    await new Promise((done) => setImmediate(done));
    const next = timers.sort((a, b) => a.at - b.at).shift();
    if (!next || next.at > seconds * 1000) break;
    clock = next.at;
    next.done();
  }
  console.log(JSON.stringify(told));
}

run();
