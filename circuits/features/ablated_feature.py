"""The edit that ablates one feature wherever it is active; where it is not, the run is the bare one to the last bit."""

from attribution.splice.edits import EVERYWHERE, REMOVE, NodeEdit, ReferenceValues, SiteNodes
from attribution.splice.spliced_model import SplicedModel


def ablated(spliced: SplicedModel, site: str, index: int) -> NodeEdit:
    """f := 0 at every spliced position of every row. Unlike an `Intervention`, it may change nothing."""
    nodes = SiteNodes.of([(0, EVERYWHERE, EVERYWHERE, index)], spliced.model.device)
    return NodeEdit(site, nodes, REMOVE, ReferenceValues.zero())
