"""Draws the pictures of docs/methods.md: what each method connects with what.

    python benchmarks/draw_methods.py

Writes `docs/images/methods/NAME.png`. Every picture shows the taxonomy strings {violin, cello},
brass {horn}: fine classes in the middle, coarse ones on the right.
"""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images" / "methods"
INK, SOFT, BLUE, ORANGE, GREEN = "#222222", "#8a8a8a", "#2f6db3", "#d9822b", "#3b8f5a"
FINE = {"violin": (5.2, 2.6), "cello": (5.2, 1.6), "horn": (5.2, 0.6)}
COARSE = {"strings": (8.2, 2.1), "brass": (8.2, 0.6)}
LINKS = [("violin", "strings"), ("cello", "strings"), ("horn", "brass")]


class Picture:
    """A small drawing in units of about a centimetre."""

    def __init__(self, height=3.2, width=10.0):
        self.figure = Figure(figsize=(0.62 * width, 0.62 * height), dpi=100)
        self.axes = self.figure.add_axes([0, 0, 1, 1])
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.axis("off")

    def box(self, x, y, text, color=INK, width=1.7, height=0.7):
        """Draws a box with a text."""
        corner = (x - width / 2, y - height / 2)
        style = "round,pad=0.02,rounding_size=0.12"
        self.axes.add_patch(
            FancyBboxPatch(corner, width, height, boxstyle=style, fc="white", ec=color, lw=1.3)
        )
        self.axes.text(x, y, text, ha="center", va="center", fontsize=9, color=color)

    def classes(self, names, color=INK, shift=(0.0, 0.0), label=True):
        """Draws a circle for each class, with its name."""
        for name, (x, y) in names.items():
            centre = (x + shift[0], y + shift[1])
            self.axes.add_patch(Circle(centre, 0.2, fc="white", ec=color, lw=1.3, zorder=3))
            if label:
                side = 0.32 if names is COARSE else 0
                above = 0.0 if side else -0.36 if name == "horn" else 0.36
                at = (centre[0] + side, centre[1] + above)
                alignment = {"ha": "left" if side else "center", "va": "center"}
                self.axes.text(*at, name, fontsize=9, color=INK, **alignment)

    def arrow(self, start, end, color=INK, bend=0.0, dashed=False, gap=7, start_gap=None):
        """Draws an arrow between two points."""
        self.axes.add_patch(
            FancyArrowPatch(
                start,
                end,
                arrowstyle="-|>",
                mutation_scale=9,
                lw=1.2,
                color=color,
                linestyle="--" if dashed else "-",
                connectionstyle=f"arc3,rad={bend}",
                shrinkA=gap if start_gap is None else start_gap,
                shrinkB=gap,
                zorder=2,
            )
        )

    def fan(self, start, names, color=INK):
        """Arrows from a box to classes."""
        for end in names.values():
            self.arrow(start, end, color)

    def fan_to_coarse(self, start, color):
        """Arrows from a box to the coarse classes, through a gap between the fine ones."""
        gap = (5.2, 1.1)
        self.axes.plot(*zip(start, gap, strict=True), color=color, lw=1.2, zorder=1)
        for end in COARSE.values():
            self.arrow(gap, end, color, gap=0.5)

    def note(self, x, y, text, color=SOFT):
        """Writes a remark."""
        self.axes.text(x, y, text, ha="center", va="center", fontsize=9, color=color)

    def save(self, name):
        """Writes the picture."""
        self.figure.savefig(FOLDER / f"{name}.png", facecolor="white")


def clip(picture, y=1.6):
    picture.box(0.8, y, "clip", width=1.0)


def shared(picture, y=1.6):
    clip(picture, y)
    picture.box(2.8, y, "backbone")
    picture.arrow((1.3, y), (1.95, y), gap=1)


def independent():
    p = Picture()
    clip(p)
    for y, names, color in ((2.3, FINE, BLUE), (0.9, COARSE, ORANGE)):
        p.box(2.8, y, "backbone", color)
        p.arrow((1.3, 1.6), (1.95, y), gap=1)
        if names is COARSE:
            p.fan_to_coarse((3.67, y), color)
        else:
            p.fan((3.65, y), names, color)
    p.classes(FINE, BLUE)
    p.classes(COARSE, ORANGE)
    p.save("independent")


def multitask():
    p = Picture()
    shared(p)
    p.fan((3.65, 1.6), FINE, BLUE)
    p.fan_to_coarse((3.67, 1.6), ORANGE)
    p.classes(FINE, BLUE)
    p.classes(COARSE, ORANGE)
    p.save("multitask")


def gmp():
    p = Picture()
    shared(p)
    p.fan((3.65, 1.6), FINE, BLUE)
    for child, parent in LINKS:
        p.arrow(FINE[child], COARSE[parent], GREEN)
    p.note(6.8, 2.72, "max", GREEN)
    p.classes(FINE, BLUE)
    p.classes(COARSE, GREEN)
    p.save("gmp")


def f2ca():
    p = Picture(height=4.0)
    shared(p)
    p.fan((3.65, 1.6), FINE, BLUE)
    for child in FINE:
        for parent in COARSE:
            p.arrow(FINE[child], COARSE[parent], GREEN, dashed=(child, parent) not in LINKS)
    p.box(5.2, 3.55, "attention", ORANGE)
    p.arrow((2.8, 1.95), (4.35, 3.55), ORANGE, gap=1, bend=-0.2)
    p.arrow((6.05, 3.55), (6.9, 2.5), ORANGE, gap=1, bend=-0.2)
    p.note(7.9, 3.3, "weights, learned", ORANGE)
    p.classes(FINE, BLUE)
    p.classes(COARSE, GREEN)
    p.save("f2ca")


def c_hmcnn():
    p = Picture()
    shared(p)
    p.fan((3.65, 1.6), FINE, BLUE)
    p.fan_to_coarse((3.67, 1.6), BLUE)
    for child, parent in LINKS:
        p.arrow(FINE[child], COARSE[parent], GREEN)
    p.note(6.9, 2.85, "max with own score", GREEN)
    p.classes(FINE, BLUE)
    p.classes(COARSE, GREEN)
    p.save("c_hmcnn")


def top_down():
    p = Picture()
    shared(p)
    p.fan((3.65, 1.6), FINE, BLUE)
    p.fan_to_coarse((3.67, 1.6), BLUE)
    for child, parent in LINKS:
        p.arrow(COARSE[parent], FINE[child], GREEN)
    p.note(6.9, 2.85, "times the parent", GREEN)
    p.classes(FINE, BLUE)
    p.classes(COARSE, BLUE)
    p.save("top_down")


def hmcn_f():
    p = Picture(height=4.6, width=10.0)
    clip(p, 3.6)
    p.box(2.8, 3.6, "backbone")
    p.arrow((1.3, 3.6), (1.95, 3.6), gap=1)
    p.box(5.2, 3.6, "coarse")
    p.box(7.6, 3.6, "fine")
    p.arrow((3.65, 3.6), (4.35, 3.6), gap=1)
    p.arrow((6.05, 3.6), (6.75, 3.6), gap=1)
    p.arrow((2.8, 3.95), (7.6, 3.95), gap=1, bend=-0.22)
    p.note(2.2, 4.3, "features again", SOFT)
    p.box(5.2, 2.1, "local coarse", ORANGE, width=1.9)
    p.box(7.6, 2.1, "local fine", ORANGE, width=1.9)
    p.arrow((5.2, 3.25), (5.2, 2.45), ORANGE, gap=1)
    p.arrow((7.6, 3.25), (7.6, 2.45), ORANGE, gap=1)
    p.box(9.3, 3.6, "all", BLUE, width=0.8)
    p.arrow((8.45, 3.6), (8.9, 3.6), BLUE, gap=1)
    p.box(6.4, 0.6, "beta local + (1 - beta) global", GREEN, width=5.0)
    p.arrow((5.2, 1.75), (5.6, 0.95), ORANGE, gap=1)
    p.arrow((7.6, 1.75), (7.2, 0.95), ORANGE, gap=1)
    p.arrow((9.3, 3.25), (8.6, 0.95), BLUE, gap=1)
    p.note(1.7, 2.9, "global flow", SOFT)
    p.save("hmcn_f")


def chorus():
    p = Picture(height=4.0)
    clip(p, 2.0)
    for i, y in enumerate((3.3, 2.0, 0.7)):
        color = (BLUE, ORANGE, GREEN)[i]
        p.box(3.0, y, f"voice {i + 1}", color)
        p.arrow((1.3, 2.0), (2.15, y), gap=1)
        p.box(5.4, y, "max constraint", color, width=2.3)
        p.arrow((3.85, y), (4.25, y), color, gap=1)
        p.arrow((6.55, y), (7.5, 2.0), color, gap=1)
    p.box(8.2, 2.0, "mean", width=1.3)
    p.save("chorus")


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for draw in (independent, multitask, gmp, f2ca, c_hmcnn, hmcn_f, top_down, chorus):
        draw()


if __name__ == "__main__":
    main()
