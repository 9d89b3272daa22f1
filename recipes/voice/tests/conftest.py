import sys
from pathlib import Path

recipe = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(recipe), str(recipe.parent / "common")]
