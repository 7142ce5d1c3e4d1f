"""Strategies that ship with nasforge, one file each, through the same door as any plug-in."""

if __name__ != "nasforge_strategies":
    raise ImportError(
        f"this package is 'nasforge_strategies', and was imported as '{__name__}'; import it by its installed name."
    )
