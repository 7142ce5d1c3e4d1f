"""Latency profiles as data (JSON), one file for each device and precision."""

if __name__ != "nasforge_profiles":
    raise ImportError(
        f"this package is 'nasforge_profiles', and was imported as '{__name__}'; import it by its installed name."
    )
