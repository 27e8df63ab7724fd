"""The version, as a constant: to ask the installed package's metadata for it takes 50 ms."""

from typing import Final

VERSION: Final = "0.1.0"
