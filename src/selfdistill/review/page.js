"use strict";
// All that comes from the data is put in as text, never as markup.

const $ = (id) => document.getElementById(id);
const GRID = 20, AHEAD = 6, MOST_FOUND = 50;
let classes = [], state = {}, trail = [], at = -1, grid = false, tiles = [], tile = 0, bulk = null;
const cards = new Map(), contents = new Map();  // by row
let work = Promise.resolve();  // one action after the other, in the order of the keys

function make(name, attributes = {}, ...inside) {
  const found = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") found.className = value; else found.setAttribute(key, value);
  }
  found.append(...inside.filter((one) => one !== null && one !== undefined));
  return found;
}
const bdi = (text) => make("bdi", {}, text);
function percent(share) {
  if (share > 0.995) return ">99\u00a0%";
  if (share < 0.0005) return "<0.1\u00a0%";
  return `${(100 * share).toFixed(share > 0.1 ? 0 : 1)}\u00a0%`;
}
const number = (value) => Math.round(value).toLocaleString("en");
const between = (one) => `${number(one.value)} (${number(one.low)} to ${number(one.high)})`;
function say(text) { $("notice").textContent = text; }

// Talking to the server

async function ask(path, sent) {
  const options = sent === undefined ? {} : {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(sent),
  };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    say("The server does not answer: start `selfdistill review` again. What was decided is on disk.");
    throw new Error("no answer");
  }
  const found = await answer.json().catch(() => ({error: answer.statusText}));
  if (answer.status === 409) {
    await refresh();
    say("Another page was faster: what it decided is shown now, and your last key was not applied.");
    throw new Error("behind");
  }
  if (!answer.ok) { say(`Not done: ${found.error}`); throw new Error(found.error); }
  return found;
}

const query = (more = {}) => {
  const {given = "", suggested = "", cluster = ""} = JSON.parse($("view").value || "{}");
  return new URLSearchParams({given, suggested, cluster, search: $("search").value.trim(), ...more}).toString();
};

function take(found) {
  const learned = found.learned !== state.learned;
  state = {...state, ...found};
  for (const card of found.cards || []) cards.set(card.row, card);
  if (found.card) cards.set(found.card.row, found.card);
  showCounts();
  return learned;
}

async function fetchNext() {
  const have = trail.filter((row) => cards.get(row)?.state === "open").slice(-100).join(",");
  const found = await ask(`next?${query({have})}`);
  take(found);
  return found.cards;
}

async function contentOf(row) {
  if (!contents.has(row)) {
    if (contents.size > 500) contents.clear();
    contents.set(row, ask(`content/${row}`).catch(() => { contents.delete(row); return {kind: "", text: "", cells: [], missing: "not read"}; }));
  }
  return contents.get(row);
}

// Where the page is

const current = () => grid ? tiles[tile] : trail[at];
const card = () => cards.get(current());

async function forward() {
  if (grid) { if (tile < tiles.length - 1) tile += 1; else await nextTiles(); }
  else if (at < trail.length - 1) at += 1;
  else {
    const queue = await fetchNext();
    if (queue.length) { trail.push(queue[0].row); at = trail.length - 1; ahead(queue); }
    else {
      const left = trail.find((row) => cards.get(row).state === "open" && row !== current());
      if (left === undefined) at = trail.length; else { trail.push(left); at = trail.length - 1; }
    }
  }
}

function back() {
  if (grid) tile = Math.max(0, tile - 1);
  else if (at > 0) at -= 1;
}

function ahead(queue) {
  for (const one of queue.slice(1, AHEAD)) {
    contentOf(one.row).then((found) => { if (found.kind === "image") new Image().src = `photo/${one.row}/large`; });
  }
}

async function nextTiles() {
  trail = trail.concat(tiles);
  const found = await ask(`next?${query()}`);
  take(found);
  tiles = found.cards.slice(0, GRID).map((one) => one.row);
  tile = 0;
}

async function afresh() {
  trail = []; at = -1;
  if (grid) await nextTiles(); else await forward();
  await show();
}

async function refresh() {
  take(await fetch(`state?${query()}`).then((answer) => answer.json()));
  const known = [...new Set([current(), ...(grid ? tiles : [])])].filter((row) => row !== undefined);
  for (const row of known) cards.set(row, await fetch(`card/${row}`).then((answer) => answer.json()));
  await show();
}

// What is shown

async function show() {
  $("one").hidden = grid || at >= trail.length;
  $("grid").hidden = !grid || !tiles.length;
  $("end").hidden = !($("one").hidden && $("grid").hidden);
  $("grid-button").setAttribute("aria-pressed", String(grid));
  if (!$("end").hidden) {
    $("end-text").textContent = $("search").value || $("view").value
      ? "Show others (v), or search for something else (f)."
      : "Everything is reviewed. Ctrl-C in the terminal ends the review.";
  } else if (grid) await showTiles(); else await showCard();
  document.body.dataset.row = current() ?? "";
  document.body.dataset.version = state.version;
}

const STAGES = {open: "", skipped: "skipped", unsure: "unsure"};
const stageOf = (one) => one.state === "decided"
  ? (one.decided === one.given ? "kept" : `decided: ${classes[one.decided]}`) : STAGES[one.state];

async function showCard() {
  const one = card(), row = one.row;
  $("name").textContent = one.name;
  $("stage").textContent = stageOf(one);
  $("labels").replaceChildren(
    make("dt", {}, "given"), make("dd", {class: "given"}, bdi(classes[one.given]), " ", make("small", {}, shareOf(one, one.given))),
    make("dt", {}, "suggested"), make("dd", {class: "likely"}, bdi(classes[one.suggested]), doubt(one), " ", make("small", {}, shareOf(one, one.suggested))),
  );
  $("choices").replaceChildren(...numbered(one).map((code, i) => {
    const marks = [code === one.given && "is-given", code === one.suggested && "is-likely", code === one.decided && "is-decided"];
    const button = make("button", {type: "button", class: marks.filter(Boolean).join(" ")},
      make("kbd", {}, String((i + 1) % 10)), bdi(classes[code]),
      make("span", {class: "share"}, shareOf(one, code)));
    button.addEventListener("click", () => queue(() => decideLabel(code)));
    return make("li", {}, button);
  }));
  const shown = await contentOf(row);
  if (current() !== row) return;
  $("shown").replaceChildren(...content(one, shown, "large"));
  if (shown.text) weigh(one);
}

const shareOf = (one, code) => one.likely.includes(code) ? percent(one.shares[one.likely.indexOf(code)]) : "";
const doubt = (one) => one.suggested !== one.given && one.likely[0] === one.given
  ? make("abbr", {title: "The given label is still the likeliest."}, " ?") : null;

// Words that count come when they are known; the text stands there before
async function weigh(one) {
  await new Promise((done) => setTimeout(done, 250));  // not for cards that are passed by: it may take a second or more
  if (current() !== one.row || grid) return;
  const found = await fetch(`words/${one.row}`).then((answer) => answer.ok ? answer.json() : {pieces: []}).catch(() => ({pieces: []}));
  const text = document.querySelector("#shown .text");
  if (current() !== one.row || grid || !text || !found.pieces.some(([, weight]) => weight)) return;
  text.replaceChildren(...found.pieces.map(([piece, weight]) => weight ? make("mark", {class: weight > 0 ? "for" : "against"}, piece) : piece));
  const other = one.suggested !== one.given ? one.suggested : one.likely[one.likely[0] === one.given ? 1 : 0];
  text.after(make("p", {class: "legend"},
    make("mark", {class: "for"}, "speaks for"), " ", bdi(classes[other]), " \u00a0 ",
    make("mark", {class: "against"}, "speaks for"), " ", bdi(classes[one.given])));
}

// Up to ten classes keep their digits; of more, the likeliest have them.
const numbered = (one) => classes.length <= 10 ? classes.map((_, code) => code) : one.likely;

function content(one, shown, side) {
  const found = [];
  if (shown.kind === "image") {
    const image = make("img", {src: `photo/${one.row}/${side}`, alt: `Photo ${one.name}`});
    image.addEventListener("error", () => image.replaceWith(make("p", {class: "missing"}, "This photo cannot be shown: it is missing or damaged.")));
    found.push(image);
  }
  if (shown.text) found.push(make("p", {class: "text", dir: "auto"}, side === "large" ? shown.text : shown.text.slice(0, 300)));
  if (shown.cells.length) {
    const cells = side === "large" ? shown.cells : [...shown.cells].sort((a, b) => b[2] - a[2]).slice(0, 5);
    found.push(make("table", {}, make("tbody", {}, ...cells.map(([name, value, unusual]) => make("tr", unusual ? {class: "unusual"} : {},
      make("th", {scope: "row"}, bdi(name)), make("td", {}, bdi(value || "none"), unusual && side === "large" ? " (unusual)" : ""))))));
  }
  if (!found.length) found.push(make("p", {class: "missing"}, shown.missing || `There is nothing to see of a vector but its name: ${one.name}`));
  return found;
}

async function showTiles() {
  const found = await Promise.all(tiles.map((row) => tileOf(cards.get(row), row === tiles[tile])));
  $("tiles").replaceChildren(...found);
  found[tile]?.scrollIntoView({block: "nearest"});
}

async function tileOf(one, here = false) {
  const shown = await contentOf(one.row);
  const found = make("li", {class: `tile ${one.state}${here ? " at" : ""}`, ...(here ? {"aria-current": "true"} : {})},
    make("div", {class: "seen"}, ...content(one, shown, "small")),
    make("p", {}, make("span", {class: "given"}, bdi(classes[one.given])), " → ",
      make("span", {class: "likely"}, bdi(classes[one.suggested])), doubt(one), ` ${shareOf(one, one.suggested)}`),
    make("p", {class: "stage"}, stageOf(one)));
  found.addEventListener("click", () => { const place = tiles.indexOf(one.row); if (place >= 0) { tile = place; show(); } });
  return found;
}

function showCounts() {
  const s = state;
  const lines = [`${number(s.decided)} of ${number(s.examples)} decided, ${number(s.wrong)} of them wrong`];
  if (s.unsure) lines.push(`${number(s.unsure)} unsure`);
  if (s.flagged_seen) {
    lines.push(`of ${number(s.flagged_seen)} flagged ones seen, ${number(s.flagged_wrong)} were wrong: ` +
      `${percent(s.precision.value)} (${percent(s.precision.low)} to ${percent(s.precision.high)})`);
  }
  lines.push(`expected among all ${number(s.flagged)} flagged: ${between(s.flagged_in_all)} wrong`);
  lines.push(`wrong labels left: about ${between(s.errors_left)}`);
  $("counts").textContent = `${lines.join("; ")}.`;
  $("learning").textContent = s.fixed || (s.learned === null ? "Getting ready to learn from your decisions …"
    : s.learned === s.version ? "Learned from all decisions." : "Learning …");
}

// Actions

async function decide(kind, rows, labels) {
  take(await ask("decide", {version: state.version, kind, rows, labels}));
}
async function decideLabel(code) {
  const one = card();
  if (!one) return;
  await decide("label", [one.row], [code]);
  say("");
  await forward(); await show();
  watch();
}
async function mark(kind) {
  if (!card()) return;
  await decide(kind, [card().row], []);
  say("");
  await forward(); await show();
}
async function undo() {
  const found = await ask("undo", {version: state.version});
  take(found);
  if (!found.rows.length) { say("Nothing is left to undo."); return; }
  for (const row of tiles) if (found.rows.includes(row)) cards.set(row, await ask(`card/${row}`));
  const row = found.rows[0];
  if (grid && tiles.includes(row)) tile = tiles.indexOf(row);
  else {
    grid = false;
    if (trail.includes(row)) at = trail.lastIndexOf(row); else { trail.splice(Math.max(at, 0), 0, row); at = Math.max(at, 0); }
  }
  if (!state.fixed) undone = [...new Set([...undone, ...found.rows])].filter((one) => cards.has(one));
  say(found.rows.length > 1 ? `Undone: ${found.rows.length} examples` : `Undone: ${cards.get(row).name}`);
  await show();
  watch();
}
async function rest() {
  const open = tiles.filter((row) => cards.get(row).state === "open");
  if (!grid || !open.length) return;
  await decide("label", open, open.map((row) => cards.get(row).suggested));
  await nextTiles(); await show();
  say(`${open.length} suggested labels taken. u takes them back.`);
  watch();
}
const ACTIONS = {
  accept: () => card() && decideLabel(card().suggested), keep: () => card() && decideLabel(card().given),
  unsure: () => mark("unsure"), skip: () => mark("skip"), undo,
  type: async () => chooseClass(), view: async () => chooseView(), find: async () => $("search").focus(), rest,
  next: async () => { await forward(); await show(); }, back: async () => { back(); await show(); },
  grid: async () => { grid = !grid; if (grid) await nextTiles(); else if (at < 0 || at >= trail.length || card().state !== "open") { at = trail.length; await forward(); } await show(); },
  help: async () => $("help").showModal(),
};
function queue(action) {
  work = work.then(action).catch(() => {});
  return work;
}

// Learning goes on behind: look soon after a decision, and now and then for other pages

let watching = 0, undone = [];  // examples whose numbers still hold a decision that was taken back
async function renew() {
  if (!undone.length || state.learned !== state.version) return;
  for (const row of undone.splice(0)) cards.set(row, await fetch(`card/${row}`).then((answer) => answer.json()));
  await show();
}
function watch(wait = 400) { clearTimeout(watching); watching = setTimeout(look, wait); }  // one timer at most
async function look() {
  await queue(async () => {  // between actions, so that what is new is not this page's own
    const found = await fetch(`state?${query()}`).then((answer) => answer.json());
    if (found.version <= state.version) { take(found); await renew(); if (state.clusters !== grouped) await showGroups(); return; }
    await refresh();
    say("Another page decided meanwhile: this is what holds now.");
  });
  watch(!state.fixed && state.learned !== state.version ? 500 : 4000);
}

// Keys

const KEYS = {
  Enter: "accept", " ": "keep", x: "keep", n: "unsure", s: "skip", u: "undo", Backspace: "undo", "/": "type", v: "view", f: "find",
  ArrowRight: "next", ArrowDown: "next", ArrowLeft: "back", ArrowUp: "back", b: "grid", a: "rest", "?": "help",
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !$("keys").checked) return;
  if (document.querySelector("dialog[open]")) return;
  const target = event.target;
  if (target.matches("input, select, textarea")) {
    if (["Escape", "Enter"].includes(event.key)) target.blur();
    return;
  }
  if (event.key === "Enter" && target.matches("a")) return;
  if (["Enter", " "].includes(event.key) && target.matches("button") && target.matches(":focus-visible")) return;
  if (target.id === "shown" && ["ArrowUp", "ArrowDown"].includes(event.key)) return;
  if (/^[0-9]$/.test(event.key) && card()) {
    const code = numbered(card())[(Number(event.key) + 9) % 10];
    event.preventDefault();
    if (code !== undefined) queue(() => card() && decideLabel(numbered(card())[(Number(event.key) + 9) % 10]));
  } else if (KEYS[event.key]) {
    event.preventDefault();
    queue(ACTIONS[KEYS[event.key]]);
  }
});
for (const button of document.querySelectorAll("[data-do]")) {
  button.addEventListener("click", () => queue(ACTIONS[button.dataset.do]));
}
$("rest").addEventListener("click", () => queue(rest));
$("grid-button").addEventListener("click", () => queue(ACTIONS.grid));
$("help-button").addEventListener("click", () => queue(ACTIONS.help));
$("filter").addEventListener("submit", (event) => event.preventDefault());
$("view").addEventListener("change", () => queue(async () => { $("view").blur(); await afresh(); }));
let typing = 0;
$("search").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(() => queue(afresh), 250); });

// A class, or a group of examples, by its name

let options = [], offered = [], chosen = 0, picked = null;  // options: names and what they stand for
function choose(title, names, then) {
  options = names; picked = then;
  $("typing-title").textContent = title;
  $("typed").value = "";
  offer();
  $("typing").showModal();
  $("typed").focus();
}
function chooseClass() {
  const row = current();
  if (card()) choose("Another class", classes.map((name, code) => [name, code]), async (code) => { if (current() === row) await decideLabel(code); });
}
function chooseView() {
  const names = [...$("view").options].map((option) => [option.textContent, option.value]);
  choose("Show", names, async (value) => { $("view").value = value; await afresh(); });
}
function offer() {
  const words = $("typed").value.trim().toLowerCase();
  const all = options.filter(([name]) => name.toLowerCase().includes(words));
  if (words) all.sort(([a], [b]) => b.toLowerCase().startsWith(words) - a.toLowerCase().startsWith(words) || a.length - b.length);
  offered = all.slice(0, MOST_FOUND);
  chosen = 0;
  showOffered();
}
function showOffered() {
  $("found").replaceChildren(...offered.map(([name, value], i) => {
    const found = make("li", {role: "option", id: `option-${i}`, "aria-selected": String(i === chosen)}, bdi(name));
    found.addEventListener("click", () => pick(value));
    return found;
  }));
  if (offered.length) $("typed").setAttribute("aria-activedescendant", `option-${chosen}`); else $("typed").removeAttribute("aria-activedescendant");
  $("found").children[chosen]?.scrollIntoView({block: "nearest"});
}
function pick(value) {
  $("typing").close();
  queue(() => picked(value));
}
$("typed").addEventListener("input", offer);
$("typed").addEventListener("keydown", (event) => {
  if (event.key === "Enter") { event.preventDefault(); if (offered.length) pick(offered[chosen][1]); }
  const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
  if (step) { event.preventDefault(); chosen = Math.max(0, Math.min(offered.length - 1, chosen + step)); showOffered(); }
});

// Many at once, seen first

async function preview() {
  $("bulk-accept").disabled = true;
  const share = $("share").value;
  const found = await ask(`above?${query({share: share || "2"})}`);
  for (const one of found.cards) cards.set(one.row, one);
  bulk = {...found, share};
  $("bulk-accept").disabled = !found.rows.length;
  $("bulk-accept").textContent = `Accept ${number(found.rows.length)}`;
  $("bulk-count").textContent = found.rows.length
    ? `${number(found.rows.length)} open examples get another label than the given one. The first ${found.cards.length}:`
    : "No open example has so sure a label that is not the given one.";
  $("bulk-tiles").replaceChildren(...await Promise.all(found.cards.map((one) => tileOf(one))));
}
$("bulk-button").addEventListener("click", () => queue(async () => { await preview(); $("bulk").showModal(); }));
let sharing = 0;
$("share").addEventListener("input", () => {
  $("bulk-accept").disabled = true;  // what it would accept is not seen yet
  clearTimeout(sharing);
  sharing = setTimeout(() => queue(preview), 250);
});
$("share").addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
$("bulk-accept").addEventListener("click", () => queue(async () => {
  const {rows, labels} = bulk;
  $("bulk").close();
  await decide("label", rows, labels);
  await afresh();
  say(`${number(rows.length)} suggested labels taken. u takes them back.`);
  watch();
}));

// Groups of examples

let grouped = null;  // number of clusters when groups were listed
async function showGroups() {
  grouped = state.clusters;
  const found = await ask("groups"), held = $("view").value;
  const named = ({given, suggested, count, cluster, words}) => make("option",
    {value: JSON.stringify(cluster === undefined ? {given, suggested} : {cluster})},
    `\u2068${classes[given]}\u2069 → \u2068${classes[suggested]}\u2069${words?.length ? `: ${words.join(", ")}` : ""} (${count})`);
  $("view").replaceChildren(make("option", {value: ""}, "most doubtful first"),
    ...[["Given → suggested", found.pairs], ["Similar examples", found.clusters]].filter(([, groups]) => groups.length)
      .map(([label, groups]) => make("optgroup", {label}, ...groups.map(named))));
  if (held && ![...$("view").options].some((option) => option.value === held)) {  // all decided: it stays chosen
    $("view").append(make("option", {value: held}, "the group you chose"));
  }
  $("view").value = held;
}

queue(async () => {
  const found = await ask("start");
  classes = found.classes;
  $("run").textContent = found.run;
  document.title = `Review ${found.run}`;
  take(found);
  if (found.cards.length) trail = [found.cards[0].row];
  at = 0;
  await show();
  document.body.dataset.ready = "yes";
  ahead(found.cards);
  await showGroups();
  watch();
});
