"Render README.md from nbs/index.ipynb; with --check only say whether it is current"
import argparse, sys
from pathlib import Path

from nbdev.process import NBProcessor

root = Path(__file__).resolve().parent.parent


class ReadmeProc:
    "Collects markdown: prose as it is, code in fences, the text of outputs after it; not cells marked `#| hide`"
    def __init__(self, nb): self.parts = []
    def begin(self): pass
    def end(self): pass
    def __call__(self, cell):
        if 'hide' in (cell.directives_ or {}): return
        if cell.cell_type == 'markdown': self.parts.append(cell.source.strip())
        if cell.cell_type == 'code' and cell.source.strip():
            self.parts.append(f'```python\n{cell.source.strip()}\n```')
            texts = [o.get('text') or o.get('data', {}).get('text/plain', '') for o in cell.get('outputs', [])]
            outputs = [''.join(text).rstrip() for text in texts if text]
            if outputs: self.parts.append('```\n' + '\n'.join(outputs) + '\n```')


def render():
    processor = NBProcessor(root/'nbs'/'index.ipynb', procs=ReadmeProc, rm_directives=True)
    processor.process()
    return '\n\n'.join(processor.procs[0].parts) + '\n'


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true')
    text, readme = render(), root/'README.md'
    if parser.parse_args().check:
        if readme.read_text(encoding='utf-8') == text: sys.exit(0)
        sys.exit('README.md is not what nbs/index.ipynb gives. Run: make readme')
    readme.write_text(text, encoding='utf-8')
