"""`colony init`: a commented colony.toml for a folder, from what is in it.

    folder ─ node, python, procfile, compose ─▶ Found ─ file.text ─▶ colony.toml

Each source is a function from the folder to what it found there, with where it has it from; the
folder is only read, and nothing of it is run.
"""

from colony.init.detect import detect
from colony.init.file import AlreadyThere, text, write
from colony.init.found import Folder, Found, FoundService

__all__ = ["AlreadyThere", "Folder", "Found", "FoundService", "detect", "text", "write"]
