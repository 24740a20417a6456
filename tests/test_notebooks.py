"Each story notebook runs alone in a real Jupyter kernel: as it is, and on the reader's own folder"
import subprocess, sys
from pathlib import Path

import nbformat
import pytest

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root/'scripts'))
from run_notebooks import is_skipped, skipped_flags
sys.path.pop(0)

story = ['10_view_data', '20_prepare_data', '30_baseline_knn', '40_clustering', '50_fine_tune']
data_cell = 'path = None  # your own folder or table of covers'


def execute(name, folder, path=None):
    "Execute a copy of the notebook without the cells that `tst_flags` names"
    nb = nbformat.read(root/'nbs'/f'{name}.ipynb', 4)
    nb.cells = [c for c in nb.cells if not is_skipped(c, skipped_flags(slow=False))]
    if path:
        for cell in nb.cells: cell.source = cell.source.replace(data_cell, f'path = {str(path)!r}')
    nbformat.write(nb, folder/f'{name}.ipynb')
    done = subprocess.run([Path(sys.executable).parent/'jupyter', 'nbconvert', '--to', 'notebook', '--execute', '--inplace',
                           '--ExecutePreprocessor.timeout=600', '--ExecutePreprocessor.kernel_name=python3', folder/f'{name}.ipynb'],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope='module')
def covers(tmp_path_factory):
    "A small folder of covers, one sub-folder a genre, as a reader would bring it"
    from genre_fastai.synth import made_items
    folder = tmp_path_factory.mktemp('covers')
    made_items(folder, n=160, n_genres=4, seed=7)
    return folder


@pytest.mark.parametrize('name', story)
def test_story_runs_in_a_kernel_of_its_own(name, tmp_path): execute(name, tmp_path)


@pytest.mark.parametrize('name', story)
def test_story_runs_on_the_readers_own_folder(name, tmp_path, covers): execute(name, tmp_path, covers)
