"""What a user can mend, as exceptions: one line that says what was found, where, and what to do."""


class ResightError(Exception):
    """Parent of every error that a user can mend; the command line prints it as one line and exits with 2."""


class DataError(ResightError):
    """A picture, table or folder is missing, broken, or not of the form it should have."""


class ConfigError(ResightError):
    """A setting is unknown, of the wrong type, out of range, or contradicts another."""


class CheckpointError(ResightError):
    """Weights or an encoder folder are missing, broken, or do not fit."""


class GalleryError(ResightError):
    """A gallery is missing, damaged, full, of another encoder, or its server does not answer."""


class NoGalleryError(GalleryError):
    """Nobody has made a gallery there yet."""
