"""Report: what loading weights did, for pages and records, and how loading fails."""

from dataclasses import dataclass

import pandas as pd


class WeightsError(ValueError):
    """A weight file that is missing, of another architecture, or not readable in full."""


class CollapsedWarning(UserWarning):
    """The features of a loaded backbone hardly differ between images."""


@dataclass(frozen=True)
class Report:
    """What `load` did; pages show it.

    Attributes:
        source: "imagenet", or the file's name.
        sha256: of the file; None for a download that Keras checked itself.
        known_as: what the hash is known to be, or None.
        n_layers, n_tensors, n_parameters: all of the backbone's, all loaded.
        format: what the file is, told by its content.
        preprocess: what `native` means for this init; None where nothing says so.
        feature_spread: float ≥ 0, see `rin.weights.collapse`; None where it was not measured.
        collapsed: whether that is below the threshold; None where it was not measured.
        notes: sentences on what had to be done to the tensors.
    """

    source: str
    sha256: str | None
    known_as: str | None
    n_layers: int
    n_tensors: int
    n_parameters: int
    format: str
    preprocess: str | None = None
    feature_spread: float | None = None
    collapsed: bool | None = None
    notes: tuple = ()


def table(report):
    """A report for a page.

    Args:
        report: a `Report`.

    Returns:
        DataFrame of strings with the columns fact and value.
    """
    rows = {
        "weights": report.source,
        "format": report.format,
        "SHA-256": report.sha256 or "none: Keras checked its own download",
        "known as": report.known_as or "no public record of this file",
        "layers, tensors": f"{report.n_layers:,}, {report.n_tensors:,}: all loaded and verified",
        "parameters": f"{report.n_parameters:,}",
        "native preprocess": report.preprocess or "unknown: name one, or write a card",
        "features on test patterns": _said(report),
    }
    if report.sha256 is None:
        del rows["known as"]
    if report.notes:
        rows["notes"] = "; ".join(report.notes)
    return pd.DataFrame(rows.items(), columns=["fact", "value"])


def _said(report):
    if report.collapsed is None:
        return "not looked at"
    verdict = "nearly constant" if report.collapsed else "differ"
    return f"{verdict}: spread {report.feature_spread:.3g} of their mean"
