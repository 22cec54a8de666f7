"""Five published audio and music systems: their modules, command lines, metrics and reports."""

from tasks.import_path import is_own_process, prefer_own_root, refuse_other_packages

if is_own_process():
    prefer_own_root()
refuse_other_packages()
