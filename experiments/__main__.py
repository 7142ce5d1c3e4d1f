"""`python -m nasforge_experiments`: Hydra's own command line over these configurations.

One run without, a sweep with `--multirun`: `... --multirun seed=1,2 strategy=random,evolution hydra/launcher=joblib`.
"""

from __future__ import annotations

import sys

import hydra
from omegaconf import DictConfig

from nasforge.config import multirun
from nasforge.config.grid import prepare_command
from nasforge.config.member import run_member
from nasforge.errors import NasforgeError


@hydra.main(version_base="1.3", config_path="pkg://nasforge_experiments", config_name="multirun")
def main(config: DictConfig) -> str:
    """Run what Hydra composed."""
    return run_member(config)


if __name__ == "__main__":
    multirun.register()
    try:
        sys.argv[1:] = prepare_command(sys.argv[1:])
    except NasforgeError as error:
        sys.exit(f"nasforge: {error}")
    main()
