"use strict";

const TRAINING = "How many years have you been taught an instrument, singing or music theory?";
const BACKGROUND = [
  ["listening", "How often do you listen to classical music?", ["never", "some times a year", "monthly", "weekly", "daily"]],
  ["works", "Do you know the works that this test is about?", ["no", "I have heard some", "I have sung, played or studied some"]],
  ["device", "What do you listen with now?", ["headphones", "loudspeakers", "the speaker of a phone or laptop"]],
];
const SCALES = [
  ["plausible", "How plausible is it as music by a trained composer?", "not at all", "wholly"],
  ["pleasant", "How much do you like it?", "not at all", "very much"],
];

// Fisher and Yates, on numbers in [0, 1) that `random` gives.
function shuffled(list, random) {
  const made = list.slice();
  for (let i = made.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [made[i], made[j]] = [made[j], made[i]];
  }
  return made;
}

// What one listener hears: one of the sheets, in an order of its own, either side first.
function plan(sheets, random) {
  const sheet = sheets[Math.floor(random() * sheets.length)];
  return {
    pairs: shuffled(sheet.pairs, random).map((pair) => shuffled(pair, random)),
    singles: shuffled(sheet.singles, random),
  };
}

function begun(data, random, listener, now) {
  return { format: 1, test: data.test, listener, started: now, plan: plan(data.sheets, random), background: null, pairs: [], singles: [] };
}

// Where a listener is: the first question without an answer.
function step(state) {
  if (!state.background) return ["background", 0];
  if (state.pairs.length < state.plan.pairs.length) return ["pair", state.pairs.length];
  if (state.singles.length < state.plan.singles.length) return ["single", state.singles.length];
  return ["end", 0];
}

function done(state) {
  const answered = (state.background ? 1 : 0) + state.pairs.length + state.singles.length;
  return answered / (1 + state.plan.pairs.length + state.plan.singles.length);
}

// The file that is sent back: answers alone, in the order they were given.
function response(state) {
  const { format, test, listener, started, finished, background, pairs, singles } = state;
  return { format, test, listener, started, finished, background, pairs, singles };
}

function make(tag, options = {}, ...children) {
  const made = Object.assign(document.createElement(tag), options);
  made.append(...children);
  return made;
}

function choice(name, value, words) {
  return make("label", {}, make("input", { type: "radio", name, value, required: true }), words);
}

function question(name, words, answers) {
  return make("fieldset", {}, make("legend", {}, words), ...answers.map(([value, text]) => choice(name, value, text)));
}

function scale([name, words, low, high]) {
  const marks = [1, 2, 3, 4, 5].map((mark) => choice(name, mark, `${mark}`));
  return make("fieldset", {}, make("legend", {}, words), make("div", { className: "scale" }, low, ...marks, high));
}

function run() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const screen = document.getElementById("screen"), progress = document.getElementById("progress");
  const place = `listening-test-${data.test}`;
  let state = restored(), heard = new Set(), since = Date.now();

  function restored() {
    try {
      const kept = JSON.parse(localStorage.getItem(place));
      if (kept && kept.test === data.test && kept.plan) return kept;
    } catch { /* nothing is kept: the test goes on without */ }
    return begun(data, random, hex(), new Date().toISOString());
  }

  function random() { return crypto.getRandomValues(new Uint32Array(1))[0] / 2 ** 32; }

  function hex() { return [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join(""); }

  function keep() {
    try { localStorage.setItem(place, JSON.stringify(state)); } catch { /* private window: answers live as long as the page */ }
  }

  function sound(id, name) {
    const audio = make("audio", { controls: true, preload: "auto", src: data.sounds[id] });
    audio.setAttribute("aria-label", name);
    audio.addEventListener("timeupdate", () => { if (audio.currentTime > data.least) heard.add(id); });
    audio.addEventListener("ended", () => heard.add(id));
    return make("div", {}, make("p", { className: "sound" }, name), audio);
  }

  // One screen: a form that takes its answers when all are there and all sounds were heard.
  function show(title, intro, parts, sounds, answered) {
    const missing = make("p", { id: "missing", role: "alert" });
    const heading = make("h2", { tabIndex: -1 }, title);
    const form = make("form", { noValidate: true }, ...parts, missing, make("button", {}, "Next"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (sounds.some((id) => !heard.has(id))) missing.textContent = "Please listen first.";
      else if (!form.checkValidity()) missing.textContent = "Please answer every question.";
      else {
        answered(new FormData(form), Math.round((Date.now() - since) / 100) / 10);
        keep();
        next();
      }
    });
    screen.replaceChildren(heading, ...intro.map((words) => make("p", {}, words)), form);
    heading.focus();
  }

  function background() {
    const years = make("input", { type: "number", name: "training", min: 0, max: 90, step: 1, required: true });
    const training = make("fieldset", {}, make("legend", {}, TRAINING), make("label", {}, years, "years"));
    const rest = BACKGROUND.map(([name, words, answers]) => question(name, words, answers.map((text, k) => [k, text])));
    show("About you", data.intro, [training, ...rest], [], (form) => {
      state.background = Object.fromEntries([...form].map(([name, value]) => [name, Number(value)]));
    });
  }

  function pair(k) {
    const [first, second] = state.plan.pairs[k];
    const asked = question("chosen", "Which of the two is more musical?", [[first, "A"], [second, "B"]]);
    show(`Two pieces, ${k + 1} of ${state.plan.pairs.length}`, [], [sound(first, "A"), sound(second, "B"), asked], [first, second],
      (form, seconds) => state.pairs.push({ first, second, chosen: form.get("chosen"), seconds }));
  }

  function single(k) {
    const id = state.plan.singles[k];
    const asked = question("real", "Who wrote it?", [["yes", data.human], ["no", "a machine"]]);
    show(`${data.human} or machine, ${k + 1} of ${state.plan.singles.length}`, [], [sound(id, "Listen"), asked, ...SCALES.map(scale)], [id],
      (form, seconds) => state.singles.push({
        id, real: form.get("real") === "yes", plausible: Number(form.get("plausible")), pleasant: Number(form.get("pleasant")), seconds,
      }));
  }

  function end() {
    state.finished ||= new Date().toISOString();
    keep();
    const text = JSON.stringify(response(state), null, 1);
    const save = make("button", { type: "button", id: "save" }, "Download the answers");
    save.addEventListener("click", () => {
      const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
      make("a", { href: address, download: `answers-${state.listener}.json` }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
    });
    const again = make("button", { type: "button", className: "plain" }, "Start anew for another listener");
    again.addEventListener("click", () => {
      if (!confirm("Have the answers been downloaded? They are forgotten now.")) return;
      state = begun(data, random, hex(), new Date().toISOString());
      keep();
      next();
    });
    const copy = make("textarea", { readOnly: true, value: text, id: "answers" });
    copy.setAttribute("aria-label", "Your answers as text");
    const heading = make("h2", { tabIndex: -1 }, "Thank you");
    const words = "Please download the answers and send the file to whoever gave you this test. It holds nothing but what you answered.";
    screen.replaceChildren(heading, make("p", {}, words), make("p", {}, save, again), make("p", {}, "The same as text, to copy:"), copy);
    heading.focus();
  }

  function next() {
    const [name, k] = step(state);
    [heard, since] = [new Set(), Date.now()];
    progress.value = done(state);
    ({ background, pair, single, end })[name](k);
    window.scrollTo(0, 0);
  }

  keep();
  next();
}

if (typeof document === "undefined") module.exports = { shuffled, plan, begun, step, done, response };
else run();
