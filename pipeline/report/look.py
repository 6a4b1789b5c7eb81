"""How the page looks and what little it does by itself. In a module, so that editing it reruns the report."""

from __future__ import annotations

from functools import cache
from typing import Any

from pipeline.report import words


@cache
def _environment():
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=words.number, count=words.count)
    return environment


def render(template: str, **content: Any) -> Any:
    """A template filled in; plain text is escaped, what `render` gave before is kept as it is."""
    from markupsafe import Markup

    return Markup(_environment().from_string(template).render(**content))


def trusted(text: str) -> Any:
    """SVG that our own figures made, which is not escaped again."""
    from markupsafe import Markup

    return Markup(text)


STYLE = """
:root { --ink: #1d2a2a; --quiet: #56635f; --line: #d4dad6; --accent: #1c5a73; --paper: #fff; --tint: #f3f6f3;
  --sink: #0a5f58; --source: #7a430b; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", "Noto Sans",
  "DejaVu Sans", sans-serif; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
.page { max-width: 1120px; margin: 0 auto; padding: 0 24px 64px; }
h1, h2, h3 { line-height: 1.2; font-weight: 650; }
h1 { font-size: 30px; margin: 32px 0 6px; }
h2 { font-size: 22px; margin: 0 0 10px; }
h3 { font-size: 17px; margin: 24px 0 6px; }
h4 { font-size: 16px; line-height: 1.2; font-weight: 650; margin: 26px 0 6px; }
h3.target { font-size: 20px; margin: 30px 0 6px; }
p { margin: 6px 0 10px; max-width: 78ch; }
section { border-top: 2px solid var(--ink); padding-top: 18px; margin-top: 40px; }
nav { margin: 14px 0 0; display: flex; flex-wrap: wrap; gap: 2px 18px; }
nav a { color: var(--accent); padding: 4px 0; }
a { color: var(--accent); }
.unit, .note, small { color: var(--quiet); font-weight: 400; }
.unit { font-size: 0.82em; }
.note { font-size: 14px; }
.lead { color: var(--quiet); margin: 0; max-width: none; }
.headline { display: grid; grid-template-columns: repeat(auto-fit, minmax(250px, 1fr)); gap: 12px; }
header .headline { margin: 22px 0 12px; }
.headline > div { background: var(--tint); border-left: 4px solid var(--accent); padding: 12px 16px; }
.headline .sink { border-color: var(--sink); }
.headline .source { border-color: var(--source); }
.headline .what { font-size: 14px; color: var(--quiet); }
.headline .value { font-size: 30px; line-height: 1.25; font-weight: 650; white-space: nowrap; }
.headline .value .unit { font-size: 16px; }
.headline .total { font-size: 14px; }
.scroll { overflow-x: auto; margin: 10px 0; background: linear-gradient(90deg, #fff 30%, #fff0) left / 40px 100% local,
  linear-gradient(270deg, #fff 30%, #fff0) right / 40px 100% local,
  linear-gradient(90deg, #1d2a2a38, #1d2a2a00) left / 12px 100% scroll,
  linear-gradient(270deg, #1d2a2a38, #1d2a2a00) right / 12px 100% scroll, #fff; background-repeat: no-repeat; }
td.text { min-width: 13em; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 10px; border-bottom: 1px solid var(--line); vertical-align: middle; }
th .unit { white-space: nowrap; }
th { font-weight: 600; vertical-align: bottom; border-bottom: 2px solid var(--ink); line-height: 1.25; }
td.n, th.n { text-align: right; }
td.n, td.w { white-space: nowrap; }
table.dense { font-size: 13px; }
table.dense th, table.dense td { padding: 4px 6px; }
td.folds { text-align: right; min-width: 5em; }
caption { text-align: left; color: var(--quiet); padding-bottom: 4px; }
figure { margin: 0; }
figcaption { font-size: 14px; font-weight: 600; margin-bottom: 4px; }
.defs { position: absolute; }
.groups { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 12px 18px; grid-auto-flow: dense; }
.mapgroup { break-inside: avoid; margin-bottom: 14px; grid-column: span 1; grid-row: span 4; display: grid;
  grid-template-rows: subgrid; grid-template-columns: minmax(0, 1fr); row-gap: 0; align-content: start; }
.mapgroup > .legend { align-items: end; align-content: end; }
.maps { display: grid; grid-template-columns: minmax(0, 1fr); gap: 16px 18px; }
.span2 { grid-column: span 2; }
.span2 .maps { grid-template-columns: repeat(2, minmax(0, 1fr)); }
.span3 { grid-column: span 3; }
.span3 .maps { grid-template-columns: repeat(3, minmax(0, 1fr)); }
.map { position: relative; }
.map > svg { display: block; width: 100%; height: auto; border: 1px solid var(--line); }
.map image { image-rendering: pixelated; }
.outline { fill: none; stroke: #222; stroke-opacity: 0.55; stroke-width: 1.6; }
.map .bar { position: absolute; left: 8px; bottom: 8px; border: 2px solid var(--ink); border-top: 0; font-size: 11px;
  line-height: 1; padding: 0 0 3px; text-align: center; white-space: nowrap; background: rgba(255,255,255,0.75); }
.legend { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 18px; font-size: 13px; margin: 6px 0 10px; }
.scale { width: 224px; padding: 0 18px; }
.scale .unit { margin-left: -18px; line-height: 1.6; }
.ramp { height: 12px; border: 1px solid var(--line); }
.ticks { position: relative; height: 18px; }
.ticks span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.swatch { display: inline-flex; align-items: center; gap: 6px; }
.swatch i { width: 16px; height: 12px; border: 1px solid var(--line); }
.swatch i.dot { width: 10px; height: 10px; border: 0; border-radius: 50%; }
.hatched { background: repeating-linear-gradient(45deg, #b3b3b3 0 3px, #d9d9d9 3px 7px); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); gap: 18px; }
.charts > figure { max-width: 560px; break-inside: avoid; }
.charts > figure > .unit, figure.wide > .unit { display: inline-block; line-height: 1.4; }
figure.wide { max-width: 900px; }
figure.wide svg.chart { min-width: 560px; }
svg.chart { display: block; width: 100%; height: auto; font: 12.5px system-ui, "Noto Sans", "DejaVu Sans", sans-serif;
  fill: var(--ink); }
.chart .grid { stroke: #e4e8e5; fill: none; }
.chart .line { stroke: var(--ink); stroke-width: 1.2; stroke-dasharray: 5 4; fill: none; }
.chart .bar { fill: none; stroke-width: 1.3; stroke-opacity: 0.45; }
.chart .over { paint-order: stroke; stroke: #fff; stroke-width: 4px; }
.chart .points { fill-opacity: 0.75; }
.chart .points circle { stroke: #fff; stroke-width: 0.7; }
.standmap { display: grid; grid-template-columns: minmax(0, 640px) minmax(200px, 1fr); gap: 6px 20px; }
.standmap > input { position: absolute; opacity: 0; }
.standmap .switch { grid-column: 1 / -1; display: flex; flex-wrap: wrap; gap: 8px; }
.standmap .switch label { border: 1px solid var(--accent); padding: 8px 14px; cursor: pointer; font-size: 14px; }
#view-a:checked ~ .switch .a, #view-b:checked ~ .switch .b { background: var(--accent); color: #fff; }
#view-a:focus-visible ~ .switch .a, #view-b:focus-visible ~ .switch .b { outline: 3px solid #e3a53a; }
#view-a:checked ~ .legend.b, #view-b:checked ~ .legend.a { display: none; }
.standmap .legend { grid-column: 1 / -1; }
.standmap .map { align-self: start; }
.standmap .beside .legend { grid-column: auto; }
.standmap path.stand { fill: var(--a); stroke: #fff; stroke-width: 1.4; cursor: pointer; }
#view-b:checked ~ .map path.stand { fill: var(--b); }
.standmap path.stand.chosen { stroke: #111; stroke-width: 5; }
.standmap .said { font-size: 14px; white-space: pre-line; font-variant-numeric: tabular-nums; min-height: 9em; }
.standmap .ranks { max-width: 480px; margin-top: 12px; }
.filters { display: none; flex-wrap: wrap; gap: 10px 18px; margin: 14px 0 4px; font-size: 14px; align-items: center; }
.js .filters { display: flex; }
.filters input, .filters select { font: inherit; padding: 7px 9px; border: 1px solid var(--quiet); max-width: 100%; }
#stands-table { width: 100%; }
#stands-table td:first-child, #stands-table th:first-child { position: sticky; left: 0; background: var(--paper); }
#stands-table tr.chosen td { background: #fdf1d8; }
#stands-table thead th { font-size: 13px; }
#stands-table th button { font: inherit; color: inherit; background: none; border: 0; padding: 0;
  cursor: pointer; text-align: inherit; }
#stands-table th button::after { content: " \\2195"; color: var(--quiet); }
#stands-table th[aria-sort="ascending"] button::after { content: " \\2191"; color: var(--ink); }
#stands-table th[aria-sort="descending"] button::after { content: " \\2193"; color: var(--ink); }
.tall { max-height: 620px; overflow: auto; border-bottom: 1px solid var(--line); }
.tall thead th { position: sticky; top: 0; background: var(--paper); z-index: 1; }
.tall thead th:first-child { z-index: 2; }
svg.interval { display: block; margin-left: auto; }
svg.interval { fill: var(--accent); stroke: var(--accent); stroke-width: 2; overflow: visible; }
svg.interval .zero { stroke: #9aa5a0; stroke-width: 1; }
.is-sink { color: var(--sink); font-weight: 600; }
.is-source { color: var(--source); font-weight: 600; }
.parts { display: flex; height: 16px; min-width: 170px; }
.parts i { display: block; }
ul { padding-left: 20px; margin: 6px 0 12px; max-width: 82ch; }
li { margin: 3px 0; }
details { margin: 6px 0; }
summary { cursor: pointer; padding: 4px 0; color: var(--accent); }
.holds { color: var(--sink); font-weight: 600; }
.broken { color: #a3271c; font-weight: 600; }
.warning { border-left: 4px solid #d1620a; background: #fdf3ea; padding: 8px 14px; }
footer { margin-top: 48px; font-size: 13px; color: var(--quiet); }
@media (max-width: 900px) {
  .groups { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .span3 { grid-column: span 2; }
  .span3 .maps { grid-template-columns: repeat(2, minmax(0, 1fr)); }
}
@media (max-width: 700px) {
  .groups, .span2 .maps, .span3 .maps { grid-template-columns: minmax(0, 1fr); }
  .mapgroup, .span2, .span3 { grid-column: span 1; }
  .page { padding: 0 14px 40px; }
  h1 { font-size: 25px; }
  .standmap { grid-template-columns: minmax(0, 1fr); }
  .standmap .said { min-height: 0; }
  .headline .value { font-size: 26px; }
  .tall { max-height: 480px; }
}
@media print {
  body { font-size: 11pt; }
  .page { max-width: none; padding: 0; }
  nav, .filters, .standmap .switch, .standmap .said { display: none !important; }
  .standmap { grid-template-columns: minmax(0, 12cm); }
  .tall, .scroll { max-height: none; overflow: visible; }
  .tall thead th { position: static; }
  #stands-table { font-size: 8pt; }
  #stands-table td, #stands-table th { padding: 2px 4px; }
  thead, tr, figure { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .charts { grid-template-columns: repeat(3, 1fr); }
}
"""

SCRIPT = """
(function () {
  "use strict";
  document.documentElement.classList.add("js");
  var table = document.getElementById("stands-table");
  if (!table) { return; }
  var body = table.tBodies[0], rows = Array.prototype.slice.call(body.rows);
  var said = document.getElementById("said"), shown = document.getElementById("rows-shown");
  var paths = {}, chosen = null;
  document.querySelectorAll("path.stand").forEach(function (path) { paths[path.dataset.row] = path; });

  function say(number) {
    if (said && paths[number]) { said.textContent = paths[number].querySelector("title").textContent; }
  }
  function choose(number, scroll) {
    rows.forEach(function (row) { row.classList.toggle("chosen", row.dataset.row === number); });
    Object.keys(paths).forEach(function (key) { paths[key].classList.toggle("chosen", key === number); });
    if (paths[number]) { paths[number].parentNode.appendChild(paths[number]); }
    chosen = number;
    say(number);
    if (scroll) {
      var row = rows.filter(function (one) { return one.dataset.row === number; })[0];
      var frame = table.closest(".tall");
      if (row && frame) { frame.scrollTop = row.offsetTop - frame.clientHeight / 2; }
    }
  }
  Object.keys(paths).forEach(function (number) {
    paths[number].addEventListener("pointerenter", function () { say(number); });
    paths[number].addEventListener("pointerleave", function () { if (chosen !== null) { say(chosen); } });
    paths[number].addEventListener("click", function () { choose(number, true); });
  });
  rows.forEach(function (row) { row.addEventListener("click", function () { choose(row.dataset.row, false); }); });

  function value(row, column) {
    var cell = row.cells[column], key = cell.dataset.v;
    if (key === undefined) { return cell.textContent.trim(); }
    return key === "" ? null : Number(key);
  }
  function compare(column, sign) {
    return function (a, b) {
      var x = value(a, column), y = value(b, column);
      if (x === null || y === null) { return (x === null) - (y === null); }
      if (typeof x === "number") { return sign * (x - y); }
      return sign * x.localeCompare(y, undefined, { numeric: true });
    };
  }
  Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    while (head.firstChild) { button.appendChild(head.firstChild); }
    head.appendChild(button);
    button.addEventListener("click", function () {
      var rising = head.getAttribute("aria-sort") === "descending" ||
        (head.getAttribute("aria-sort") === null && !head.classList.contains("n"));
      Array.prototype.forEach.call(table.tHead.rows[0].cells, function (one) { one.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      rows.sort(compare(column, rising ? 1 : -1)).forEach(function (row) { body.appendChild(row); });
    });
  });

  var words = document.getElementById("filter-words"), direction = document.getElementById("filter-direction");
  function filter() {
    var wanted = words.value.trim().toLowerCase(), way = direction ? direction.value : "", count = 0;
    rows.forEach(function (row) {
      var fits = row.dataset.words.indexOf(wanted) >= 0 && (way === "" || row.dataset.direction === way);
      row.hidden = !fits;
      count += fits ? 1 : 0;
      if (paths[row.dataset.row]) { paths[row.dataset.row].style.opacity = fits ? "" : "0.18"; }
    });
    shown.textContent = count + " of " + rows.length + " shown";
  }
  words.addEventListener("input", filter);
  if (direction) { direction.addEventListener("change", filter); }
  filter();
}());
"""
