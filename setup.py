"The package's facts come from settings.ini, so that they stand in one place."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=['='])
parser.read(here/'settings.ini', encoding='utf-8')
facts = parser['DEFAULT']
lines = lambda key: [line for line in facts[key].splitlines() if line.strip()]

setup(
    name=facts['lib_name'], version=facts['version'], description=facts['description'],
    long_description=(here/'README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    author=facts['author'], keywords=facts['keywords'].split(), license=facts['license'],
    python_requires='>=' + facts['min_python'], packages=find_packages(include=['genre_fastai*']),
    install_requires=lines('requirements'),
    extras_require={key.removeprefix('extra_'): lines(key) for key in facts if key.startswith('extra_')},
    entry_points={'nbdev': ['genre_fastai=genre_fastai._modidx:d']},
)
