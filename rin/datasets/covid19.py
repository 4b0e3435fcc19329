"""The COVID-19 cohort: `images/<Site>_P<n>-<00 to 09>_<slice>.png` and csv lists.

P stands for positive, N for negative; a patient has ten slices. It exists in the official form
only: there is no public download.
"""

from rin.datasets import official
from rin.datasets.layout import DatasetError

CLASSES = {"negative": "no COVID-19", "positive": "COVID-19"}
SIGNS = {"N": "no COVID-19", "P": "COVID-19"}
NAME = r"^((?P<site>[A-Za-z]+)_(?P<sign>[PN])\d+)-\d+_"


def scan(root, files=None):
    """Rows of every slice; `site` keeps the hospital its name starts with.

    Args:
        root: holds `images/` and the lists.
        files: glob of the lists, where they are not alone; see `rin.datasets.official`.

    Raises:
        DatasetError: as `rin.datasets.official.scan`; names of another form, or names whose P or
            N contradicts the label their list gives, all counted. A wrong label must not pass.
    """
    frame = official.scan(root, CLASSES, patient=NAME, files=files)
    parts = frame["image"].str.rsplit("/", n=1).str[-1].str.extract(NAME)
    wrong = frame[parts["sign"].map(SIGNS) != frame["label"]]
    if len(wrong):
        raise DatasetError(
            f"{root}: {len(wrong)} file names contradict their label, such as "
            f"{wrong['image'].iloc[0]} with {wrong['label'].iloc[0]!r}"
        )
    return frame.assign(site=parts["site"], modality="CT", anatomy="chest")
