"""Time and peak memory of reading, viewing, cleaning, copies and splitting, and of scoring long synopses

Shows seconds and gigabytes at growing numbers of synthetic items; each number in a process of its own, so that its peak
memory is true. Does not show times on pictures as large as people's own."""
import argparse, json, os, resource, subprocess, sys, tempfile, time
from pathlib import Path

import pandas as pd

from benchmarks.harness import arguments, Record, run


def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1e6


def measure_items(n, folder):
    "Seconds of each step for `n` items, and gigabytes"
    from genre_fastai.data.readers import read_folder
    from genre_fastai.datasets.synthetic import synthetic_items
    from genre_fastai.data.show import show_items
    from genre_fastai.view_data import describe_items, plot_genre_counts
    from genre_fastai.data.clean import clean_items
    from genre_fastai.data.split import fold_items, split_items
    def view(items):
        describe_items(items)
        show_items(items, n=12)
        plot_genre_counts(items)
        return items
    def split(items):
        split_items(items)
        return items
    steps = {
        'draw': lambda _: synthetic_items(folder/'covers', n, damaged=.01, blank=.01, duplicates=.03,
                                          synopsis_sentences=0),
        'read': lambda _: read_folder(folder/'covers'), 'view': view, 'clean': lambda items: clean_items(items)[0],
        'split': split, 'fold': fold_items}
    items, seconds = None, {}
    for name, step in steps.items():
        start = time.perf_counter()
        items = step(items)
        seconds[f'{name} s'] = time.perf_counter() - start
    told = {'items': n} | seconds | {'all but draw': sum(seconds.values()) - seconds['draw s'], 'peak GB': peak()}
    return {k: round(v, 1 if k != 'peak GB' else 2) for k, v in told.items()}


def measure_texts(n, folder):
    """Seconds and gigabytes of scoring `n` synopses of 100 sentences

    They are 2,000 different ones again and again, so that what grows is not the input."""
    from genre_fastai.datasets.synthetic import synthetic_items
    from genre_fastai.encoders.text import SentenceEncoder, tiny_text_encoder
    from genre_fastai.predict.bundle import load_bundle
    from genre_fastai.predict.modalities import predict_batch
    from genre_fastai.predict.classifier import GenreClassifier
    items = synthetic_items(folder/'texts', 2000, images=False, synopsis_sentences=100, telling_sentences=10)
    encoder = SentenceEncoder(tiny_text_encoder(folder/'tiny', items.text[:200]), depths='upper')
    bundle = load_bundle(GenreClassifier(text_encoder=encoder).fit(items[:400]).save(folder/'model'))
    texts = items.text.tolist()
    predict_batch(bundle, texts=texts[:1000])
    before, start = peak(), time.perf_counter()
    predict_batch(bundle, texts=texts*(n//2000))
    seconds = round(time.perf_counter() - start, 1)
    return {'texts': n, 'score s': seconds, 'GB after 1,000': round(before, 2), 'peak GB': round(peak(), 2)}


KINDS = {'items': (measure_items, [5000, 20000]), 'texts': (measure_texts, [2000, 20000])}


def in_its_own_process(kind, n):
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder)/'row.json'
        environment = os.environ | {'GENRE_FASTAI_CACHE': folder, 'MPLBACKEND': 'Agg'}
        command = [sys.executable, '-m', 'benchmarks.scale', '--only', kind, '--n', str(n), '--here', folder]
        subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parent.parent)
        return json.loads(told.read_text())


def main():
    parser = arguments(__doc__, 'scale', only=KINDS)
    parser.add_argument('--n', type=int, nargs='+', help='numbers of items; for texts, multiples of 2,000')
    parser.add_argument('--here', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        row = KINDS[args.only[0]][0](args.n[0], args.here)
        return (args.here/'row.json').write_text(json.dumps(row))
    record = Record(args, 'Scale')
    for kind in args.only:
        record.write(f'## {kind.capitalize()}')
        for n in args.n or KINDS[kind][1]: record.write(pd.DataFrame([in_its_own_process(kind, n)]))


if __name__ == '__main__': run(main)
