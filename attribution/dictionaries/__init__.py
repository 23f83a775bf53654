"""Sparse autoencoders: encode an activation into features and decode it; load and save them.

`kinds` holds the encoders, `pursuits` codes found without one, `formats` the file formats, `load.py` the choice of a
folder's format, `splitting.py` the splitting test. Other rooms use the names in `__all__`.
"""

from attribution.dictionaries.formats import SAEFileError
from attribution.dictionaries.formats.gemma_scope import load_gemma_scope
from attribution.dictionaries.formats.saelens import save_sae
from attribution.dictionaries.kinds.batchtopk import BatchTopK
from attribution.dictionaries.kinds.gated import Gated
from attribution.dictionaries.kinds.jumprelu import JumpReLU
from attribution.dictionaries.kinds.normalisation import Frame, Normalisation
from attribution.dictionaries.kinds.prolu import ProLU
from attribution.dictionaries.kinds.pursuit import Pursuit
from attribution.dictionaries.kinds.relu import ReLU
from attribution.dictionaries.kinds.sae import SAE, Encoding
from attribution.dictionaries.kinds.topk import TopK
from attribution.dictionaries.load import load_sae, load_saes
from attribution.dictionaries.pursuits.gradient_pursuit import gradient_pursuit
from attribution.dictionaries.pursuits.greedy import Code
from attribution.dictionaries.pursuits.matching_pursuit import matching_pursuit
from attribution.dictionaries.pursuits.novelty import novelty
from attribution.dictionaries.pursuits.refitting import refitted
from attribution.dictionaries.splitting import Splitting, splitting

__all__ = [
    "SAE",
    "BatchTopK",
    "Code",
    "Encoding",
    "Frame",
    "Gated",
    "JumpReLU",
    "Normalisation",
    "ProLU",
    "Pursuit",
    "ReLU",
    "SAEFileError",
    "Splitting",
    "TopK",
    "gradient_pursuit",
    "load_gemma_scope",
    "load_sae",
    "load_saes",
    "matching_pursuit",
    "novelty",
    "refitted",
    "save_sae",
    "splitting",
]
