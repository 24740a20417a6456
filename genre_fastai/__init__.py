"Genres from book and album covers, film posters and synopses."
from .former import FormerModules

__version__ = '0.5.0'
FormerModules.install()
