"""Where the configs of all tasks lie, and what each is a diff on."""

import re
from pathlib import Path

from datamodules.errors import DataError
from tasks.file_names import names_file

CONFIGS = Path(__file__).parent.parent / "configs"


def grounds(config: Path, above: tuple[Path, ...] = ()) -> list[Path]:
    """What a config says it is a diff on beyond base.yaml, by a line `# A diff on NAME.yaml`, outermost first.

    Raises:
        DataError: a config that is a diff on itself.
    """
    if not names_file(config):
        return []
    if config.resolve() in above:
        raise DataError(f"{config} is a diff on itself: remove its line `# A diff on ...`")
    found = re.search(r"^# A diff on (\S+\.yaml)", config.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    ground = config.parent / found[1] if found else None
    return [*grounds(ground, (*above, config.resolve())), ground] if ground else []
