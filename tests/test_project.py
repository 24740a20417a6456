"The house itself: notebooks and modules agree, modules stand in order, pages keep to the style"
import ast, json, re, shutil, subprocess, sys
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import genre_fastai
import structure

root = Path(__file__).resolve().parent.parent
modules = structure.pages # name -> notebook
pages = sorted(p for p in (root/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
story = ['10_view_data', '20_prepare_data', '30_baseline_knn', '40_clustering', '50_fine_tune']
by_hand = {'__init__.py', 'all.py'}
directives = {'default_exp', 'export', 'hide', 'slow', 'cuda', 'eval: false', 'exportd'}


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


def test_whatever_is_imported_is_declared():
    settings = ConfigParser(delimiters=['='])
    settings.read(root/'settings.ini')
    lines = [line for key, text in settings['DEFAULT'].items() if key == 'requirements' or key.startswith('extra_')
             for line in text.splitlines() if line.strip()]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    known = {name: {canonicalize_name(d) for d in found} for name, found in packages_distributions().items()}
    for path in (root/'genre_fastai').rglob('*.py'):
        for name in top_level_imports(path) - sys.stdlib_module_names - {'genre_fastai'}:
            assert known.get(name, {canonicalize_name(name)}) & declared, f'{path.name} imports {name}: not declared'


def top_level_imports(path):
    found = set()
    for n in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(n, ast.Import): found |= {a.name.split('.')[0] for a in n.names}
        if isinstance(n, ast.ImportFrom) and not n.level: found.add(n.module.split('.')[0])
    return found


def test_a_module_imports_only_modules_of_earlier_pages(): assert structure.against_the_order() == []


def test_no_private_name_crosses_a_module(): assert structure.private_crossings() == []


def test_lines_outside_the_package_fit():
    found = structure.long_lines()
    assert found['benchmarks'] == found['tools'] == []


def test_the_report_on_structure_is_printed(capsys):
    structure.main()
    said = capsys.readouterr().out
    assert all(re.search(rf'^ +\d+ {re.escape(module)} +\d+', said, re.M) for module in modules)


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


@pytest.mark.parametrize('module', modules)
def test_exports_are_documented_and_used(module):
    code = cells(modules[module])
    for i, cell in enumerate(code):
        if not is_exported(cell): continue
        lines = source(cell).splitlines()
        for node in ast.parse(source(cell)).body:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith('_'): continue
            later = '\n'.join(source(c) for c in code[i:])
            later = later.replace(f'def {node.name}', '').replace(f'class {node.name}', '')
            if node.name in ('to_state', 'from_state'): continue     # said once, on the page of `state`
            assert re.search(rf'\b{node.name}\b', later), f'{module}.{node.name} is not used on its page'
            assert ast.get_docstring(node), f'{module}.{node.name} has no docstring'
            init = [n for n in ast.walk(node) if isinstance(n, ast.FunctionDef) and n.name == '__init__']
            function = node if isinstance(node, ast.FunctionDef) else init[0] if init else None
            for arg in [*function.args.args, *function.args.kwonlyargs] if function else []:
                if arg.arg in ('self', 'cls'): continue
                assert '#' in lines[arg.lineno-1], f'{module}.{node.name}: {arg.arg} has no docment'
