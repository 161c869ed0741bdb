"""Each figure of a lesson can be read on a phone."""

import base64
import io
import json
import re

import pytest
from PIL import Image

from minitransformer.course.environment import ROOT
from minitransformer.plot.style import SMALLEST
from tests.book import visiting

LESSONS = sorted(ROOT.glob("lessons/**/[0-9]*.ipynb"))
LEGIBLE = 7  # CSS pixels
MARGINS = 60  # CSS pixels beside a drawing; pictures go from edge to edge


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def outputs(path, kind):
    """Return the outputs of a lesson that are of a MIME type."""
    outputs = [out for cell in cells(path) for out in cell.get("outputs", [])]
    data = [out.get("data", {}) for out in outputs]
    return ["".join(each[kind]) for each in data if kind in each]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_smallest_text_of_a_figure_is_legible_on_a_phone(path):
    for picture in outputs(path, "image/png"):
        image = Image.open(io.BytesIO(base64.b64decode(picture)))
        points = image.width / image.info["dpi"][0] * 72
        assert SMALLEST / points * visiting.PHONE >= LEGIBLE
    for page in outputs(path, "text/html"):
        for width, size in re.findall(
            r'viewBox="0 0 (\d+) \d+" font-size="(\d+)"', page
        ):
            assert int(size) / int(width) * (visiting.PHONE - MARGINS) >= LEGIBLE


def test_lessons_have_figures():
    assert sum(len(outputs(path, "image/png")) for path in LESSONS) > 100


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_no_lesson_sets_a_smaller_text(path):
    code = "\n".join("".join(c["source"]) for c in cells(path) if "outputs" in c)
    sizes = re.findall(
        r"""(?:font|label|title)_?size["']?\s*[=:]\s*([^\s,)}]+)""", code
    )
    assert [size for size in sizes if not float(size) >= SMALLEST] == []
