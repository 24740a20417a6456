"""How the house stands: sizes, long lines, private names that cross modules, imports against the order of pages

A report to look at, not a limit; what must hold is in tests/test_project.py."""
import ast, json, re
from pathlib import Path

root = Path(__file__).resolve().parent.parent
pages = {m[2]: p for p in sorted((root/'nbs').glob('*.ipynb')) if (m := re.match(r'(\d\d[a-z]?)_([\w.]+)', p.stem))}
numbers = {module: page.stem.split('_')[0] for module, page in pages.items()}


def path_of(module): return root/'genre_fastai'/f'{module.replace(".", "/")}.py'


def exported_cells(page):
    "Sources of the cells that a page exports, without their directives"
    for cell in json.loads(page.read_text(encoding='utf-8'))['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'code' and re.search(r'^#\|\s*export\s*$', source, re.M):
            yield re.sub(r'^#\|.*\n', '', source, flags=re.M)


def imports(module):
    "(module, name) for every name that a module takes from another of this package; name is None for `import x`"
    inside = ['genre_fastai', *module.split('.')]
    for node in ast.walk(ast.parse(path_of(module).read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import): found = [(a.name, None) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = inside[:-node.level] if node.level else []
            source = '.'.join([*base, *filter(None, [node.module])])
            found = [(f'{source}.{a.name}', None) if f'{source}.{a.name}'.removeprefix('genre_fastai.') in pages
                     else (source, a.name) for a in node.names]
        else: continue
        for source, name in found:
            if source.startswith('genre_fastai.'): yield source.removeprefix('genre_fastai.'), name


def private_crossings():
    "Where a module takes an underscore name from another, as text"
    return [f'{module} takes {name} from {source}' for module in pages for source, name in imports(module)
            if name and name.startswith('_') and not name.startswith('__')]


def against_the_order():
    "Where a module imports one that its page does not follow, as text"
    return [f'{numbers[module]} {module} imports {numbers.get(source)} {source}' for module in pages
            for source in dict.fromkeys(s for s, _ in imports(module))
            if source not in numbers or not numbers[source] < numbers[module]]


def long_lines(width=120):
    "Folder -> path, line number and length of lines longer than `width`"
    return {folder: [f'{p.relative_to(root)}:{i} ({len(line)})' for p in sorted((root/folder).rglob('*.py'))
                     if p.name not in ('_modidx.py', '__init__.py')     # written by nbdev
                     for i, line in enumerate(p.read_text(encoding='utf-8').splitlines(), 1) if len(line) > width]
            for folder in ('genre_fastai', 'tests', 'benchmarks', 'tools')}


def main():
    sizes = {m: [(s.count('\n') + 1, s.splitlines()[0]) for s in exported_cells(p)] for m, p in pages.items()}
    print('Modules by exported lines, with the longest exported cell of their page')
    for module, cells in sorted(sizes.items(), key=lambda item: -sum(n for n, _ in item[1])):
        longest, first = max(cells, default=(0, ''))
        print(f'{sum(n for n, _ in cells):6} {module:28} {longest:4}  {first[:70]}')
    for folder, lines in long_lines().items(): print(f'\nLines over 120 characters in {folder}: {len(lines)}', *lines)
    for heading, found in (('Private names that cross modules', private_crossings()),
                           ('Imports against the order of pages', against_the_order())):
        print(f'\n{heading}: {len(found)}', *found, sep='\n')


if __name__ == '__main__': main()
