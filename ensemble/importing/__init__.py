"""Members from elsewhere: probabilities, logits or class maps of any tool become a member like any other."""

from ensemble.importing.member import Imported, import_member
from ensemble.importing.plan import IMPORTED, ImportPlan

__all__ = ["IMPORTED", "ImportPlan", "Imported", "import_member"]
