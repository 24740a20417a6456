"Run notebooks in a real Jupyter kernel: to check that each runs alone, or with --save to refresh their saved outputs"
import argparse, os, re, sys, time
from pathlib import Path

import nbformat
from nbconvert.preprocessors import CellExecutionError, ExecutePreprocessor
from nbdev.config import get_config

root = Path(__file__).resolve().parent.parent
noise = re.compile(r'( at )?0x[0-9a-f]{8,}')


def skipped_flags(slow):
    "Flags whose cells do not run: those that nbdev-test skips too, and `eval: false`"
    return [f for f in get_config(root).tst_flags if not (slow and f == 'slow')] + ['eval: false']


def is_skipped(cell, flags):
    return cell.cell_type == 'code' and any(re.search(rf'^#\|\s*{f}\s*$', cell.source, re.M) for f in flags)


def run(path, flags, timeout, cwd=None):
    "`path` executed without the cells that carry one of `flags`; those keep the outputs they had"
    nb = nbformat.read(path, 4)
    runnable = nbformat.from_dict({**nb, 'cells': [c for c in nb.cells if not is_skipped(c, flags)]})
    executor = ExecutePreprocessor(timeout=timeout, kernel_name='python3')
    done, _ = executor.preprocess(runnable, {'metadata': {'path': str(cwd or path.parent)}})
    ran = iter(done.cells)
    nb.cells = [c if is_skipped(c, flags) else next(ran) for c in nb.cells]
    return nb


def cleaned(nb):
    "`nb` without what changes from run to run: counts, timings, addresses in memory, bars, widgets and warnings"
    widget = 'application/vnd.jupyter.widget-view+json'
    for cell in nb.cells:
        cell.metadata = {}
        if cell.cell_type != 'code': continue
        cell.execution_count = None
        cell.outputs = [o for o in cell.outputs if not (o.output_type == 'stream' and o.name == 'stderr'
                                                        or widget in o.get('data', {}))]
        for o in cell.outputs:
            if 'execution_count' in o: o.execution_count = None
            o.pop('metadata', None)
            if o.output_type != 'stream': o['metadata'] = {}
            if 'text' in o: o.text = noise.sub('', o.text)
            for kind, text in o.get('data', {}).items():
                if kind.startswith('text/') and isinstance(text, str): o.data[kind] = noise.sub('', text)
    nb.metadata = {'kernelspec': {'display_name': 'python3', 'language': 'python', 'name': 'python3'}}
    return nb


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('notebooks', nargs='*', type=Path, help='notebooks to run; none: all under nbs/')
    parser.add_argument('--save', action='store_true', help='write the outputs back')
    parser.add_argument('--slow', action='store_true', help='run the cells marked slow as well')
    parser.add_argument('--timeout', type=int, default=900, help='seconds a cell')
    args = parser.parse_args()
    os.environ.pop('MPLBACKEND', None) # or else the kernel would not put figures into the page
    paths = args.notebooks or sorted((root/'nbs').rglob('[!.]*.ipynb'))
    failed = []
    for path in (p for p in paths if '.ipynb_checkpoints' not in p.parts):
        start = time.time()
        try: nb = run(path, skipped_flags(args.slow), args.timeout)
        except CellExecutionError as e:
            failed.append(path.name)
            print(f'{path.name}: FAILED\n{e}', file=sys.stderr)
            continue
        if args.save: nbformat.write(cleaned(nb), path)
        print(f'{path.name}: {time.time() - start:.0f} s', flush=True)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == '__main__': main()
