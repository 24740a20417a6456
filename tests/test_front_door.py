"The front door: few names, none of fastai's, all that the README and the tutorials use; former names answer with a warning"
import ast, importlib, json, re, subprocess, sys, warnings
from pathlib import Path

import fastai.vision.all as fastai_all, pytest

import genre_fastai.all as front_door
import structure

root = Path(__file__).resolve().parent.parent
names = {n for n in vars(front_door) if not n.startswith('_')}
former = json.loads((root/'tests'/'data'/'names_0.5.0.json').read_text())
gone = { # Of 0.5.0, for good: a command in benchmarks/ now, and two inner parts of bundles
    'EXPERIMENTS', 'Experiment', 'experiment_items', 'ExperimentResult', 'run_experiment', 'ProbabilitiesAsTheyAre',
    'join_parts'}


def public_names():
    "Every public name of the package"
    return {n for module in structure.pages for n in importlib.import_module(f'genre_fastai.{module}').__all__}

def user_code():
    "(page, Python source) of the README's blocks and the tutorials' cells"
    for page in [root/'nbs'/'index.ipynb', *sorted((root/'nbs'/'tutorials').glob('*.ipynb'))]:
        for cell in json.loads(page.read_text())['cells']:
            text = ''.join(cell['source'])
            if cell['cell_type'] == 'code': yield page.stem, re.sub(r'^[%!].*$', '', text, flags=re.M)
            else: yield from ((page.stem, block) for block in re.findall(r'```python\n(.*?)```', text, re.S))


def test_it_has_few_names_and_none_of_fastai():
    assert 75 <= len(names) <= 90
    assert names <= public_names()
    assert {n for n in names if hasattr(fastai_all, n)} == set()


def test_readme_and_tutorials_use_no_others():
    used, imported = {}, {}
    for page, code in user_code():
        tree = ast.parse(code)
        for node in ast.walk(tree):
            if isinstance(node, ast.Name): used.setdefault(page, set()).add(node.id)
            if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('genre_fastai'):
                imported.setdefault(page, set()).add(node.module)
    assert all(found <= {'genre_fastai.all'} for found in imported.values())
    others = public_names() - names - set(dir(fastai_all)) - set(dir(__builtins__))
    assigned = {page: {n.id for p, code in user_code() if p == page for n in ast.walk(ast.parse(code))
                       if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)} for page in used}
    assert {page: others & found - assigned[page] for page, found in used.items()} == {page: set() for page in used}
    assert names - set().union(*used.values()) <= {
        'ItemsError', 'poster_block', 'genre_counts'}, 'a name that neither README nor tutorials use'


@pytest.mark.parametrize('module', former)
def test_former_names_are_still_there(module):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        if module == 'experiments':
            with pytest.raises(ImportError): importlib.import_module('genre_fastai.experiments')
            return
        found = importlib.import_module(f'genre_fastai.{module}')
        missing = [n for n in former[module] if n not in gone and not hasattr(found, n)]
    assert missing == []


def test_former_names_say_what_they_are_now():
    with pytest.warns(DeprecationWarning, match=r'made_items is now genre_fastai\.datasets\.synthetic\.synthetic_items'):
        assert front_door.made_items is front_door.synthetic_items
    with pytest.warns(DeprecationWarning, match='grad_cam is now genre_fastai.explain.cam.grad_cam'):
        from genre_fastai.explain import grad_cam
    with pytest.warns(DeprecationWarning, match='clean_items is now genre_fastai.data.clean.clean_items'):
        from genre_fastai.prepare_data import clean_items
    assert clean_items is front_door.clean_items and grad_cam is front_door.grad_cam
    with pytest.raises(AttributeError, match="no 'no_such_name', now or in 0.5.0"): front_door.no_such_name


def test_a_current_name_warns_of_nothing():
    code = 'import genre_fastai.all, genre_fastai.fine_tune, genre_fastai.explain.cam; genre_fastai.all.split_items'
    told = subprocess.run([sys.executable, '-W', 'error::DeprecationWarning:__main__', '-c', code], capture_output=True)
    assert told.returncode == 0 and b'is now' not in told.stderr
