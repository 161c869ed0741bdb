"""What the README shows and promises is there."""

import base64
import re

import nbformat

from minitransformer.__main__ import JOBS
from minitransformer.course.environment import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_picture_is_a_figure_that_lesson_0_computed():
    lesson = nbformat.read(ROOT / "lessons" / "0_start_here.ipynb", as_version=4)
    figures = [
        base64.b64decode(output.data["image/png"])
        for cell in lesson.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    picture = ROOT / "book" / "_static" / "attention.png"
    assert picture.read_bytes() == figures[0], (
        "store the first figure of lesson 0 there"
    )


def test_every_link_leads_somewhere():
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert len(targets) >= 4
    for target in targets:
        assert (ROOT / target).exists(), target


def test_every_command_is_a_job():
    for job in re.findall(r"python3 -m minitransformer (\w+)", README):
        assert job in JOBS, job


def test_the_tree_names_what_is_there():
    (tree,) = re.findall(r"```\n(lessons/.*?)```", README, flags=re.DOTALL)
    for line in tree.splitlines():
        assert (ROOT / line.split()[0]).exists(), line
