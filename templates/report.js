
"use strict";
// The script of a report: it filters the table of calls, runs programs, and draws their trees. All
// text that comes from a filter is set as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  function svg(name, attributes, ...children) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function element(name, text, className) {
    const made = document.createElement(name);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  // --- the table of calls -----------------------------------------------------------------------

  const query = document.getElementById("query");
  const search = document.getElementById("search");
  const rows = all(".calls tbody tr").map((row) => ({
    row,
    name: row.cells[0].textContent.toLowerCase(),
    text: `${row.cells[0].textContent} ${row.cells[1].textContent}`.toLowerCase(),
  }));
  const kinds = all(".kind").map((kind) => ({ kind, rows: all("tbody tr", kind) }));

  function filter() {
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    const state = search.elements.state.value;
    let found = 0;
    for (const { row, text } of rows) {
      const fits = words.every((word) => text.includes(word));
      row.hidden = !fits || (state !== "all" && row.dataset.state !== state);
      found += !row.hidden;
    }
    for (const { kind, rows: own } of kinds) {
      const some = own.some((row) => !row.hidden);
      kind.hidden = !some;
      if (words.length) kind.open = some;
    }
    const asked = words.length || state !== "all";
    document.getElementById("found").textContent = asked ? `${found} of ${rows.length} calls` : "";
  }

  function leaveSearch() {
    query.value = "";
    filter();
    for (const { kind } of kinds) kind.open = false;
  }

  query.addEventListener("input", filter);
  search.addEventListener("change", filter);
  search.addEventListener("submit", (event) => {
    event.preventDefault();
    const first = rows.find(({ row, name }) => !row.hidden && name === query.value.trim().toLowerCase())
      || rows.find(({ row }) => !row.hidden);
    if (first) first.row.querySelector(".call").focus();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, select, textarea");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      query.focus();
      query.select();
    } else if (event.key === "Escape" && event.target === query) {
      leaveSearch();
    }
  });

  // A link to a call that the search has hidden shows it.
  function reveal() {
    const there = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!there || !there.matches("tr")) return;
    if (there.hidden) leaveSearch();
    there.closest("details").open = true;
    there.scrollIntoView({ block: "center" });
  }
  addEventListener("hashchange", reveal);

  // --- running a program ------------------------------------------------------------------------

  // What a classic BPF program does with 32-bit words, as the kernel runs it for seccomp.
  function run(code, word) {
    const memory = new Array(16).fill(0);
    const path = [], taken = new Map();
    let a = 0, x = 0, at = 0;
    for (;;) {
      const [op, jt, jf, k] = code.slice(4 * at, 4 * at + 4);
      path.push(at);
      at += 1;
      const kind = op & 7, mode = op & 0xe0, operation = op & 0xf0;
      const operand = op & 8 ? x : k;
      if (kind < 2) {
        const value = mode === 0x20 ? word(k) : mode === 0x60 ? memory[k] : mode === 0x80 ? 64 : k;
        if (kind === 0) a = value; else x = value;
      } else if (kind < 4) {
        memory[k] = kind === 2 ? a : x;
      } else if (kind === 4) {
        if (operation === 0x30 && operand === 0) return { answer: 0, path, taken };
        a = alu(operation, a, operand);
      } else if (kind === 5 && operation === 0) {
        at += k;
      } else if (kind === 5) {
        const holds = jumps(operation, a, operand);
        taken.set(at - 1, holds);
        at += holds ? jt : jf;
      } else if (kind === 6) {
        return { answer: op & 0x10 ? a : k, path, taken };
      } else if (op & 0x80) {
        a = x;
      } else {
        x = a;
      }
    }
  }

  function alu(operation, a, b) {
    switch (operation) {
      case 0x00: return (a + b) >>> 0;
      case 0x10: return (a - b) >>> 0;
      case 0x20: return Math.imul(a, b) >>> 0;
      case 0x30: return Math.floor(a / b);
      case 0x40: return (a | b) >>> 0;
      case 0x50: return (a & b) >>> 0;
      case 0x60: return (a << (b & 31)) >>> 0;
      case 0x70: return a >>> (b & 31);
      case 0x80: return -a >>> 0;
      default: return (a ^ b) >>> 0;
    }
  }

  function jumps(operation, a, b) {
    switch (operation) {
      case 0x10: return a === b;
      case 0x20: return a > b;
      case 0x30: return a >= b;
      default: return (a & b) !== 0;
    }
  }

  // The words of struct seccomp_data: number, architecture, instruction pointer, arguments.
  function words(nr, arch, args, big) {
    return (offset) => {
      if (offset < 8) return offset < 4 ? nr : arch;
      if (offset < 16) return 0;
      const high = ((offset - 16) % 8 === 4) !== big;
      return Number(BigInt.asUintN(32, args[(offset - 16) >> 3] >> (high ? 32n : 0n)));
    };
  }

  // --- what a person types ----------------------------------------------------------------------

  class Misread extends Error {}

  // A number in any base, names of constants, or several of these with | between: as 64 bits.
  function value(text, constants) {
    let sum = 0n;
    for (const part of text.split("|").map((one) => one.trim())) {
      const number = /^(-?)(0x[0-9a-f]+|0b[01]+|0o?[0-7]*|[1-9][0-9]*)$/i.exec(part);
      if (number) {
        const digits = number[2].replace(/^0(?=[0-7])/, "0o");
        sum |= number[1] ? -BigInt(digits) : BigInt(digits);
      } else if (Object.hasOwn(constants, part)) {
        sum |= BigInt(constants[part]);
      } else {
        const known = Object.keys(constants).filter((name) => name.startsWith(part.split("_")[0] + "_"));
        const some = known.length ? `; it knows ${known.join(", ")}` : "";
        throw new Misread(`“${part}” is no number, and no constant that this page knows${some}`);
      }
    }
    return BigInt.asUintN(64, sum);
  }

  function parsed(texts, names, constants) {
    const args = new Array(6).fill(0n);
    let next = 0;
    for (const text of texts) {
      const [, name, rest] = /^(?:([a-z_]\w*)=)?(.*)$/.exec(text);
      const index = name === undefined ? next : /^arg[0-5]$/.test(name) ? +name[3] : names.indexOf(name);
      if (index < 0) throw new Misread(`no argument is called “${name}”: ${names.join(", ") || "write arg0=…"}`);
      if (index > 5) throw new Misread("a call has six arguments at most");
      args[index] = value(rest, constants);
      next = index + 1;
    }
    return args;
  }

  // --- the tree ---------------------------------------------------------------------------------

  const LINE = 24, STEP = 26, LEFT = 24, TOP = 8;

  class Tree {
    constructor(place, program, { rows: shared, texts }) {
      this.rows = program.rows.map((number, n) => [n, ...shared[number]]).map((
        [n, at, question, calls, yes, no, parent, viaYes, depth, rules, least, most],
      ) => ({
        n, at, parent, depth, least, most, yes, no,
        question: texts[question], calls: texts[calls], rules: texts[rules],
        via: parent < 0 ? "" : viaYes ? "yes" : "no", folded: false, nested: false,
      }));
      for (const row of this.rows) {
        if (row.parent >= 0 && row.depth > this.rows[row.parent].depth) this.rows[row.parent].nested = true;
      }
      this.texts = texts;
      this.drawn = svg("svg", { role: "group", "aria-label": `Decision tree for ${program.abi}` });
      for (const row of this.rows) this.drawn.append(...this.draw(row));
      place.replaceChildren(this.drawn);
      if (!this.rows.length) place.replaceChildren(element("p", "It asks nothing: every call gets the same answer."));
      this.foldAll(this.rows.length > 30);
    }

    draw(row) {
      row.edge = svg("path", {});
      row.group = svg("g", {});
      row.band = svg("rect", { x: -4, y: -15, height: LINE - 3, rx: 4 });
      const text = svg("text", {});
      const span = (words, name) => {
        const made = svg("tspan", name ? { class: name } : {}, words);
        text.append(made);
        return made;
      };
      if (row.nested) row.sign = span("▾ ", "dim"); else span("  ", "dim");
      if (row.via) span(`${row.via}: `, "dim");
      span(`${row.question}?`);
      row.ways = {};
      for (const way of ["yes", "no"]) {
        const [label, to, more] = row[way];
        if (to < 0) {
          const good = ["allow", "log"].includes(this.texts[label]);
          span(`  ${way} `, "dim");
          row.ways[way] = span(`${good ? "✓" : "✗"} ${this.texts[label]}`, good ? "good" : "bad");
        } else if (more) {
          span(`  ${way} `, "dim");
          row.ways[way] = span(`→ ${this.rows[to].question}?`, "jump");
        }
      }
      if (row.nested) row.inside = span("", "dim");
      if (row.rules) span(`  ${row.rules}`, "dim");
      span(row.least === row.most ? `  ${row.most} to run` : `  ${row.least}–${row.most} to run`, "dim");
      const title = svg("title", {}, `Instruction ${row.at}; calls that come here: ${row.parent < 0 ? "all" : row.calls}`);
      row.group.append(title, row.band, text);
      if (row.nested) {
        row.group.setAttribute("role", "button");
        row.group.setAttribute("tabindex", "0");
        row.group.addEventListener("click", () => this.fold(row, !row.folded));
        row.group.addEventListener("keydown", (event) => this.key(event, row));
      }
      row.text = text;
      return [row.edge, row.group];
    }

    key(event, row) {
      const places = this.rows.filter((one) => one.nested && !one.group.hasAttribute("hidden"));
      const here = places.indexOf(row);
      const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: places.length - 1 }[event.key];
      if (to !== undefined && places[to]) places[to].group.focus();
      else if (event.key === "ArrowLeft") this.fold(row, true);
      else if (event.key === "ArrowRight") this.fold(row, false);
      else if (event.key === "Enter" || event.key === " ") this.fold(row, !row.folded);
      else return;
      event.preventDefault();
    }

    fold(row, folded) {
      row.folded = folded;
      this.lay();
    }

    foldAll(folded) {
      for (const row of this.rows) row.folded = folded && row.nested;
      this.lay();
    }

    // Rows that are indented below a folded one are hidden; all others follow each other.
    lay() {
      let y = TOP + 16, width = 300, count = 0;
      for (const row of this.rows) {
        const parent = this.rows[row.parent];
        row.hidden = Boolean(parent) && (parent.hidden || (parent.folded && row.depth > parent.depth));
        row.group.toggleAttribute("hidden", row.hidden);
        row.edge.toggleAttribute("hidden", row.hidden);
        if (row.nested) {
          row.sign.textContent = row.folded ? "▸ " : "▾ ";
          row.group.setAttribute("aria-expanded", String(!row.folded));
          row.inside.textContent = row.folded ? `  (${this.below(row)} more)` : "";
        }
        if (row.hidden) continue;
        count += 1;
        row.x = LEFT + STEP * row.depth;
        row.y = y;
        row.group.setAttribute("transform", `translate(${row.x} ${y})`);
        row.width = 16 + 7.6 * row.text.textContent.length;
        row.band.setAttribute("width", row.width);
        if (parent) {
          const x = parent.x + 4;
          const end = row.depth > parent.depth ? `V${y - 4}H${row.x - 4}` : `V${y - 14}`;
          row.edge.setAttribute("d", `M${x} ${parent.y + 6}${end}`);
        }
        width = Math.max(width, row.x + row.width + 8);
        y += LINE;
      }
      this.drawn.setAttribute("width", width);
      this.drawn.setAttribute("height", y);
      this.drawn.setAttribute("viewBox", `0 0 ${width} ${y}`);
    }

    below(row) {
      let count = 0;
      for (let n = row.n + 1; n < this.rows.length && this.rows[n].depth > row.depth; n += 1) count += 1;
      return count;
    }

    // The rows that a call comes to are lit, and all that hides one is unfolded. ``taken`` has the
    // jumps that the call came to, and whether each was taken.
    light(taken) {
      for (const row of this.rows) {
        const lit = taken.has(row.at);
        const parent = this.rows[row.parent];
        const way = (one) => (taken.get(one.at) ? "yes" : "no");
        row.group.classList.toggle("lit", lit);
        row.edge.classList.toggle("lit", Boolean(lit && parent && taken.has(parent.at) && way(parent) === row.via));
        for (const [name, span] of Object.entries(row.ways)) {
          span.classList.toggle("taken", lit && way(row) === name);
        }
        for (let one = row; lit && this.rows[one.parent]; one = this.rows[one.parent]) {
          if (one.depth > this.rows[one.parent].depth) this.rows[one.parent].folded = false;
        }
      }
      this.lay();
    }
  }

  // --- one filter -------------------------------------------------------------------------------

  const ACTIONS = {
    0x80000000: "kill_process", 0x00000000: "kill_thread", 0x00030000: "trap", 0x00050000: "errno",
    0x7fc00000: "user_notif", 0x7ff00000: "trace", 0x7ffc0000: "log", 0x7fff0000: "allow",
  };

  const known = (constants) => Object.fromEntries(Object.entries(constants).filter(([, one]) => one !== null));
  const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

  class Article {
    constructor(root) {
      this.root = root;
      this.data = data[root.dataset.filter];
      const { numbers, constants } = this.data;
      this.ways = this.data.ways.map((way) => ({
        ...way,
        numbers: numbers[way.numbers],
        answers: numbers[way.answers],
        bitmap: new Set(numbers[way.bitmap]),
        constants: known({ ...constants[0], ...constants[way.constants] }),
      }));
      this.compared = root.querySelector(".compare");
      if (this.compared) {
        this.compared.addEventListener("change", () => this.compare());
        this.compare();
      }
      this.form = root.querySelector(".try");
      if (!this.form) return;
      this.output = root.querySelector(".answer");
      this.names = root.querySelector("datalist");
      this.form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.answer();
      });
      this.form.elements.abi.addEventListener("change", () => {
        this.show();
        if (this.form.elements.call.value) this.answer();
      });
      for (const button of all("[data-do]", root)) {
        button.addEventListener("click", () => this.tree.foldAll(button.dataset.do === "fold"));
      }
      for (const button of all(".call", root)) {
        button.title = `Try ${button.textContent}`;
        button.addEventListener("click", () => this.take(button.textContent));
      }
      this.show();
    }

    // The calls that two ABIs do not answer alike: those of both first, then those of one alone.
    compare() {
      const { one, other } = this.compared.elements;
      const [a, b] = [this.ways[one.value], this.ways[other.value]];
      const groups = new Map(), counts = [0, 0, 0];
      this.data.names.forEach((name, n) => {
        const [first, second] = [a.answers[n], b.answers[n]];
        if (first === second) return;
        const which = second < 0 ? 1 : first < 0 ? 2 : 0;
        const key = `${which} ${first} ${second}`;
        if (!groups.has(key)) groups.set(key, { which, answers: [first, second], names: [] });
        groups.get(key).names.push(name);
        counts[which] += 1;
      });
      const table = this.root.querySelector(".differing");
      const [, ...heads] = table.tHead.rows[0].cells;
      [a, b].forEach((way, n) => { heads[n].textContent = `On ${way.label}`; });
      const sorted = [...groups.values()].sort((x, y) => x.which - y.which);
      table.tBodies[0].replaceChildren(...sorted.map(({ answers, names }) => {
        const row = element("tr", "");
        const calls = element("th", "");
        calls.scope = "row";
        names.forEach((name, n) => {
          const link = element("a", name);
          link.href = `#${this.root.id}-c-${name}`;
          calls.append(n ? ", " : "", link);
        });
        row.append(calls);
        [a, b].forEach((way, n) => {
          const text = answers[n] < 0 ? "no such call" : this.data.texts[answers[n]];
          const cell = element("td", "");
          cell.append(element("span", `on ${way.label}: `, "where"), text);
          row.append(cell);
        });
        return row;
      }));
      table.hidden = !sorted.length;
      const said = `${counted(counts[0], "call")} get${counts[0] === 1 ? "s" : ""} different answers. `
        + `On ${a.label} alone ${counted(counts[1], "call")}, on ${b.label} alone ${counts[2]}.`;
      this.root.querySelector(".difference").textContent = sorted.length ? said : "All calls get the same answers.";
    }

    get way() {
      return this.ways[this.form.elements.abi.value];
    }

    show() {
      const { way } = this;
      const program = this.data.programs[way.program];
      if (this.program !== program) {
        this.program = program;
        this.tree = new Tree(this.root.querySelector(".tree"), program, this.data);
      }
      const has = this.data.names.filter((_, n) => way.numbers[n] >= 0);
      this.names.replaceChildren(...has.map((name) => new Option(name)));
      const about = `${program.code.length / 4} instructions for ${program.abi}, ${program.rows.length} questions`;
      this.root.querySelector(".tree-about").textContent = about;
    }

    take(name) {
      const { abi, call, args } = this.form.elements;
      const n = this.data.names.indexOf(name);
      if (this.way.numbers[n] < 0) {
        abi.value = String(this.ways.findIndex((way) => way.numbers[n] >= 0));
        this.show();
      }
      call.value = name;
      args.value = "";
      args.placeholder = this.data.arguments[n].join(" ");
      this.answer();
      this.form.scrollIntoView({ block: "start" });
      args.focus({ preventScroll: true });
    }

    answer() {
      const { call, args } = this.form.elements;
      const { way } = this;
      const whole = /^\s*(\w+)\s*\((.*)\)\s*$/.exec(call.value); // socket(AF_PACKET, SOCK_RAW, 0)
      if (whole) [, call.value, args.value] = whole;
      const typed = call.value.trim();
      const n = this.data.names.indexOf(typed);
      try {
        if (n >= 0 && way.numbers[n] < 0) throw new Misread(`${way.label} has no call “${typed}”`);
        const number = n >= 0 ? BigInt(way.numbers[n]) : BigInt.asUintN(32, value(typed, {}));
        const names = n >= 0 ? this.data.arguments[n] : [];
        const all_args = parsed(args.value.replace(/\s*\|\s*/g, "|").split(/[\s,]+/).filter(Boolean), names, way.constants);
        const word = words(Number(number), way.arch, all_args, this.program.big);
        const result = run(this.program.code, word);
        this.tree.light(result.taken);
        this.tell(typed, n, result, way);
      } catch (error) {
        if (!(error instanceof Misread)) throw error;
        this.tree.light(new Map());
        this.output.replaceChildren(element("b", "Not understood: "), error.message);
      }
    }

    tell(typed, n, { answer, path }, way) {
      const full = answer & 0xffff0000, datum = answer & 0xffff;
      const name = ACTIONS[full >>> 0] || "kill_process";
      const spelt = this.spelt(answer) || (datum ? `${name}(${datum})` : name);
      const good = name === "allow" || name === "log";
      const verdict = element("b", `${good ? "✓" : "✗"} ${spelt}`, `act ${good ? "allow" : "errno"}`);
      const bitmap = n >= 0 && way.bitmap.has(n);
      const cost = bitmap
        ? "The kernel’s bitmap answers it without running the program (Linux 5.11 and newer); else"
        : "The program runs:";
      const steps = `${path.length} instruction${path.length === 1 ? "" : "s"}.`;
      this.output.replaceChildren(element("code", `${typed} on ${way.label}`), " gets ", verdict, ". ", cost, ` ${steps} `);
      if (n >= 0) {
        const link = element("a", "When does it get what?");
        link.href = `#${this.root.id}-c-${typed}`;
        this.output.append(link);
      }
      this.output.dataset.ret = String(answer >>> 0);
      this.output.dataset.path = path.join(" ");
    }

    // The answer as the page spells it elsewhere, with the errno's name.
    spelt(answer) {
      const ends = this.tree.rows.flatMap((row) => [row.yes, row.no]).filter(([, to]) => to < 0);
      const end = ends.find(([, , ret]) => ret >>> 0 === answer >>> 0);
      return end ? this.data.texts[end[0]] : "";
    }
  }

  const articles = all("article").map((root) => new Article(root));

  // Printed, everything is open.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    for (const one of closed) one.open = true;
    for (const one of articles) one.tree?.foldAll(false);
  });
  addEventListener("afterprint", () => {
    for (const one of closed) one.open = false;
  });
  reveal();
})();
