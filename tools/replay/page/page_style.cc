#include "tools/replay/page/page_style.h"

namespace terrace::replay {

const std::string_view kPageStyle = R"css(
:root {
  --paper: #fff; --ink: #1a1f26; --soft: #56606c; --rule: #dfe3e8; --faint: #f5f7f9;
  --link: #0b5cad; --good: #00694b; --bad: #b3261e; --bad-paper: #fdecea; --warn: #8a5a00;
  --warn-paper: #fff6e0; --good-paper: #eaf5f0;
  --s0: #1a1f26; --s1: #0072b2; --s2: #d0450f; --s3: #00866a; --s4: #a8478a;
  --s5: #c08400; --s6: #3f9fd8; --s7: #7a6652; --s8: #c3cad2;
  color-scheme: light;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14181d; --ink: #e6e9ed; --soft: #a0a9b4; --rule: #323a44; --faint: #1c2229;
    --link: #7db8f0; --good: #5fc9a0; --bad: #ff8f85; --bad-paper: #45191a; --warn: #f0bf60;
    --warn-paper: #3a2e12; --good-paper: #14302a;
    --s0: #f2f4f6; --s1: #4ba3e3; --s2: #f0764a; --s3: #2fbd98; --s4: #d583bd;
    --s5: #e6ac3a; --s6: #8ccbf2; --s7: #b89f88; --s8: #55606c;
    color-scheme: dark;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 "Inter", "Segoe UI", "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: break-word;
}
main { max-width: 1160px; margin: 0 auto; padding: 28px 24px 56px; }
header { border-bottom: 3px solid var(--ink); padding-bottom: 14px; margin-bottom: 20px; }
header .kind {
  margin: 0 0 2px; color: var(--soft); font-size: 13px; letter-spacing: .04em;
}
h1 { font-size: 27px; line-height: 1.2; letter-spacing: -.015em; margin: 0 0 6px; }
header .about { margin: 0; color: var(--soft); }
h2 {
  font-size: 19px; line-height: 1.3; letter-spacing: -.01em; margin: 40px 0 4px;
  break-after: avoid;
}
h3 { font-size: 15px; margin: 22px 0 6px; break-after: avoid; }
p { margin: 6px 0 12px; max-width: 75ch; }
p.quiet, figcaption p { color: var(--soft); }
.summary { font-size: 17px; line-height: 1.55; max-width: 72ch; margin: 16px 0 20px; }
.headlines {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr));
  border-top: 1px solid var(--rule); border-bottom: 1px solid var(--rule); margin: 18px 0 8px;
}
.headlines > div { padding: 12px 16px 12px 0; break-inside: avoid; }
.headlines p { margin: 0; }
.headlines .name, .headlines .note { color: var(--soft); font-size: 13px; line-height: 1.4; }
.headlines .figure {
  font-size: 26px; line-height: 1.3; font-weight: 650; letter-spacing: -.02em;
}
.banner {
  border-left: 5px solid; padding: 10px 16px; margin: 14px 0; border-radius: 2px;
  break-inside: avoid;
}
.banner ul { margin: 4px 0 0; padding-left: 20px; }
.banner.bad {
  color: var(--bad); background: var(--bad-paper); border: 3px solid var(--bad); font-size: 16px;
}
.banner.bad strong { font-size: 21px; display: block; line-height: 1.3; }
.banner.warn { color: var(--warn); background: var(--warn-paper); border-color: var(--warn); }
.banner.good { color: var(--good); background: var(--good-paper); border-color: var(--good); }
.banner.good strong { font-weight: 500; }
.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 12px 36px; }
.charts > figure.full { grid-column: 1 / -1; }
figure { margin: 14px 0 6px; break-inside: avoid; min-width: 0; }
figcaption h3 { margin: 0; }
figcaption p { margin: 0 0 6px; font-size: 13px; line-height: 1.45; }
svg.chart { display: none; width: 100%; height: auto; overflow: visible; }
svg.chart text { font-size: 12px; fill: var(--soft); font-family: inherit; }
svg.chart text.value { fill: var(--ink); }
svg.chart text.level { fill: var(--ink); }
.half svg.w560 { display: block; }
.full svg.w1080 { display: block; }
svg .grid { stroke: var(--rule); stroke-width: 1; fill: none; }
svg .axis { stroke: var(--soft); stroke-width: 1; fill: none; }
svg .levelline { stroke: var(--ink); stroke-width: 1.2; stroke-dasharray: 2 4; fill: none; }
svg .line { stroke: var(--c); stroke-width: 2; fill: none; stroke-linejoin: round; }
svg .line.ref { stroke-width: 3.2; }
svg .mark { fill: var(--c); stroke: var(--paper); stroke-width: 1; }
svg .mark.hollow { fill: var(--paper); stroke: var(--c); stroke-width: 2; }
svg .area { fill: var(--c); stroke: var(--paper); stroke-width: .6; }
svg .hit { fill: transparent; stroke: none; }
svg .hit:hover { fill: var(--ink); fill-opacity: .08; }
.c0 { --c: var(--s0); } .c1 { --c: var(--s1); } .c2 { --c: var(--s2); }
.c3 { --c: var(--s3); } .c4 { --c: var(--s4); } .c5 { --c: var(--s5); }
.c6 { --c: var(--s6); } .c7 { --c: var(--s7); } .c8 { --c: var(--s8); }
ul.legend {
  list-style: none; margin: 4px 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: 2px 18px;
  font-size: 13px;
}
ul.legend li { display: flex; align-items: center; gap: 7px; }
ul.legend svg { width: 34px; height: 14px; flex: none; }
.scroll { overflow-x: auto; margin: 8px 0 12px; }
table { border-collapse: collapse; font-size: 13.5px; line-height: 1.35; min-width: 60%; }
th, td { text-align: left; padding: 5px 14px 5px 0; vertical-align: top; }
th {
  font-weight: 600; color: var(--soft); border-bottom: 1.5px solid var(--ink);
  vertical-align: bottom;
}
td { border-bottom: 1px solid var(--rule); }
th.n, td.n { text-align: right; padding: 5px 0 5px 14px; }
td.n { white-space: nowrap; }
td:not(.n) { min-width: 7.5em; }
td:not(.n) + td.n, th:not(.n) + th.n { padding-left: 20px; }
td.n + td:not(.n), th.n + th:not(.n) { padding-left: 20px; }
td.good { color: var(--good); font-weight: 600; }
td.bad { color: var(--bad); font-weight: 600; }
td.quiet { color: var(--soft); }
th[aria-sort] { color: var(--ink); }
th.sorts { cursor: pointer; }
.facts { columns: 3 300px; column-gap: 36px; margin: 8px 0; font-size: 13.5px; }
.facts > div {
  display: flex; justify-content: space-between; gap: 16px; padding: 3px 0;
  border-bottom: 1px solid var(--rule); break-inside: avoid;
}
.facts dt { color: var(--soft); }
.facts dd { margin: 0; text-align: right; overflow-wrap: anywhere; min-width: 0; }
footer {
  margin-top: 40px; padding-top: 10px; border-top: 1px solid var(--rule); color: var(--soft);
  font-size: 13px;
}
#tip {
  position: fixed; z-index: 9; pointer-events: none; background: var(--ink); color: var(--paper);
  padding: 5px 9px; border-radius: 3px; font-size: 13px; line-height: 1.35; max-width: 300px;
  white-space: pre-line;
}
@media screen and (max-width: 1000px) {
  .charts { grid-template-columns: minmax(0, 1fr); }
  .charts svg.chart { max-width: 700px; }
  .full svg.w1080 { display: none; }
  .full svg.w560 { display: block; }
}
@media screen and (max-width: 520px) {
  main { padding: 18px 14px 40px; }
  h1 { font-size: 22px; }
  .half svg.w560, .full svg.w560 { display: none; }
  .half svg.w340, .full svg.w340 { display: block; }
  .headlines { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .headlines .figure { font-size: 21px; }
  .summary { font-size: 16px; }
}
@media print {
  @page { margin: 14mm 13mm; }
  body { font-size: 10pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  h1 { font-size: 19pt; }
  h2 { font-size: 13.5pt; margin-top: 20pt; }
  .summary { font-size: 11pt; }
  .headlines .figure { font-size: 15pt; }
  .headlines { grid-template-columns: repeat(auto-fit, minmax(112px, 1fr)); }
  .full svg.w560 { max-width: 540px; }
  h2 + p.quiet { break-after: avoid; }
  .charts { gap: 6pt 20pt; }
  .half svg.w560, .full svg.w1080 { display: none; }
  .half svg.w340, .full svg.w560 { display: block; }
  .banner { background: none; border: 1.5pt solid; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; min-width: 0; width: 100%; }
  th, td { padding: 2.5pt 6pt 2.5pt 0; }
  th.n, td.n { padding: 2.5pt 0 2.5pt 6pt; }
  thead { display: table-header-group; }
  tr { break-inside: avoid; }
  .facts { font-size: 8pt; columns: 2; }
  ul.legend { font-size: 8.5pt; }
}
)css";

const std::string_view kPageScript = R"js(
(function () {
  'use strict';
  var tip = document.createElement('div');
  tip.id = 'tip';
  tip.hidden = true;
  document.body.appendChild(tip);
  // The browser's own tooltip comes late: the text of <title> is shown at once instead.
  document.querySelectorAll('svg.chart title').forEach(function (title) {
    title.parentNode.setAttribute('data-tip', title.textContent);
    title.parentNode.removeChild(title);
  });
  document.addEventListener('pointermove', function (event) {
    var over = event.target.closest ? event.target.closest('[data-tip]') : null;
    tip.hidden = !over;
    if (!over) return;
    tip.textContent = over.getAttribute('data-tip');
    var x = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
    var y = event.clientY + 16;
    if (y + tip.offsetHeight > window.innerHeight) y = event.clientY - tip.offsetHeight - 10;
    tip.style.left = Math.max(x, 4) + 'px';
    tip.style.top = Math.max(y, 4) + 'px';
  });
  function valueOf(row, column) {
    var cell = row.cells[column];
    if (!cell) return '';
    var value = cell.getAttribute('data-v');
    return value === null ? cell.textContent : parseFloat(value);
  }
  document.querySelectorAll('table').forEach(function (table) {
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head, column) {
      head.className += ' sorts';
      head.tabIndex = 0;
      function sort() {
        var down = head.getAttribute('aria-sort') !== 'descending';
        Array.prototype.forEach.call(table.tHead.rows[0].cells, function (other) {
          other.removeAttribute('aria-sort');
        });
        head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
        var rows = Array.prototype.slice.call(table.tBodies[0].rows);
        rows.sort(function (a, b) {
          var x = valueOf(a, column);
          var y = valueOf(b, column);
          if (typeof x !== typeof y) return typeof x === 'number' ? -1 : 1;
          var order = x < y ? -1 : x > y ? 1 : 0;
          return down ? -order : order;
        });
        rows.forEach(function (row) { table.tBodies[0].appendChild(row); });
      }
      head.addEventListener('click', sort);
      head.addEventListener('keydown', function (event) {
        if (event.key === 'Enter') sort();
      });
    });
  });
}());
)js";

}  // namespace terrace::replay
