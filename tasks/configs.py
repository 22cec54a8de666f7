"""Where the configs of all tasks lie, and what each is a diff on."""

import re
from pathlib import Path

CONFIGS = Path(__file__).parent.parent / "configs"


def grounds(config: Path) -> list[Path]:
    """What a config says it is a diff on beyond base.yaml, by a line `# A diff on NAME.yaml`, outermost first."""
    if not config.is_file():
        return []
    found = re.search(r"^# A diff on (\S+\.yaml)", config.read_text(encoding="utf-8"), re.MULTILINE)
    ground = config.parent / found[1] if found else None
    return [*grounds(ground), ground] if ground else []
