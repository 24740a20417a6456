"Genres from book and album covers, film posters and synopses."
__version__ = '0.5.0'
