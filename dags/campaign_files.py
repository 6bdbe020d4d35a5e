"""Says which campaigns have no DAG because their file is wrong.

Airflow shows it to operators and administrators, as an import error of this file. A file that cannot be
imported loses all of its DAGs, so this one has none: the other campaigns, and requests by hand, go on.
"""

from __future__ import annotations

from esap_batch.campaigns import wrong_files
from hooks.settings import config_dir

if wrong := wrong_files(config_dir()):
    lines = "\n".join(f"- {error}" for error in wrong)
    raise RuntimeError(f"these files are wrong, their campaigns do not run:\n{lines}")
