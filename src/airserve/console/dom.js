// Elements of the page. Text is only ever set as text, so that no name of a model can become markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** An HTML element: element("td", {scope: "row"}, "text", child, null). */
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function shape(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/**
 * A table. `columns` are [heading, cell] pairs, cell(row) giving text or an element; the first cell heads its row.
 * On a narrow screen each row becomes a card whose cells repeat their headings; the roles keep it a table for readers.
 */
export function table(caption, columns, rows, rowAttributes = () => ({})) {
  const head = columns.map(([heading]) => element("th", { scope: "col", role: "columnheader" }, heading));
  const body = rows.map((row) =>
    element(
      "tr",
      { role: "row", ...rowAttributes(row) },
      ...columns.map(([heading, cell], at) =>
        at === 0
          ? element("th", { scope: "row", role: "rowheader", "data-label": heading }, cell(row))
          : element("td", { role: "cell", "data-label": heading }, cell(row)),
      ),
    ),
  );
  return element(
    "table",
    { role: "table" },
    element("caption", {}, caption),
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...head)),
    element("tbody", { role: "rowgroup" }, ...body),
  );
}

/** A short word in a box: `kind` is "good", "bad", "warn" or "plain". The word says it, the colour only helps. */
export function badge(kind, text) {
  return element("span", { class: `badge ${kind}` }, text);
}
