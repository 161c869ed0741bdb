// Filter the atlas of papers by family and verdict. Without this script all is shown.
document.addEventListener("DOMContentLoaded", () => {
  const tables = [...document.querySelectorAll("table.atlas")];
  if (tables.length === 0) return;
  const families = tables.map(table => ({
    name: table.closest("section").querySelector("h2").firstChild.textContent.trim(),
    section: table.closest("section"),
    rows: [...table.tBodies[0].rows],
  }));
  const verdictOf = row => row.querySelector(".verdict").textContent;
  const rows = families.flatMap(family => family.rows);
  // The page explains the verdicts, from the best to the least.
  const verdicts = [...document.querySelectorAll("article dl dt")]
    .map(term => term.textContent.trim());
  const chosen = { Family: null, Verdict: null };
  const count = document.createElement("p");
  count.setAttribute("role", "status");

  const show = () => {
    let shown = 0;
    for (const { name, section, rows } of families) {
      for (const row of rows) {
        row.hidden = ![[chosen.Family, name], [chosen.Verdict, verdictOf(row)]]
          .every(([wanted, value]) => wanted === null || wanted === value);
      }
      const left = rows.filter(row => !row.hidden).length;
      section.hidden = left === 0;
      shown += left;
    }
    count.textContent = `${shown} of ${rows.length} papers`;
  };

  const choice = (label, values) => {
    const group = document.createElement("div");
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", label);
    group.append(`${label}: `);
    const buttons = [null, ...values].map(value => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = value ?? "all";
      button.setAttribute("aria-pressed", String(value === null));
      button.addEventListener("click", () => {
        chosen[label] = value;
        for (const other of buttons) {
          other.setAttribute("aria-pressed", String(other === button));
        }
        show();
      });
      return button;
    });
    group.append(...buttons);
    return group;
  };

  const filter = document.createElement("div");
  filter.className = "atlas-filter";
  filter.append(
    choice("Family", families.map(family => family.name)),
    choice("Verdict", verdicts),
    count,
  );
  families[0].section.before(filter);
  show();
});
