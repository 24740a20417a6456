"Each story notebook runs alone in a real Jupyter kernel: as it is, and on the reader's own folder"
import os, re, subprocess, sys
from pathlib import Path

import nbformat
import pytest

from run_notebooks import is_skipped, skipped_flags

root = Path(__file__).resolve().parent.parent

story = ['10_view_data', '20_prepare_data', '30_baseline_knn', '40_clustering', '50_fine_tune']
data_cell = 'path = None  # your own folder or table of covers'


def execute(name, folder, path=None):
    "Execute a copy of the notebook without the cells that `tst_flags` names"
    nb = nbformat.read(root/'nbs'/f'{name}.ipynb', 4)
    nb.cells = [c for c in nb.cells if not is_skipped(c, skipped_flags(slow=False))]
    if path:
        for cell in nb.cells: cell.source = cell.source.replace(data_cell, f'path = {str(path)!r}')
    nbformat.write(nb, folder/f'{name}.ipynb')
    command = [Path(sys.executable).parent/'jupyter', 'nbconvert', '--to', 'notebook', '--execute', '--inplace',
               '--ExecutePreprocessor.timeout=600', '--ExecutePreprocessor.kernel_name=python3', folder/f'{name}.ipynb']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope='module')
def covers(tmp_path_factory):
    "A small folder of covers, one sub-folder a genre, as a reader would bring it"
    from genre_fastai.datasets.synthetic import synthetic_items
    folder = tmp_path_factory.mktemp('covers')
    synthetic_items(folder, n=160, n_genres=4, seed=7)
    return folder


@pytest.mark.parametrize('name', story)
def test_story_runs_in_a_kernel_of_its_own(name, tmp_path): execute(name, tmp_path)


@pytest.mark.parametrize('name', story)
def test_story_runs_on_the_readers_own_folder(name, tmp_path, covers): execute(name, tmp_path, covers)


def has_figure(cell):
    return any(kind.startswith('image/') for o in cell.get('outputs', []) for kind in o.get('data', {}))


def test_saved_pages_get_their_figures(tmp_path):
    "Also where the environment asks for no display, as the Makefile does"
    page = tmp_path/'page.ipynb'
    cells = [nbformat.v4.new_code_cell('import matplotlib.pyplot as plt\nplt.plot([1, 2]);')]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), page)
    done = subprocess.run([sys.executable, root/'tools'/'run_notebooks.py', page, '--save'], capture_output=True,
                          text=True, env=os.environ | {'MPLBACKEND': 'Agg'})
    assert done.returncode == 0, done.stderr[-3000:]
    assert has_figure(nbformat.read(page, 4).cells[0])
    assert 'env -u MPLBACKEND' in (root/'Makefile').read_text().split('notebooks:')[1].split('\n\n')[0]


@pytest.mark.parametrize('path', sorted((root/'nbs').rglob('[!.]*.ipynb')), ids=lambda path: path.stem)
def test_committed_pages_show_what_they_plot(path):
    cells = [c for c in nbformat.read(path, 4).cells if c.cell_type == 'code'
             and not re.search(r'^#\| ?(export|hide)', c.source)]
    plots = [c for c in cells if re.search(r'^(ax\w* = )?plot_\w+\(', c.source.strip().split('\n')[-1])]
    assert not [c.source for c in plots if not has_figure(c)]
