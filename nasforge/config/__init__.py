"""Configuration: Hydra composes what the user wrote into `Settings`. Nothing is instantiated from it."""

from nasforge.config.compose import Composed, compose

__all__ = ["Composed", "compose"]
