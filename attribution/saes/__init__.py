"""Sparse autoencoders: one file per encoder kind; value, margin and decode; load and save."""

from attribution.saes.batchtopk import BatchTopK
from attribution.saes.gated import Gated
from attribution.saes.gemma_scope_format import load_gemma_scope
from attribution.saes.jumprelu import JumpReLU
from attribution.saes.load import load_sae, load_saes
from attribution.saes.normalisation import Frame, Normalisation
from attribution.saes.prolu import ProLU
from attribution.saes.relu import ReLU
from attribution.saes.sae import SAE, Encoding
from attribution.saes.sae_file_error import SAEFileError
from attribution.saes.saelens_format import save_sae
from attribution.saes.topk import TopK

__all__ = [
    "SAE",
    "BatchTopK",
    "Encoding",
    "Frame",
    "Gated",
    "JumpReLU",
    "Normalisation",
    "ProLU",
    "ReLU",
    "SAEFileError",
    "TopK",
    "load_gemma_scope",
    "load_sae",
    "load_saes",
    "save_sae",
]
