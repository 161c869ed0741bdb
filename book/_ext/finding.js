// How the search ranks: lessons that have the word in a heading, functions of that name,
// lessons that have it in their text, then all else.
var Scorer = {
  objNameMatch: 12,
  objPartialMatch: 3,
  objPrio: {},
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
  score: ([page, , , , score]) => score + (page.startsWith("lessons/") ? 4 : 0),
};

// An excerpt is of the article, about the first word that begins like the one looked for:
// what is looked for comes without accents and without its ending.
const plain = text =>
  text.toLowerCase().replace(/[^\x00-\x7f]/g, letter => letter.normalize("NFD")[0]);

Search.htmlToText = (html, anchor) => {
  const page = new DOMParser().parseFromString(html, "text/html");
  page.querySelectorAll(".headerlink, script, style").forEach(part => part.remove());
  const place = page.getElementById((anchor ?? "").slice(1));
  return (place ?? page.querySelector("article")).textContent.replace(/\s+/g, " ").trim();
};

Search.makeSearchSummary = (html, stems, anchor) => {
  const text = Search.htmlToText(html, anchor);
  const places = [...stems].map(stem => {
    let place = -1;
    for (let end = stem.length; place < 0 && end > 2; end--) {
      place = plain(text).indexOf(stem.slice(0, end));
    }
    return place;
  });
  const first = Math.min(...places.filter(place => place >= 0), text.length);
  const start = first < text.length ? Math.max(first - 120, 0) : 0;
  const excerpt = document.createElement("p");
  excerpt.className = "context";
  excerpt.textContent = `${start ? "…" : ""}${text.slice(start, start + 240)}…`;
  return excerpt;
};
