"""Print the oldest versions that pyproject.toml allows, as constraints for pip: one `name==version` a line."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
for line in project["dependencies"]:
    name, version = re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", line).groups()
    print(f"{name}=={version}")
