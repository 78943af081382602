"use strict";
// Dialogue text comes from a model: it enters the page as text only, never as HTML.

const byId = (id) => document.getElementById(id);
let state = null;
let current = 0;
let changed = false;

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function say(text, isFine = false) {
  byId("message").textContent = text;
  byId("message").classList.toggle("fine", isFine);
}

async function request(path, options) {
  const response = await fetch(path, options);
  const content = await response.json();
  if (!response.ok) {
    throw new Error(typeof content.detail === "string" ? content.detail : "the answer was refused");
  }
  return content;
}

function firstOpen(from) {
  const order = state.reviewed.map((_, i) => (from + i) % state.reviewed.length);
  return order.find((number) => !state.reviewed[number]);
}

function percent(share) {
  return `${(100 * share).toFixed(1)}%`;
}

function showState() {
  const done = state.reviewed.filter(Boolean).length;
  byId("progress").max = state.reviewed.length;
  byId("progress").value = done;
  byId("count").textContent = `${done} of ${state.reviewed.length} reviewed`;
  const rows = state.rates.map((rate) => [
    rate.title,
    `${rate.count}/${rate.total}`,
    rate.total ? percent(rate.count / rate.total) : "–",
    rate.total ? `${percent(rate.low)} to ${percent(rate.high)}` : "–",
  ]);
  rows.push(["The paper, one person", "9/100", percent(state.paper), ""]);
  byId("rates").tBodies[0].replaceChildren(
    ...rows.map((row) => element("tr", "", ...row.map((cell) => element("td", "", cell)))),
  );
}

function makeQuestions() {
  byId("questions").replaceChildren(
    ...state.questions.map((question, index) => {
      const choice = (value, text) => {
        const radio = element("input", "");
        radio.type = "radio";
        radio.name = question.name;
        radio.value = value;
        return element("label", "", radio, ` ${text}`);
      };
      return element(
        "fieldset", "",
        element("legend", "", `${index + 1}. ${question.title}`),
        element("p", "", question.text),
        choice("1", "No fault"), choice("0", "Fault"),
      );
    }),
  );
}

function scores() {
  const found = {};
  for (const question of state.questions) {
    const chosen = document.querySelector(`input[name="${question.name}"]:checked`);
    if (chosen) found[question.name] = Number(chosen.value);
  }
  return found;
}

function choose(index, value) {
  const name = state.questions[index].name;
  document.querySelector(`input[name="${name}"][value="${value}"]`).checked = true;
  changed = true;
  mark();
}

function mark() {
  const given = scores();
  state.questions.forEach((question, index) => {
    const box = byId("questions").children[index];
    box.classList.toggle("fault", given[question.name] === 0);
    box.classList.toggle("fine", given[question.name] === 1);
  });
  byId("needed").hidden = !Object.values(given).includes(0);
}

async function show(number) {
  const dialogue = await request(`/api/dialogues/${number}`);
  current = number;
  changed = false;
  byId("title").textContent = `Dialogue ${number + 1} of ${state.reviewed.length}: ${dialogue.dialogue_id}`;
  byId("dialogue").replaceChildren(
    ...dialogue.turns.map((turn, index) =>
      element(
        "article", "turn",
        element("span", "number", `turn ${index + 1}`),
        ...turn.map((field) =>
          element(
            "dl", `field ${field.name.split(" ")[0]}`,
            element("dt", "", field.name), element("dd", "", field.text),
          ),
        ),
      ),
    ),
  );
  byId("dialogue").scrollTop = 0;
  byId("functions").replaceChildren(
    ...dialogue.functions.map((item) => {
      const values = Object.entries(item.values).map(([name, all]) => `${name}: ${all.join(" | ")}`);
      return element(
        "li", item.is_called ? "called" : "",
        element("code", "", item.signature), ` ${item.description}. ${values.join("; ")}`,
      );
    }),
  );
  byId("form").reset();
  if (dialogue.review) {
    state.questions.forEach((question, index) => choose(index, dialogue.review.scores[question.name]));
    byId("feedback").value = dialogue.review.feedback;
  }
  changed = false;
  say("");
  mark();
  byId("feedback").blur();
  byId("dialogue").focus({ preventScroll: true });
}

async function move(step) {
  const number = current + step;
  if (number < 0 || number >= state.reviewed.length) return;
  if (changed && !confirm("Leave this dialogue without saving?")) return;
  await show(number);
}

async function save() {
  const given = scores();
  const feedback = byId("feedback").value.trim();
  const open = state.questions.findIndex((question) => !(question.name in given));
  if (open >= 0) {
    say(`Question ${open + 1} is open.`);
    return;
  }
  if (Object.values(given).includes(0) && !feedback) {
    say("A fault needs a remark.");
    byId("feedback").focus();
    return;
  }
  state = await request(`/api/dialogues/${current}`, {
    method: "PUT",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ scores: given, feedback }),
  });
  changed = false;
  showState();
  const next = firstOpen(current);
  if (next === undefined) {
    say("Saved. Every dialogue is reviewed.", true);
  } else {
    await show(next);
  }
}

function guarded(action) {
  return (...given) =>
    action(...given).catch((error) => {
      say(`Not done: ${error.message}`);
    });
}

const saveNow = guarded(save);
const moveBy = guarded(move);

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.metaKey) return;
  if (event.key === "Enter" && event.ctrlKey) {
    event.preventDefault();
    saveNow();
    return;
  }
  if (event.ctrlKey) return;
  if (event.target.id === "feedback") {
    if (event.key === "Escape") byId("dialogue").focus({ preventScroll: true });
    return;
  }
  const keys = {
    Enter: saveNow,
    ArrowLeft: () => moveBy(-1),
    ArrowRight: () => moveBy(1),
    f: () => byId("feedback").focus(),
    u: () => { const open = firstOpen(0); if (open !== undefined) moveBy(open - current); },
    0: () => state.questions.forEach((_, index) => choose(index, 1)),
  };
  const index = Number(event.key) - 1;
  if (index >= 0 && index < state.questions.length) {
    choose(index, scores()[state.questions[index].name] === 0 ? 1 : 0);
  } else if (keys[event.key.length === 1 ? event.key.toLowerCase() : event.key]) {
    if (event.key === "Enter" && event.target.tagName === "BUTTON") return;
    keys[event.key.length === 1 ? event.key.toLowerCase() : event.key]();
  } else {
    return;
  }
  event.preventDefault();
});
byId("form").addEventListener("submit", (event) => { event.preventDefault(); saveNow(); });
byId("form").addEventListener("input", () => { changed = true; say(""); mark(); });
byId("previous").addEventListener("click", () => moveBy(-1));
byId("next").addEventListener("click", () => moveBy(1));
window.addEventListener("beforeunload", (event) => { if (changed) event.preventDefault(); });

(async () => {
  state = await request("/api/state");
  makeQuestions();
  showState();
  await show(firstOpen(0) ?? 0);
})();
