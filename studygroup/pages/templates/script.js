"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  root.classList.add("js");

  // Light, dark, or as the system has it.
  const themes = ["auto", "light", "dark"];
  const recall = () => { try { return localStorage.getItem("studygroup-theme"); } catch { return null; } };
  const setTheme = (theme) => {
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    all("[data-themes]").forEach((button) => { button.textContent = "Theme: " + theme; });
    try { localStorage.setItem("studygroup-theme", theme); } catch { /* a page without storage */ }
  };
  let theme = themes.includes(recall()) ? recall() : "auto";
  setTheme(theme);
  all("[data-themes]").forEach((button) => button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    setTheme(theme);
  }));

  // Tabs.
  const tabs = all("[role=tab]");
  const panels = tabs.map((tab) => document.getElementById(tab.getAttribute("aria-controls")));
  const open = (chosen, focus) => {
    tabs.forEach((tab, place) => {
      const on = tab === chosen;
      tab.setAttribute("aria-selected", String(on));
      tab.tabIndex = on ? 0 : -1;
      panels[place].hidden = !on;
    });
    if (focus) { chosen.focus(); chosen.scrollIntoView({ block: "nearest", inline: "nearest" }); }
  };
  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => { open(tab); history.replaceState(null, "", "#" + tab.getAttribute("aria-controls")); });
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) { open(tabs[(place + step + tabs.length) % tabs.length], true); event.preventDefault(); }
    });
  });
  if (tabs.length) open(tabs.find((tab) => "#" + tab.getAttribute("aria-controls") === location.hash) || tabs[0]);

  // Tables: sorted by a click on a header, filtered by words.
  all("table.sortable").forEach((table) => {
    const body = table.tBodies[0];
    const headers = all("th", table);
    headers.forEach((header, place) => {
      const button = header.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const numeric = header.classList.contains("number");
        const before = header.getAttribute("aria-sort");
        const down = before ? before === "ascending" : numeric;
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        header.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = (row) => { const cell = row.cells[place]; return numeric ? Number(cell.dataset.sort ?? "-Infinity") : cell.textContent.trim(); };
        const compare = (a, b) => {
          const [x, y] = [key(a), key(b)];
          return numeric ? (x === y ? 0 : x < y ? -1 : 1) : x.localeCompare(y, undefined, { numeric: true });
        };
        const rows = [...body.rows].sort((a, b) => (down ? -compare(a, b) : compare(a, b)));
        body.append(...rows);
      });
    });
    const field = table.closest(".table").querySelector(".filter");
    if (field) field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      [...body.rows].forEach((row) => {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      });
    });
  });

  // Legends show and hide series, in all plots that they belong to.
  const apply = (button) => {
    const shown = button.getAttribute("aria-pressed") === "true";
    all("[data-series]", button.closest("[data-legend]")).forEach((item) => {
      if (item.dataset.series === button.dataset.key) item.classList.toggle("gone", !shown);
    });
  };
  all(".legend button[data-key]").forEach((button) => {
    apply(button);
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      apply(button);
    });
  });
  all(".legend button[data-every]").forEach((button) => button.addEventListener("click", () => {
    const keys = all("button[data-key]", button.closest(".legend"));
    const show = !keys.every((key) => key.getAttribute("aria-pressed") === "true");
    keys.forEach((key) => { key.setAttribute("aria-pressed", String(show)); apply(key); });
  }));

  // What is pointed at, or chosen by the arrow keys, is told beside it.
  const tip = document.getElementById("tip");
  const place = (x, y) => {
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(6, Math.min(x + 14, innerWidth - box.width - 6)) + "px";
    tip.style.top = (y + 18 + box.height > innerHeight ? Math.max(6, y - box.height - 12) : y + 18) + "px";
  };
  const say = (content, x, y) => {
    tip.replaceChildren(...content);
    tip.classList.add("on");
    place(x, y);
  };
  const hush = () => tip.classList.remove("on");
  const lines = (text) => {
    const [title, ...rest] = text.split("\n");
    const head = document.createElement("b");
    head.textContent = title;
    return [head, document.createTextNode(rest.join("\n"))];
  };
  document.addEventListener("pointerover", (event) => {
    const item = event.target.closest("[data-tip]");
    if (item) say(lines(item.dataset.tip), event.clientX, event.clientY);
  });
  document.addEventListener("pointermove", (event) => {
    if (event.target.closest("[data-tip]")) place(event.clientX, event.clientY);
  });
  document.addEventListener("pointerout", (event) => { if (event.target.closest("[data-tip]")) hush(); });
  addEventListener("keydown", (event) => { if (event.key === "Escape") hush(); });
  let steady = 0; // until when scrolling is the keyboard's own
  addEventListener("scroll", () => { if (performance.now() > steady) hush(); }, { passive: true });

  const middle = (item) => { const box = item.getBoundingClientRect(); return [box.left + box.width / 2, box.top + box.height / 2]; };

  all("svg[data-plot]").forEach((svg) => {
    const data = svg.dataset.curves ? JSON.parse(svg.dataset.curves) : null;
    if (data && data.x.length) return curves(svg, data);
    return marks(svg);
  });

  // Curves: the pointer, or the left and right arrow, chooses a place on the horizontal axis.
  function curves(svg, data) {
    const cross = svg.querySelector(".cross");
    const spots = all(".spot", svg);
    let at = data.x.length - 1;
    const show = (index, x, y) => {
      at = index;
      cross.setAttribute("x1", data.x[at]);
      cross.setAttribute("x2", data.x[at]);
      cross.style.visibility = "visible";
      const rows = [];
      data.lines.forEach((line, number) => {
        const hidden = spots[number].classList.contains("gone") || line.y[at] === null;
        spots[number].style.visibility = hidden ? "hidden" : "visible";
        if (hidden) return;
        spots[number].setAttribute("cx", data.x[at]);
        spots[number].setAttribute("cy", line.y[at]);
        rows.push(line);
      });
      rows.sort((a, b) => a.y[at] - b.y[at]);
      const head = document.createElement("b");
      head.textContent = data.names[at];
      const told = rows.slice(0, 14).map((line) => {
        const row = document.createElement("div");
        row.className = "row";
        const name = document.createElement("span");
        const dot = document.createElement("i");
        dot.className = "dot " + line.css;
        name.append(dot, line.series);
        const value = document.createElement("span");
        value.textContent = line.text[at];
        row.append(name, value);
        return row;
      });
      say([head, ...told], x, y);
    };
    const clear = () => { cross.style.visibility = "hidden"; spots.forEach((spot) => { spot.style.visibility = "hidden"; }); hush(); };
    const scale = () => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    svg.addEventListener("pointermove", (event) => {
      const x = (event.clientX - svg.getBoundingClientRect().left) / scale();
      let best = 0;
      data.x.forEach((value, index) => { if (Math.abs(value - x) < Math.abs(data.x[best] - x)) best = index; });
      show(best, event.clientX, event.clientY);
    });
    svg.addEventListener("pointerleave", clear);
    svg.addEventListener("blur", clear);
    const byKey = (index) => {
      steady = performance.now() + 300;
      const box = svg.getBoundingClientRect();
      show(index, box.left + data.x[index] * scale(), box.top + 24);
    };
    svg.addEventListener("focus", () => { if (svg.matches(":focus-visible")) byKey(at); });
    svg.addEventListener("keydown", (event) => {
      const last = data.x.length - 1;
      const next = { ArrowRight: Math.min(at + 1, last), ArrowLeft: Math.max(at - 1, 0), Home: 0, End: last }[event.key];
      if (next !== undefined) { byKey(next); event.preventDefault(); }
    });
  }

  // Marks and squares: the arrow keys choose one after the other, in a matrix by row and column.
  function marks(svg) {
    let current = null;
    const items = () => all("[data-tip]", svg).filter((item) => !item.classList.contains("gone"));
    const go = (item) => {
      if (current) current.classList.remove("at");
      current = item;
      if (!item) return hush();
      item.classList.add("at");
      steady = performance.now() + 300;
      item.scrollIntoView({ block: "nearest", inline: "nearest" });
      say(lines(item.dataset.tip), ...middle(item));
    };
    svg.addEventListener("focus", () => { if (svg.matches(":focus-visible")) go(current || items()[0]); });
    svg.addEventListener("blur", () => go(null));
    svg.addEventListener("keydown", (event) => {
      const found = items();
      const grid = current && current.dataset.row !== undefined;
      let next = null;
      if (grid && event.key.startsWith("Arrow")) {
        const [row, column] = [Number(current.dataset.row), Number(current.dataset.column)];
        const along = event.key === "ArrowLeft" || event.key === "ArrowRight";
        const forward = event.key === "ArrowRight" || event.key === "ArrowDown" ? 1 : -1;
        const line = found.filter((item) => Number(along ? item.dataset.row : item.dataset.column) === (along ? row : column));
        line.sort((a, b) => forward * (Number(along ? a.dataset.column : a.dataset.row) - Number(along ? b.dataset.column : b.dataset.row)));
        next = line[line.indexOf(current) + 1] || current;
      } else {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (step) next = found[Math.max(0, Math.min(found.length - 1, found.indexOf(current) + step))];
      }
      if (next) { go(next); event.preventDefault(); }
    });
  }

  // Commands are copied by a click.
  all(".copy").forEach((button) => button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "selected";
    }
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  }));
})();
