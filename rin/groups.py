"""Groups: duplicates, and patients that share one, kept together; chains refused or reported."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from rin.duplicates import within

ON_CHAIN = ("stop", "report")


def group(manifest, pairs, on_chain="stop"):
    """Put duplicates, and patients that share one, into one `group`.

    Args:
        manifest: a validated manifest.
        pairs: what `duplicates` returned for it.
        on_chain: "stop", or "report": the near duplicates of a chain then join nothing, its exact
            ones still do, and `attrs["chains"]` is what `chains` found.

    Returns:
        A copy of the manifest with `group` filled: running numbers `g0001`, … in row order.

    Raises:
        ValueError: with "stop", a chain of duplicates joins more than max(20, 2 %) of the images:
            the threshold does not fit these images.
    """
    if on_chain not in ON_CHAIN:
        raise ValueError(f"`on_chain` should be stop or report. Received: on_chain={on_chain!r}")
    if on_chain == "stop":
        _refuse_chain(manifest, _joined(manifest, pairs))
    links = _links(manifest, unchained(manifest, pairs))
    patient = pd.factorize(manifest["patient"])[0]
    known = np.flatnonzero(patient >= 0)
    first_of = pd.Series(known).groupby(patient[known]).transform("first").to_numpy()
    everything = (np.r_[links[0], known], np.r_[links[1], first_of])
    number = _components(len(manifest), *everything)
    order = pd.factorize(number)[0]  # numbered by first appearance
    grouped = manifest.assign(group=pd.array([f"g{n + 1:04d}" for n in order], dtype="string"))
    if on_chain == "report":
        grouped.attrs["chains"] = chains(manifest, pairs).to_dict("records")
    return grouped


def chains(manifest, pairs):
    """Groups of duplicates too large to be believed: more than max(20, 2 %) of the images.

    Near duplicates join in chains, a like b and b like c: where all images of a dataset look
    alike, most of them end up in one group.

    Returns:
        DataFrame `n_images`, `share` (of all images), `labels`, `n_exact` and `n_near` (pairs),
        one row a chain, the longest first; empty where the rule fits.
    """
    number = _joined(manifest, pairs)
    pairs = within(pairs)
    chain_of = pd.Series(number, index=manifest["image"]).reindex(pairs["image_a"]).to_numpy()
    rows = []
    for chain in _too_large(number):
        part, kinds = manifest[number == chain], pairs["kind"].to_numpy()[chain_of == chain]
        row = {"n_images": len(part), "share": len(part) / len(manifest)}
        row["labels"] = ", ".join(sorted(part["label"].unique()))
        rows.append(row | {f"n_{k}": int((kinds == k).sum()) for k in ("exact", "near")})
    table = pd.DataFrame(rows, columns=["n_images", "share", "labels", "n_exact", "n_near"])
    return table.sort_values("n_images", ascending=False, kind="stable", ignore_index=True)


def unchained(manifest, pairs):
    """The pairs within the rule, without the near duplicates of `chains`."""
    number, pairs = _joined(manifest, pairs), within(pairs)
    chained = np.isin(number, _too_large(number))
    if not chained.any():
        return pairs
    inside = pd.Series(chained, index=manifest["image"]).reindex(pairs["image_a"]).to_numpy()
    return pairs[~inside | (pairs["kind"] == "exact").to_numpy()].reset_index(drop=True)


def _links(manifest, pairs):
    position = pd.Series(range(len(manifest)), index=manifest["image"])
    return position[pairs["image_a"]].to_numpy(), position[pairs["image_b"]].to_numpy()


def _joined(manifest, pairs):
    """The number of the component of every image under the pairs within the rule."""
    return _components(len(manifest), *_links(manifest, within(pairs)))


def _components(n, first, second):
    graph = coo_matrix((np.ones(len(first), dtype=bool), (first, second)), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def _limit(n):
    return max(20, int(0.02 * n))


def _too_large(number):
    return np.flatnonzero(np.bincount(number) > _limit(len(number)))


def _refuse_chain(manifest, number):
    if len(_too_large(number)):
        sizes = np.bincount(number)
        example = manifest["image"].to_numpy()[np.flatnonzero(number == sizes.argmax())[:3]]
        raise ValueError(
            f"{sizes.max()} of {len(manifest)} images are joined by chains of near duplicates, at "
            f"most {_limit(len(manifest))} expected, among them {', '.join(example)}: the "
            "threshold does not fit these images (`rin.datasets.read` takes duplicates=False)"
        )
