"""Plots of an evaluation as PNG, drawn without a display.

matplotlib's own font lacks Hangul: Korean names are drawn with an installed font that has it, or
replaced by their English glosses.
"""

from __future__ import annotations

import functools
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from ke_t5.report.html import shortened
from ke_t5.report.tables import MAX_TYPES, UNPARSABLE, Confusion, TypeScores, width_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HANGUL_FONTS = (
    "Pretendard", "Noto Sans KR", "Noto Sans CJK KR", "NanumGothic", "NanumBarunGothic",
    "Malgun Gothic", "Apple SD Gothic Neo", "AppleGothic", "UnDotum", "Baekmuk Dotum",
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans K", "Gulim", "Dotum", "Batang",
)  # fmt: skip
FALLBACK_FONT = "DejaVu Sans"  # comes with matplotlib
DPI = 144
MAX_LABELS_WITH_COUNTS = 40  # with more labels the counts would not be readable
INK, GRID, BLUE, ORANGE, GREEN = "#1f2733", "#d9dee5", "#2f6db3", "#d9822b", "#3a9a6d"
COLOURS = (BLUE, ORANGE, GREEN, "#8a5bb5", "#c0392b", "#667080")
MAX_POINTS_WITH_DOTS = 30
MAX_NAME = 60  # characters of a label or an answer beside a bar
SETTINGS = {
    "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.edgecolor": GRID,
    "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.unicode_minus": False, "text.parse_math": False,  # names may have dollar signs
}  # fmt: skip


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


@functools.cache
def hangul_font() -> str | None:
    """The name of an installed font with Hangul, or None."""
    from matplotlib.font_manager import fontManager
    from matplotlib.ft2font import FT2Font

    # When it builds its font list for the first time, it warns that this takes a moment.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    files = {entry.name: entry.fname for entry in reversed(fontManager.ttflist)}
    for name in HANGUL_FONTS:
        if name not in files:
            continue
        try:
            if FT2Font(files[name]).get_char_index(ord("가")):
                return name
        except (OSError, RuntimeError):  # removed since the list was built, or not a font
            continue
    return None


def drawable(names: Sequence[str], glosses: Sequence[str]) -> list[str]:
    """The names in drawable form, shortened to `MAX_NAME`: without a Hangul font, Korean names
    become their glosses or numbers."""
    names, glosses = ([shortened(x, limit=MAX_NAME) for x in side] for side in (names, glosses))
    if hangul_font() is not None:
        return names
    pairs = zip(names, glosses, strict=True)
    return [
        name if _is_drawn(name) else gloss if _is_drawn(gloss) else str(i)
        for i, (name, gloss) in enumerate(pairs)
    ]


def _is_drawn(text: str) -> bool:
    """Whether matplotlib's own font has the characters (Latin, Greek, Cyrillic)."""
    return all(ord(character) < 0x530 for character in text)


def _as_png(draw: Callable[..., Figure]) -> Callable[..., bytes]:
    """Makes `draw` return its figure as PNG; fonts and colours are set only while it runs."""

    @functools.wraps(draw)
    def render(*things: Any, **options: Any) -> bytes:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        fonts = [font for font in (hangul_font(), FALLBACK_FONT) if font]
        settings: dict[Any, Any] = {**SETTINGS, "font.family": fonts}
        stream = io.BytesIO()
        with matplotlib.rc_context(settings):
            figure = draw(*things, **options)
            FigureCanvasAgg(figure)
            # Without the library's version, equal figures give equal files.
            figure.savefig(stream, format="png", metadata={"Software": None})
        return stream.getvalue()

    return render


def _axes(width: float, height: float, *, title: str) -> tuple[Figure, Axes]:
    """A figure of the given size (inches), and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title if hangul_font() or _is_drawn(title) else "", loc="left")
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


@_as_png
def confusion_png(confusion: Confusion, *, title: str) -> Figure:
    """The confusion matrix, coloured by shares of the gold label and annotated with counts."""
    names = drawable(confusion.names, confusion.glosses)
    columns = [*names, UNPARSABLE][: len(confusion.columns)]
    counts = confusion.counts[:, : len(columns)]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(3.2, 0.62 * len(names)) if len(names) <= 12 else 0.42 * len(names)
    side = min(side, 30.0)
    longest = 0.085 * max(map(width_of, columns))
    figure, axes = _axes(
        side * len(columns) / len(names) + longest + 1.2, side + longest + 0.9, title=title
    )
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("gold")
    axes.spines[:].set_visible(False)
    if len(names) <= MAX_LABELS_WITH_COUNTS:
        for row, column in np.argwhere(counts):
            colour = "white" if shares[row, column] > 0.55 else INK
            axes.text(
                column, row, str(counts[row, column]), ha="center", va="center", color=colour,
                fontsize=9 if len(names) <= 12 else 7,
            )  # fmt: skip
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.03)
    bar.set_label("share of the gold label")
    bar.outline.set_visible(False)
    return figure


@_as_png
def types_png(types: Sequence[TypeScores], *, title: str) -> Figure:
    """Bars of precision, recall and F1 of the first types."""
    shown = types[:MAX_TYPES]
    glosses = [str(kind.name) for kind in shown]
    names = [
        f"{name}  ({kind.support})"
        for name, kind in zip(drawable(glosses, glosses), shown, strict=True)
    ]
    figure, axes = _axes(7.2, 0.52 * len(shown) + 1.3, title=title)
    places = np.arange(len(shown))
    bars = (("precision", BLUE, -0.26), ("recall", ORANGE, 0.0), ("f1", GREEN, 0.26))
    for field, colour, shift in bars:
        values = [getattr(kind, field) for kind in shown]
        label = "F1" if field == "f1" else field
        axes.barh(places + shift, values, height=0.25, color=colour, label=label)
        for place, value in zip(places + shift, values, strict=True):
            axes.text(value + 0.8, place, f"{value:.0f}", va="center", fontsize=7, color=INK)
    axes.set_yticks(places, names)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 106)
    axes.set_xticks(range(0, 101, 20))
    axes.xaxis.grid(visible=True, color=GRID)
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


@_as_png
def numbers_png(gold: Sequence[float], predicted: Sequence[float], *, title: str) -> Figure:
    """A scatter plot of predicted against gold numbers, with the diagonal."""
    figure, axes = _axes(5.6, 5.2, title=title)
    both = [*gold, *predicted]
    low, high = min(both), max(both)
    margin = 0.04 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color=ORANGE, linewidth=1, zorder=1)
    axes.scatter(gold, predicted, s=12, color=BLUE, alpha=0.35, linewidths=0, zorder=2)
    axes.set(xlim=limits, ylim=limits, xlabel="gold", ylabel="predicted")
    axes.set_aspect("equal")
    axes.grid(visible=True, color=GRID)
    return figure


@_as_png
def intervals_png(
    names: Sequence[str],
    values: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    *,
    title: str,
    zero: bool = False,
) -> Figure:
    """Values with their intervals, one per line; `zero` adds a vertical line at 0."""
    figure, axes = _axes(7.2, 0.4 * len(names) + 1.0, title=title)
    places = np.arange(len(names))
    axes.hlines(places, lows, highs, color=BLUE, linewidth=4, alpha=0.4)
    axes.scatter(values, places, color=BLUE, s=30, zorder=2)
    if zero:
        axes.axvline(0.0, color=ORANGE, linewidth=1)
    axes.set_yticks(places, drawable(names, names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.xaxis.grid(visible=True, color=GRID)
    axes.spines["left"].set_visible(False)
    return figure


@dataclass(frozen=True)
class Panel:
    """Curves over the steps in one pair of axes.

    Attributes:
        curves: name -> (steps, values), at most as many as `COLOURS`.
        mark: (step, name) of a vertical line.
    """

    title: str
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]]
    mark: tuple[int, str] | None = None


@_as_png
def curves_png(panels: Sequence[Panel]) -> Figure:
    """The panels, two per row."""
    from matplotlib.figure import Figure

    num_rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(10, 3.1 * num_rows), dpi=DPI)
    # matplotlib's automatic layouts would take twice the time.
    margin = 0.32 / (3.1 * num_rows)
    figure.subplots_adjust(0.07, 1.7 * margin, 0.99, 1 - margin, wspace=0.18, hspace=0.36)
    for i, panel in enumerate(panels):
        _draw_panel(figure.add_subplot(num_rows, 2, i + 1), panel)
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    names = list(panel.curves)
    shown = drawable(names, [f"score {i + 1}" for i in range(len(names))])
    for name, label, colour in zip(names, shown, COLOURS, strict=False):
        steps, values = panel.curves[name]
        marker = "o" if len(steps) <= MAX_POINTS_WITH_DOTS else None
        axes.plot(
            steps, values, color=colour, linewidth=1.2, marker=marker, markersize=3, label=label
        )
    if panel.mark is not None:
        step, name = panel.mark
        axes.axvline(step, color=INK, linewidth=0.8, linestyle=":", label=name)
    axes.set_title(panel.title, loc="left")
    axes.set_xlabel("step")
    axes.tick_params(length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0.02)
    axes.ticklabel_format(axis="y", scilimits=(-3, 4), useOffset=False)
    if len(names) > 1 or panel.mark is not None:
        axes.legend(frameon=False, fontsize=8)


@_as_png
def lengths_png(
    histograms: Sequence[tuple[str, Sequence[int], Sequence[float]]],
    *,
    limit: int | None,
    title: str,
) -> Figure:
    """Histograms of lengths in tokens, as shares of the rows.

    Args:
        histograms: (split, counts, edges) of each split.
        limit: the length at which inputs are cut; drawn if it is near the longest.
    """
    figure, axes = _axes(7.2, 3.2, title=title)
    longest = max(edges[-1] for _, _, edges in histograms)
    for colour, (name, counts, edges) in zip((BLUE, ORANGE, GREEN) * 9, histograms, strict=False):
        shares = np.asarray(counts) / max(1, sum(counts)) * 100
        axes.stairs(shares, edges, color=colour, fill=True, alpha=0.25)
        axes.stairs(shares, edges, color=colour, label=name)
    if limit is not None and limit <= 1.2 * longest:
        axes.axvline(limit, color=INK, linewidth=1, linestyle="--", label=f"cut at {limit}")
    axes.set_xlabel("tokens")
    axes.set_ylabel("% of the rows")
    axes.yaxis.grid(visible=True, color=GRID)
    axes.legend(frameon=False)
    return figure


@_as_png
def shares_png(
    names: Sequence[str], shares: Sequence[tuple[str, Sequence[float]]], *, title: str
) -> Figure:
    """Bars of the share (percent) of each name in each split.

    Args:
        shares: (split, shares in the order of `names`) of each split.
    """
    figure, axes = _axes(7.2, 0.34 * len(names) + 1.3, title=title)
    places = np.arange(len(names))
    height = 0.8 / len(shares)
    for i, (split, values) in enumerate(shares):
        colour = (BLUE, ORANGE, GREEN)[i % 3]
        axes.barh(places + (i + 0.5) * height - 0.4, values, height, color=colour, label=split)
    axes.set_yticks(places, drawable(names, names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("%")
    axes.xaxis.grid(visible=True, color=GRID)
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside lower center", ncols=len(shares), frameon=False)
    return figure
