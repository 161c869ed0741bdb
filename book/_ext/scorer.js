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
