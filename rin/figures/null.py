"""Figure of the null simulation: how often each test finds a difference where there is none."""

import matplotlib.pyplot as plt
import seaborn as sns

from rin.figures import PALETTE

MARKERS = "os^D"


def rejections(table, alpha=0.05):
    """Share of rejections of each method, a marker a setting, with its interval.

    Args:
        table: DataFrame `setting`, `method`, `share`, `low`, `high` (0 to 1), as
            `benchmarks/null_simulation.py` writes it. Nothing differs in it, so it is no phantom.
        alpha: the level that was asked for, marked.

    Returns:
        The Figure.
    """
    methods = list(dict.fromkeys(table["method"]))
    figure, ax = plt.subplots(figsize=(7.6, 1.2 + 0.42 * len(methods)), layout="constrained")
    settings = table.groupby("setting", sort=False)
    for number, (setting, part) in enumerate(settings):
        y = [methods.index(name) + 0.22 * (number - 1) for name in part["method"]]
        sides = part["share"] - part["low"], part["high"] - part["share"]
        look = {"color": PALETTE[number], "marker": MARKERS[number], "linestyle": ""}
        ax.errorbar(part["share"], y, xerr=sides, label=setting, capsize=2, **look)
    ax.axvline(alpha, color="0.4", linewidth=1, linestyle="--")
    ax.set_yticks(range(len(methods)), methods)
    ax.invert_yaxis()
    ax.set(xlim=(0, 1), xlabel=f"share of P < {alpha:g} although nothing differs")
    ax.legend(title="what else varies", frameon=False, loc="lower right")
    sns.despine(ax=ax)
    return figure
