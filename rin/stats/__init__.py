"""Statistics: every claim of the book is computed here, from labels and scores, never a model.

Here X are the scores of positive images and Y those of negative ones; m and n are their numbers;
"patient" is any group whose images must be kept together. A comparison of two inits A and B is
always A − B, "the gain", and rests on cells: the test images of one scenario in one fold.
"""

# pandas, scipy, scikit-learn and statsmodels together take seconds to import, so each is imported
# where it is used.

from rin.stats.as_published import UnpairedT, unpaired_t_interval
from rin.stats.calibrate import Calibration, calibration
from rin.stats.cells import CommonCells, Fold, common_cells, paired_folds
from rin.stats.checks import checked, codes
from rin.stats.contrasts import Contrast, contrast, contrast_of
from rin.stats.delong import AucInterval, DelongTest, auc_ci, components, delong_test
from rin.stats.dice import DiceTest, dice_test
from rin.stats.families import holm
from rin.stats.gains import backbone_gains, fold_gains, scenario_gains
from rin.stats.paired import (
    PairedT,
    PitmanMorgan,
    Shapiro,
    Wilcoxon,
    paired_t,
    pitman_morgan,
    shapiro,
    wilcoxon,
)
from rin.stats.resampling import Bootstrap, bootstrap_of, patient_bootstrap
from rin.stats.retraining import CorrectedT, nadeau_bengio, over_backbones, split_ratio
from rin.stats.roc import average_roc, mean_sd, scenario_aucs
from rin.stats.rule import verdict
from rin.stats.shares import two_way, variance_shares

__all__ = [
    "AucInterval",
    "Bootstrap",
    "Calibration",
    "CommonCells",
    "Contrast",
    "CorrectedT",
    "DelongTest",
    "DiceTest",
    "Fold",
    "PairedT",
    "PitmanMorgan",
    "Shapiro",
    "UnpairedT",
    "Wilcoxon",
    "auc_ci",
    "average_roc",
    "backbone_gains",
    "bootstrap_of",
    "calibration",
    "checked",
    "codes",
    "common_cells",
    "components",
    "contrast",
    "contrast_of",
    "delong_test",
    "dice_test",
    "fold_gains",
    "holm",
    "mean_sd",
    "nadeau_bengio",
    "over_backbones",
    "paired_folds",
    "paired_t",
    "patient_bootstrap",
    "pitman_morgan",
    "scenario_aucs",
    "scenario_gains",
    "shapiro",
    "split_ratio",
    "two_way",
    "unpaired_t_interval",
    "variance_shares",
    "verdict",
    "wilcoxon",
]
