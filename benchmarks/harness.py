"What every benchmark stands on: arguments, a record that a kill cannot lose, shuffled labels, folds, one-line errors"
import argparse, json
from pathlib import Path

import numpy as np, pandas as pd

from genre_fastai.evaluate.metrics import format_scores
from genre_fastai.runs import atomic_path, environment, start_run


def arguments(
    module, # The benchmark's `__doc__`: what it shows, and what it does not
    out:str, # Name of its folder in runs/
    data:str=None, # What `--data` must hold; None: nothing real is read
    only=None, # Names that `--only` chooses from; None: there is one thing to run
    seeds:bool=False, # Several seeds, `--seeds 1 2 3`, instead of one `--seed`
)->argparse.ArgumentParser: # To which a benchmark adds its own
    "The arguments that benchmarks share"
    parser = argparse.ArgumentParser(description=module, formatter_class=argparse.RawDescriptionHelpFormatter)
    if data: parser.add_argument('--data', required=True, type=Path, help=data)
    parser.add_argument('--out', type=Path, default=Path('runs')/out, help=f'where tables go; runs/{out} unless named')
    parser.add_argument('--overwrite', action='store_true', help='replace the record of an earlier run in that folder')
    if only: parser.add_argument('--only', nargs='+', choices=list(only), default=list(only), help='some of them')
    if not seeds: parser.add_argument('--seed', type=int, default=0)
    return parser


def named(table):
    "`table` with its index as a column, if it says something"
    return table if isinstance(table.index, pd.RangeIndex) else table.reset_index()


def markdown(table):
    "`table` as it is printed; as objects, or else whole numbers beside fractions would become fractions"
    return named(format_scores(table)).astype(object).to_markdown(index=False, disable_numparse=True)


class Record:
    "Prints each section and keeps all of them, as markdown and the tables as JSON, after every one"
    def __init__(self,
        args, # From `arguments`
        title:str, # Of the page
        **facts # What the run is about, for run.json and the line under the title
    ):
        facts = {k: v for k, v in vars(args).items() if k in ('seed', 'seeds')} | facts
        if 'data' in args and args.data: facts['data'] = args.data.name
        self.folder = start_run(args.out, overwrite=args.overwrite, **facts)
        self.facts, self.sections, self.tables, self.heading = facts, [], [], title
        told = ', '.join(f'{k} {v}' for k, v in (facts | environment()).items())
        self.write(f'# {title}', f'{told[:1].upper()}{told[1:]}.')

    def write(self,
        *parts, # Markdown, and frames that become tables; a first part that begins with '#' is a heading
    ):
        "Print `parts`, and keep them"
        if isinstance(parts[0], str) and parts[0].startswith('#'): self.heading = parts[0].lstrip('# ')
        for table in parts:
            if isinstance(table, pd.DataFrame):
                self.tables.append({'heading': self.heading, 'rows': named(table).to_dict('records')})
        self.sections.append('\n\n'.join(p if isinstance(p, str) else markdown(p) for p in parts))
        print(f'\n{self.sections[-1]}', flush=True)
        kept = {'facts': self.facts, 'environment': environment(), 'tables': self.tables}
        texts = {'md': '\n\n'.join(self.sections) + '\n', 'json': json.dumps(kept, indent=1, default=str)}
        for kind, text in texts.items():
            with atomic_path(self.folder/f'tables.{kind}') as path: path.write_text(text, encoding='utf-8')


def shuffled_genres(
    items, # Items
    draws, # What draws: a numpy `Generator` or `RandomState`
):
    "Items with the genres of all rows but the test rows dealt out anew: what is left to learn is nothing"
    train = (items.split != 'test').to_numpy() if items.split.notna().any() else np.ones(len(items), bool)
    genres = items.genres.to_numpy().copy()
    genres[train] = genres[train][draws.permutation(train.sum())]
    return items.assign(genres=pd.Series(list(genres), index=items.index, dtype=object))


def over_folds(
    items, # Items with the column `fold`
    predict, # Takes items marked train or test, and the test rows unmarked; gives name -> (n_test, n_genres)
)->dict: # Name -> (n, n_genres): every row predicted by what was fitted without it
    "`predict` on each fold"
    found = {}
    for fold in sorted(items.fold.unique()):
        test = (items.fold == fold).to_numpy()
        marked = items.assign(split=np.where(test, 'test', 'train'))
        for name, p in predict(marked, items[test].assign(split=None)).items():
            found.setdefault(name, np.zeros((len(items), p.shape[1])))[test] = p
    return found


def run(main):
    "`main()`, whose errors of input are one line"
    try: main()
    except (ValueError, OSError) as e: raise SystemExit(f'{type(e).__name__}: {e}')
