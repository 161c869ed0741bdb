import re

import pytest
from matplotlib.colors import to_hex

from minitransformer import plot
from minitransformer.plot.tiles import STATES

PLACES = {"K": (1.5, 0), "S": (1.5, 1.5)}
FIRST = {"K": [[1, 0]], "S": [[1, 0], [0, 0]]}
SECOND = {"K": [[0, 1]], "S": [[2, 1], [0, 0]]}
SMALL = {"K": [[1]], "S": [[1]]}
CAPTIONS = ["the first <tile>", "the second & last"]


def slider(**changes):
    options = {"label": 'tiles in "fast" memory', "start": 0, **changes}
    return plot.tile_slider([FIRST, SECOND], CAPTIONS, PLACES, **options)


def test_each_tile_has_the_color_of_its_state(ax):
    plot.tiles(SECOND, PLACES, title="step 2", ax=ax)
    colors = [to_hex(box.get_facecolor()) for box in ax.patches]
    assert colors == [STATES[state][1] for state in (0, 1, 2, 1, 0, 0)]
    assert [text.get_text() for text in ax.texts] == ["K", "S"]
    assert ax.get_title(loc="left") == "step 2"


def test_arrays_stand_where_they_are_placed(ax):
    plot.tiles(FIRST, PLACES, ax=ax)
    corners = [
        (round(b.get_x() - 0.06, 6), round(b.get_y() - 0.06, 6)) for b in ax.patches
    ]
    keys, scores = (
        [(1.5, 0), (2.5, 0)],
        [(x, y) for y in (1.5, 2.5) for x in (1.5, 2.5)],
    )
    assert corners == keys + scores
    assert ax.yaxis_inverted()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"K": [[1]]}, "the frame has no S, places has"),
        ({"K": [1], "S": [[1]]}, r"K has shape \(1,\), needs \(rows, columns\)"),
        ({"K": [[7]], "S": [[1]]}, r"K has shape \(1, 1\), needs .* of \[0, 1, 2\]"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused(ax, frame, message):
    with pytest.raises(ValueError, match=message):
        plot.tiles(frame, PLACES, ax=ax)


@pytest.mark.parametrize(
    ("frames", "captions", "start", "message"),
    [
        ([], [], 0, "start is 0, needs one of 0 frames"),
        ([FIRST], ["a"], 1, "start is 1, needs one of 1 frames"),
        ([FIRST], ["a", "b"], 0, "captions has 2, frames has 1"),
        (
            [FIRST, {"K": [[1]], "S": [[1]]}],
            ["", ""],
            0,
            "frame 1 has 2 tiles, frame 0 has 6",
        ),
    ],
)
def test_frames_that_do_not_fit_are_refused(frames, captions, start, message):
    with pytest.raises(ValueError, match=message):
        plot.tile_slider(frames, captions, PLACES, label="x", start=start)


def test_it_is_the_same_on_each_run_and_names_differ_between_sliders():
    assert slider() == slider()
    names = [re.search('id="([^"]+)"', slider(label=x))[1] for x in ("a", "b")]
    assert len(set(names)) == 2


def test_it_is_small_and_asks_nothing_of_the_network():
    page = slider()
    assert len(page) < 60_000
    assert not re.search(r"https?:|src=|href=|import\b|fetch", page)


def test_without_script_one_frame_is_seen_and_no_dead_control():
    page = slider(start=1).split("<script>")[0]
    colors = re.findall('<rect class="t"[^>]* fill="(#[^"]+)"', page)
    assert colors == [STATES[state][1] for state in (0, 1, 2, 1, 0, 0)]
    assert '<p aria-live="polite">the second &amp; last</p>' in page
    assert '<div class="c" style="display:none">' in page
    assert 'aria-label="tiles in &quot;fast&quot; memory"' in page
    for meaning, _, _ in STATES.values():
        assert f">{meaning}</text>" in page


def test_no_caption_ends_the_script():
    page = plot.tile_slider([FIRST], ["</script><b>"], PLACES, label="x")
    assert page.count("</script>") == 1


def test_keys_and_the_button_move_it(browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(f'<html lang="en"><body>{slider()}</body></html>', encoding="utf-8")
    tab = browser.new_page()
    tab.goto(path.as_uri())
    caption, tile = tab.locator("p"), tab.locator("rect.t").nth(2)
    assert caption.text_content() == CAPTIONS[0]
    assert tile.get_attribute("fill") == STATES[1][1]
    tab.locator("input").focus()
    tab.keyboard.press("ArrowRight")
    assert caption.text_content() == CAPTIONS[1]
    assert tile.get_attribute("fill") == STATES[2][1]
    tab.keyboard.press("ArrowLeft")
    assert caption.text_content() == CAPTIONS[0]
    tab.locator("button").click()
    assert tab.locator("button").text_content() == "Stop"
    tab.wait_for_function(f"document.querySelector('p').textContent == {CAPTIONS[1]!r}")
    tab.wait_for_function("document.querySelector('button').textContent == 'Play'")
