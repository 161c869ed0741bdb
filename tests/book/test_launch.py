"""Launch buttons come with the repository's address; Binder installs the course."""

import importlib.util
import re
import tomllib
from types import SimpleNamespace

import pytest

from minitransformer.course import doctor
from minitransformer.course.environment import OLDEST, ROOT

CONFIG = ROOT / "book" / "_config.yml"
PAGE = "lessons/0_start_here"


def theme_options(path):
    """Return what Sphinx hands to the theme, after our extension has seen it."""
    config = pytest.importorskip("jupyter_book.config")
    command_line = {"latex_individualpages": False}
    final, _ = config.get_final_config(
        user_yaml=path, cli_config=command_line, sourcedir=ROOT
    )
    about = importlib.util.spec_from_file_location(
        "launch", ROOT / "book" / "_ext" / "launch.py"
    )
    launch = importlib.util.module_from_spec(about)
    about.loader.exec_module(launch)
    options = dict(final["html_theme_options"])
    handlers = {}
    launch.setup(SimpleNamespace(connect=handlers.__setitem__))
    handlers["config-inited"](None, SimpleNamespace(html_theme_options=options))
    return options


def buttons(options):
    """Return the launch buttons of the page of lesson 0: text -> address."""
    theme = pytest.importorskip("sphinx_book_theme.header_buttons.launch")
    context = {"pagename": PAGE, "sourcename": f"{PAGE}.ipynb", "header_buttons": []}
    if options.get("repository_url"):
        host, user, repository = options["repository_url"].rsplit("/", 2)
        context |= {"github_url": host, "github_user": user, "github_repo": repository}
    app = SimpleNamespace(
        env=SimpleNamespace(
            doc2path=lambda page: ROOT / f"{page}.ipynb",
            metadata={PAGE: {"kernelspec": {}}},
        ),
        config={"html_theme_options": options},
    )
    theme.add_launch_buttons(app, PAGE, "page.html", context, None)
    groups = [group["buttons"] for group in context["header_buttons"]]
    return {button["text"]: button["url"] for group in groups for button in group}


def configured(tmp_path, **values):
    """Return a copy of the book's configuration with some values filled in."""
    text = CONFIG.read_text(encoding="utf-8")
    for name, value in values.items():
        text, count = re.subn(rf'(?m)^  {name}: ""', f'  {name}: "{value}"', text)
        assert count == 1, name
    path = tmp_path / "_config.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_an_address_no_page_has_launch_buttons(tmp_path):
    text = re.sub(r'(?m)^  url: ".*"', '  url: ""', CONFIG.read_text(encoding="utf-8"))
    path = tmp_path / "_config.yml"
    path.write_text(text, encoding="utf-8")
    assert buttons(theme_options(path)) == {}


def test_with_an_address_lessons_open_in_binder_and_colab(tmp_path):
    path = configured(tmp_path, url="https://github.com/someone/course")
    shown = buttons(theme_options(path))
    binder, colab = "https://mybinder.org/v2/gh", "https://colab.research.google.com"
    assert shown == {
        "Binder": f"{binder}/someone/course/main?urlpath=lab/tree/{PAGE}.ipynb",
        "Colab": f"{colab}/github/someone/course/blob/main/{PAGE}.ipynb",
    }


def test_a_hub_has_a_button_too(tmp_path):
    path = configured(
        tmp_path,
        url="https://github.com/someone/course",
        jupyterhub_url="https://hub.example.org",
    )
    address = buttons(theme_options(path))["JupyterHub"]
    assert address.startswith("https://hub.example.org/hub/user-redirect/git-pull?")
    assert f"urlpath=lab/tree/course/{PAGE}.ipynb" in address


def test_binder_installs_the_course_with_the_pinned_torch_for_the_processor():
    text = (ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert f"torch=={doctor.pins()['torch']}+cpu" in lines
    (pins,) = (line.split()[1] for line in lines if line.startswith("-c "))
    assert (ROOT / "binder" / pins).resolve() == ROOT / "constraints.txt"
    (extras,) = re.findall(r"^-e \.\[(.*)\]$", text, flags=re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    offered = project["project"]["optional-dependencies"]
    assert {"course", "kernels"} <= set(extras.split(",")) <= offered.keys()


def test_binder_takes_a_python_that_the_course_takes():
    runtime = (ROOT / "binder" / "runtime.txt").read_text(encoding="utf-8").strip()
    (version,) = re.findall(r"^python-(\d+)\.(\d+)$", runtime)
    assert tuple(map(int, version)) >= OLDEST
