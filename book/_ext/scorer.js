// How the search ranks: a function by its exact name, then lessons, then all else.
var Scorer = {
  objNameMatch: 25,
  objPartialMatch: 3,
  objPrio: {},
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
  score: ([page, , , , score]) => score + (page.startsWith("lessons/") ? 4 : 0),
};
