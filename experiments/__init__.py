"""Hydra configurations: config.yaml and its groups."""

if __name__ != "nasforge_experiments":
    raise ImportError(
        f"this package is 'nasforge_experiments', and was imported as '{__name__}'; import it by its installed name."
    )
