"""Figures of arrays cut into tiles: which of them lie in fast memory, step by step."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from minitransformer.plot.style import (
    COLORS,
    FAINT,
    INK,
    SMALLEST,
    axes_or_new,
    name_axes,
)

Frame = Mapping[str, ArrayLike]
"""Name of an array -> the state ``[rows, columns]`` of its tiles: a key of STATES."""

STATES = {
    0: ("in slow memory", "#ffffff", FAINT),
    1: ("in fast memory", COLORS[1], COLORS[1]),
    2: ("made, used, dropped", "#c3d3f0", "#7b9bd8"),
}
"""State of a tile -> what it means, its color, and that of its edge."""

Places = Mapping[str, tuple[float, float]]
"""Name of an array -> where its left upper corner lies, in tiles: right, down."""


def _cells(frame: Frame, places: Places) -> Iterator[tuple[float, float, int]]:
    """Yield each tile of a frame: its left upper corner and its state."""
    for name, (left, top) in places.items():
        for (row, column), state in np.ndenumerate(_matrix(name, frame)):
            yield left + column, top + row, state


def _matrix(name: str, frame: Frame) -> np.ndarray:
    if name not in frame:
        raise ValueError(f"the frame has no {name}, places has")
    states = np.asarray(frame[name], dtype=int)
    if states.ndim != 2 or not set(states.flat) <= set(STATES):
        wanted = f"needs (rows, columns) of {list(STATES)}"
        raise ValueError(f"{name} has shape {states.shape}, {wanted}")
    return states


def _extent(frame: Frame, places: Places) -> tuple[float, float]:
    """Return how far the tiles reach to the right and down."""
    corners = [(x + 1, y + 1) for x, y, _ in _cells(frame, places)]
    return max(x for x, _ in corners), max(y for _, y in corners)


def tiles(
    frame: Frame, places: Places, *, title: str = "", ax: Axes | None = None
) -> None:
    """Draw arrays as grids of tiles, colored by where each tile lies.

    Args:
        frame: the state of each tile: 0 in slow memory, 1 in fast memory, 2 made there,
            used and dropped.
        places: where each array is drawn; its name stands above it.
        title: what the moment is.
        ax: axes to draw on; new ones by default.

    Raises:
        ValueError: an array of ``places`` is not in the frame, or is no matrix of
            states.
    """
    width, height = _extent(frame, places)
    ax = axes_or_new(ax, 6.4 * height / width)
    for x, y, state in _cells(frame, places):
        _, color, edge = STATES[state]
        box = Rectangle((x + 0.06, y + 0.06), 0.88, 0.88, facecolor=color)
        box.set_edgecolor(edge)
        ax.add_patch(box)
    for name, (x, y) in places.items():
        ax.text(x, y - 0.15, name, fontsize=SMALLEST, va="bottom")
    ax.set(xlim=(-0.1, width + 0.1), ylim=(height + 0.1, -0.7), aspect="equal")
    ax.set_axis_off()
    name_axes(ax, "", "", title)
    ax.title.set_fontsize(SMALLEST)


def tile_slider(
    frames: Sequence[Frame],
    captions: Sequence[str],
    places: Places,
    *,
    label: str,
    start: int = 0,
) -> str:
    """Write the frames as HTML with a slider, to be shown by ``IPython.display.HTML``.

    It asks nothing of the network and is the same on each run. Arrow keys move the
    slider; where no script runs, as in a notebook that is not trusted, one frame and
    its caption are seen.

    Args:
        frames: as in :func:`tiles`, all with the same arrays.
        captions: one a frame, in plain text.
        places: where each array is drawn.
        label: what is seen, for those who cannot see it.
        start: the frame that is shown first.

    Returns:
        A drawing, its legend, a slider and a caption, as HTML.

    Raises:
        ValueError: there are no frames or ``start`` is none of them, captions and
            frames differ in number, or frames in their tiles.
    """
    if not 0 <= start < len(frames):
        raise ValueError(f"start is {start}, needs one of {len(frames)} frames")
    if len(captions) != len(frames):
        raise ValueError(f"captions has {len(captions)}, frames has {len(frames)}")
    cells = [list(_cells(frame, places)) for frame in frames]
    for number, each in enumerate(cells):
        if len(each) != len(cells[0]):
            got, wanted = len(each), len(cells[0])
            raise ValueError(f"frame {number} has {got} tiles, frame 0 has {wanted}")
    states = ["".join(str(state) for _, _, state in each) for each in cells]
    data = {
        "states": states,
        "captions": list(captions),
        "looks": [[color, edge] for _, color, edge in STATES.values()],
    }
    script = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    name = f"tiles-{hashlib.sha256((script + label).encode()).hexdigest()[:12]}"
    return PAGE.format(
        name=name,
        label=escape(label, quote=True),
        drawing=_drawing(cells[start], places, *_extent(frames[start], places)),
        last=len(frames) - 1,
        start=start,
        caption=escape(captions[start]),
        script=SCRIPT.replace("NAME", name).replace("DATA", script),
    )


def _drawing(
    cells: list[tuple[float, float, int]], places: Places, width: float, height: float
) -> str:
    """Return what is inside the SVG; one tile is 30 units wide."""
    unit = 30
    parts = []
    for x, y, state in cells:
        _, color, edge = STATES[state]
        at = f'x="{unit * x + 12:g}" y="{unit * y + 22:g}" width="26" height="26"'
        parts.append(f'<rect class="t" {at} fill="{color}" stroke="{edge}"/>')
    for name, (x, y) in places.items():
        at = f'x="{unit * x + 12:g}" y="{unit * y + 17:g}"'
        parts.append(f"<text {at}>{escape(name)}</text>")
    for i, (meaning, color, edge) in enumerate(STATES.values()):
        x, y = 12 + 140 * i, unit * height + 34
        at = f'x="{x}" y="{y:g}" width="13" height="13"'
        parts.append(f'<rect {at} fill="{color}" stroke="{edge}"/>')
        parts.append(f'<text x="{x + 18}" y="{y + 11:g}">{meaning}</text>')
    size = max(unit * width + 24, 460), unit * height + 58
    ground = f'<rect width="{size[0]:g}" height="{size[1]:g}" fill="#fff"/>'
    return (
        f'viewBox="0 0 {size[0]:g} {size[1]:g}" font-size="13" fill="{INK}" '
        f'font-family="DejaVu Sans, sans-serif">{ground}{"".join(parts)}'
    )


PAGE = """<div id="{name}" style="max-width:34rem">
<svg role="img" aria-label="{label}" style="width:100%;height:auto" {drawing}</svg>
<div class="c" style="display:none"><button type="button">Play</button>
<label>step <input type="range" min="0" max="{last}" value="{start}" step="1"
style="width:60%;vertical-align:middle"></label></div>
<p aria-live="polite">{caption}</p>
<script>{script}</script>
</div>"""

SCRIPT = """(function () {
  var data = DATA, root = document.getElementById("NAME");
  if (!root) return;
  var tiles = root.querySelectorAll("rect.t"), input = root.querySelector("input");
  var button = root.querySelector("button"), text = root.querySelector("p"), clock;
  function show() {
    var now = data.states[+input.value];
    for (var i = 0; i < tiles.length; i++) {
      tiles[i].setAttribute("fill", data.looks[now[i]][0]);
      tiles[i].setAttribute("stroke", data.looks[now[i]][1]);
    }
    text.textContent = data.captions[+input.value];
    input.setAttribute("aria-valuetext", text.textContent);
  }
  function stop() { clearInterval(clock); clock = 0; button.textContent = "Play"; }
  function next() {
    if (+input.value >= +input.max) return stop();
    input.value = +input.value + 1;
    show();
  }
  button.onclick = function () {
    if (clock) return stop();
    if (+input.value >= +input.max) input.value = 0;
    button.textContent = "Stop";
    show();
    clock = setInterval(next, 700);
  };
  input.oninput = function () { stop(); show(); };
  root.querySelector(".c").style.display = "";
  show();
})();"""
