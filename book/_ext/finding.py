"""Search of the site: accents do not matter, and lessons come first."""

import unicodedata
from pathlib import Path

from sphinx import search

FOLD = """
const Porter = Stemmer;
Stemmer = function () {
  const porter = new Porter();
  this.stemWord = word =>
    porter.stemWord(word.normalize("NFD").replace(/\\p{M}/gu, ""));
};
"""


class English(search.SearchEnglish):
    """English, in which "Rényi" and "Renyi" are one word."""

    js_stemmer_code = search.SearchEnglish.js_stemmer_code + FOLD

    def split(self, input):
        """Cut a text without its accents into words."""
        letters = unicodedata.normalize("NFD", input)
        return super().split(
            "".join(c for c in letters if not unicodedata.combining(c))
        )


def setup(app):
    """Register with Sphinx."""
    search.languages["en"] = English
    app.config.html_search_scorer = str(Path(__file__).with_suffix(".js"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
