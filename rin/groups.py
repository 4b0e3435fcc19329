"""Groups: duplicates, and patients that share one, kept together; chains refused or reported."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from rin.duplicates import within

ON_CHAIN = ("stop", "report")
MANY_PATIENTS = 5  # no more are joined by near duplicates, however alike


def group(manifest, pairs, on_chain=None):
    """Put duplicates, and patients that share one, into one `group`.

    Exact duplicates always join. Near ones join unless they form a chain (see `chains`).

    Args:
        manifest: a validated manifest.
        pairs: what `duplicates` returned for it.
        on_chain: "stop", or "report": the near duplicates of a chain then join nothing, its exact
            ones still do, and `attrs["chains"]` is what `chains` found. Default: "report" where
            patients are known, whose images stay together in any case, else "stop".

    Returns:
        A copy of the manifest with `group` filled: running numbers `g0001`, … in row order.

    Raises:
        ValueError: with "stop", there is a chain: the threshold does not fit these images.
    """
    on_chain = on_chain or ("report" if manifest["patient"].notna().any() else "stop")
    if on_chain not in ON_CHAIN:
        raise ValueError(f"`on_chain` should be stop or report. Received: on_chain={on_chain!r}")
    if on_chain == "stop":
        _refuse_chain(manifest, pairs)
    number = _components(len(manifest), *_links(manifest, unchained(manifest, pairs)))
    order = joined(pd.Series(number, index=manifest.index), manifest["patient"])
    grouped = manifest.assign(group=pd.array([f"g{n + 1:04d}" for n in order], dtype="string"))
    if on_chain == "report":
        grouped.attrs["chains"] = chains(manifest, pairs).to_dict("records")
    return grouped


def joined(*columns):
    """A number for every row, one for all rows that share a value, also by way of other rows.

    Args:
        *columns: Series of equal index; NA shares nothing.

    Returns:
        `(n,)` ints from 0, in order of first appearance.
    """
    first, second = [], []
    for column in columns:
        code = pd.factorize(column)[0]
        known = np.flatnonzero(code >= 0)
        first.append(known)
        second.append(pd.Series(known).groupby(code[known]).transform("first").to_numpy())
    number = _components(len(columns[0]), np.concatenate(first), np.concatenate(second))
    return pd.factorize(number)[0]


def chains(manifest, pairs):
    """Groups that near duplicates would join and that are not to be believed.

    Near duplicates join in chains, a like b and b like c: where all images of a dataset look
    alike, most of them end up in one group. Counted are patients, or images where no patient is
    known. Near duplicates form a chain where they join

    - more than max(20, 2 %) of the patients or images; or
    - patients of whom two have no pair of their own: a like b, b like c, but a not like c; or
    - more than five patients.

    Patients that share an exact duplicate are joined anyway and count as one in the last two.

    Returns:
        DataFrame `n_images`, `share` (of all images), `labels`, `n_exact` and `n_near` (pairs),
        one row a chain, the longest first; empty where the rule fits.
    """
    number, chained = _chained(manifest, pairs)
    pairs = within(pairs)
    chain_of = pd.Series(number, index=manifest["image"]).reindex(pairs["image_a"]).to_numpy()
    near, rows = _near(pairs), []
    for chain in np.flatnonzero(chained):
        part, inside = manifest[number == chain], chain_of == chain
        row = {"n_images": len(part), "share": len(part) / len(manifest)}
        row["labels"] = ", ".join(sorted(part["label"].unique()))
        counts = {"n_exact": (inside & ~near).sum(), "n_near": (inside & near).sum()}
        rows.append(row | {name: int(n) for name, n in counts.items()})
    table = pd.DataFrame(rows, columns=["n_images", "share", "labels", "n_exact", "n_near"])
    return table.sort_values("n_images", ascending=False, kind="stable", ignore_index=True)


def unchained(manifest, pairs):
    """The pairs within the rule, without the near duplicates of `chains`."""
    (number, chained), pairs = _chained(manifest, pairs), within(pairs)
    if not chained.any():
        return pairs
    inside = pd.Series(chained[number], index=manifest["image"]).reindex(pairs["image_a"])
    return pairs[~(inside.to_numpy() & _near(pairs))].reset_index(drop=True)


def _chained(manifest, pairs):
    """The number of every image under all pairs and patients, and which numbers are chains."""
    pairs = within(pairs)
    unit = joined(manifest["image"], manifest["patient"])  # a patient, or an image alone
    n, near = unit.max() + 1, _near(pairs)
    first, second = (unit[rows] for rows in _links(manifest, pairs))
    body = _components(n, first[~near], second[~near])  # what exact duplicates join
    group = _components(n, first, second)
    known = np.unique(body[unit[manifest["patient"].notna().to_numpy()]])
    group_of = pd.Series(group).groupby(body).first().to_numpy()  # of each body

    links = np.sort(np.c_[body[first[near]], body[second[near]]], axis=1)
    links = np.unique(links[links[:, 0] != links[:, 1]], axis=0)
    between = links[np.isin(links, known).all(axis=1)]
    n_groups = group.max() + 1
    n_links, n_pairs, n_known = (
        np.bincount(group_of[bodies], minlength=n_groups)
        for bodies in (links[:, 0], between[:, 0], known)
    )
    apart = n_pairs < n_known * (n_known - 1) // 2
    large = np.bincount(group) > _limit(n)
    return group[unit], (n_links > 0) & (large | apart | (n_known > MANY_PATIENTS))


def _near(pairs):
    return (pairs["kind"] != "exact").to_numpy() if "kind" in pairs else np.ones(len(pairs), bool)


def _links(manifest, pairs):
    position = pd.Series(range(len(manifest)), index=manifest["image"])
    return position[pairs["image_a"]].to_numpy(), position[pairs["image_b"]].to_numpy()


def _components(n, first, second):
    graph = coo_matrix((np.ones(len(first), dtype=bool), (first, second)), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def _limit(n):
    return max(20, int(0.02 * n))


def _refuse_chain(manifest, pairs):
    number, chained = _chained(manifest, pairs)
    if chained.any():
        sizes = np.where(chained, np.bincount(number), 0)
        example = manifest["image"].to_numpy()[np.flatnonzero(number == sizes.argmax())[:3]]
        known = manifest["patient"].notna().any()
        most = "patients all alike" if known else f"at most {_limit(len(manifest))}"
        raise ValueError(
            f"{sizes.max()} of {len(manifest)} images are joined by chains of near duplicates, "
            f"{most} expected, among them {', '.join(example)}: the "
            "threshold does not fit these images (`rin.datasets.read` takes duplicates=False)"
        )
