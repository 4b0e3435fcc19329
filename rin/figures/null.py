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


def correlated(table, methods, alpha=0.05):
    """Share of rejections against the correlation of training noise, a panel a method.

    Args:
        table: DataFrame `training_sd`, `correlation`, `method`, `share`, `low`, `high`: rows
            of `benchmarks/null_simulation.py` that differ in the first two alone.
        methods: those to draw.
        alpha: the level that was asked for, marked.

    Returns:
        The Figure.
    """
    figure, axes = plt.subplots(
        1, len(methods), figsize=(3.8 * len(methods), 3.2), sharey=True, squeeze=False
    )
    figure.set_layout_engine("constrained")
    for ax, method in zip(axes[0], methods, strict=True):
        mine = table[table["method"] == method].sort_values("correlation")
        for number, (sd, part) in enumerate(mine.groupby("training_sd")):
            sides = part["share"] - part["low"], part["high"] - part["share"]
            look = {"color": PALETTE[number], "marker": MARKERS[number], "capsize": 2}
            ax.errorbar(part["correlation"], part["share"], yerr=sides, label=f"{sd:g}", **look)
        ax.axhline(alpha, color="0.4", linewidth=1, linestyle="--")
        ax.set(title=method, xlabel="correlation between folds")
    axes[0, 0].set(ylim=(0, None), ylabel=f"share of P < {alpha:g}\nalthough nothing differs")
    axes[0, 0].legend(title="SD of training noise", frameon=False, loc="upper left")
    sns.despine(figure)
    return figure
