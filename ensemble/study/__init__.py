"""Studies: a recipe of many members and ensembles, trained by an executor, judged in one table."""

from ensemble.study.recipe import Recipe, read_recipe, shipped_recipes
from ensemble.study.run import StudyResult, run_study

__all__ = ["Recipe", "StudyResult", "read_recipe", "run_study", "shipped_recipes"]
