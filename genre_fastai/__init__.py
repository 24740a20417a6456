"""Modules:

- `genre_fastai.all`: The front door: what the README and the tutorials use, in the order of the road"""

from .former import FormerModules

__version__ = '0.6.0'
FormerModules.install()
