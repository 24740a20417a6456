"The house itself: notebooks and modules agree, rooms stand in order, pages keep to the style"
import ast, json, re, shutil, subprocess, sys
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import genre_fastai

root = Path(__file__).resolve().parent.parent
rooms = {m[2]: m[1] for p in sorted((root/'nbs').glob('*.ipynb')) if (m := re.match(r'(\d\d[a-z]?)_([\w.]+)', p.stem))}
pages = sorted(p for p in (root/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
story = ['10_view_data', '20_prepare_data', '30_baseline_knn', '40_clustering', '50_fine_tune']
by_hand = {'__init__.py', 'all.py'}
directives = {'default_exp', 'export', 'hide', 'slow', 'cuda', 'eval: false'}


def cells(page, kind='code'):
    return [c for c in json.loads(page.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == kind]

def source(cell): return ''.join(cell['source'])

def is_exported(cell): return re.search(r'^#\|\s*export\s*$', source(cell), re.M) is not None


def test_modules_are_what_the_notebooks_export(tmp_path):
    for name in ('nbs', 'pyproject.toml', 'settings.ini'):
        (shutil.copytree if (root/name).is_dir() else shutil.copy)(root/name, tmp_path/name)
    (tmp_path/'genre_fastai').mkdir()
    for name in by_hand: shutil.copy(root/'genre_fastai'/name, tmp_path/'genre_fastai'/name)
    subprocess.run([Path(sys.executable).parent/'nbdev-export'], cwd=tmp_path, check=True)
    made, here = ({p.relative_to(folder).as_posix(): p.read_bytes() for p in (folder/'genre_fastai').rglob('*.py')}
                  for folder in (tmp_path, root))
    assert sorted(made) == sorted(here)
    assert [n for n in made if made[n] != here[n]] == []


def test_readme_is_rendered_from_the_index():
    subprocess.run([sys.executable, root/'tools'/'readme.py', '--check'], check=True)


def test_versions_agree():
    settings = ConfigParser(delimiters=['='])
    settings.read(root/'settings.ini')
    assert settings['DEFAULT']['version'] == genre_fastai.__version__
    assert f"## {genre_fastai.__version__}" in (root/'CHANGELOG.md').read_text()


def test_timm_is_new_enough_for_the_asymmetric_loss():
    "`AsymmetricLossMultiLabel` takes `pos_weight` and `reduction` from 1.0.31 on; 1.0.30 has neither"
    settings = ConfigParser(delimiters=['='])
    settings.read(root/'settings.ini')
    needs = {r.name: r.specifier for r in map(Requirement, settings['DEFAULT']['requirements'].split('\n')[1:]) if r}
    assert '1.0.31' in needs['timm'] and '1.0.30' not in needs['timm']


def imported_rooms(room):
    "What a module imports from this package, by its name inside it"
    tree = ast.parse((root/'genre_fastai'/f'{room.replace(".", "/")}.py').read_text())
    found, inside = [], room.split('.')
    for n in ast.walk(tree):
        if isinstance(n, ast.Import): found += [a.name for a in n.names if a.name.startswith('genre_fastai.')]
        if not isinstance(n, ast.ImportFrom): continue
        if n.level: found.append('.'.join(filter(None, ['genre_fastai', *inside[:-n.level], n.module])))
        elif n.module.startswith('genre_fastai.'): found.append(n.module)
        if found and (root/found[-1].replace('.', '/')).is_dir(): found[-1:] = [f'{found[-1]}.{a.name}' for a in n.names]
    return [name.removeprefix('genre_fastai.') for name in found if not name.endswith('__version__')]


@pytest.mark.parametrize('room', rooms)
def test_a_room_imports_only_rooms_with_smaller_numbers(room):
    for module in imported_rooms(room): assert rooms[module] < rooms[room], f'{room} imports {module}'


def test_all_names_every_room():
    assert re.findall(r'from genre_fastai\.([\w.]+) import \*', (root/'genre_fastai'/'all.py').read_text()) == list(rooms)


def test_importing_the_package_alone_is_fast():
    code = "import sys, genre_fastai; assert not {'torch', 'fastai', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, '-c', code], check=True)


@pytest.mark.parametrize('page', pages, ids=lambda p: p.stem)
def test_page_keeps_to_the_style(page):
    text = page.read_text(encoding='utf-8')
    assert len(text) < 1_000_000, 'saved outputs are over 1 MB'
    for cell in cells(page):
        for line in re.findall(r'^#\s*\|\s*(.+?)\s*$', source(cell), re.M):
            assert line in directives or line.startswith('default_exp '), f'unknown directive: {line}'
        assert not [o for o in cell['outputs'] if o['output_type'] == 'error'], source(cell)
        for line in source(cell).splitlines(): assert len(line) <= 160, line
    assert not re.search(r'(?<![\w.])/(home|root|Users|work|tmp)/\w', text), 'a path of one machine'
    first = source(cells(page, 'markdown')[0])
    assert re.match(r'# \w+.*\n\n> .+', first), 'a page opens with its name and one line'


@pytest.mark.parametrize('name', story)
def test_story_opens_with_its_data_cell(name):
    page = root/'nbs'/f'{name}.ipynb'
    assert [source(c) for c in cells(page)].count('path = None  # your own folder or table of covers') == 1


@pytest.mark.parametrize('room', rooms)
def test_exports_are_documented_and_used(room):
    page = root/'nbs'/f'{rooms[room]}_{room}.ipynb'
    code = cells(page)
    for i, cell in enumerate(code):
        if not is_exported(cell): continue
        lines = source(cell).splitlines()
        for node in ast.parse(source(cell)).body:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith('_'): continue
            later = '\n'.join(source(c) for c in code[i:]).replace(f'def {node.name}', '').replace(f'class {node.name}', '')
            assert re.search(rf'\b{node.name}\b', later), f'{room}.{node.name} is not used on its page'
            assert ast.get_docstring(node), f'{room}.{node.name} has no docstring'
            init = [n for n in ast.walk(node) if isinstance(n, ast.FunctionDef) and n.name == '__init__']
            function = node if isinstance(node, ast.FunctionDef) else init[0] if init else None
            for arg in [*function.args.args, *function.args.kwonlyargs] if function else []:
                if arg.arg not in ('self', 'cls'): assert '#' in lines[arg.lineno-1], f'{room}.{node.name}: {arg.arg} has no docment'
