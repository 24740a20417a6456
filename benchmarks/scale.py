"Time and peak memory of reading, viewing, cleaning, copies and splitting, or of scoring long synopses, at growing numbers of made items"
import argparse, os, resource, subprocess, sys, tempfile, time
from pathlib import Path

STEPS = ['draw', 'read', 'view', 'clean', 'split', 'fold']


def measure(n, folder):
    "One line of figures for `n` items, in a process of its own so that its peak memory is true"
    from genre_fastai.data.readers import read_folder
    from genre_fastai.datasets.synthetic import made_items
    from genre_fastai.data.show import show_items
    from genre_fastai.view_data import describe_items, plot_genre_counts
    from genre_fastai.data.clean import clean_items
    from genre_fastai.data.split import fold_items, split_items
    seconds, clock = [], time.perf_counter()
    def lap():
        nonlocal clock
        seconds.append(time.perf_counter() - clock)
        clock = time.perf_counter()
    made_items(folder/'covers', n, damaged=.01, blank=.01, duplicates=.03, synopsis_sentences=0); lap()
    items = read_folder(folder/'covers'); lap()
    describe_items(items); show_items(items, n=12); plot_genre_counts(items); lap()
    items, _ = clean_items(items); lap()
    split_items(items); lap()
    fold_items(items); lap()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1e6
    print(f'{n:>8,} ' + ' '.join(f'{s:8.1f}' for s in seconds) + f' {sum(seconds[1:]):10.1f} {peak:8.2f}', flush=True)


def measure_texts(n, folder):
    """One line of figures for scoring `n` synopses of 100 sentences; they are 2,000 different ones again and again, so that
    what grows is not the input"""
    from genre_fastai.datasets.synthetic import made_items
    from genre_fastai.encoders.text import SentenceEncoder, tiny_text_encoder
    from genre_fastai.predict.bundle import load_bundle, predict_batch
    from genre_fastai.predict.classifier import GenreClassifier
    items = made_items(folder/'texts', 2000, images=False, synopsis_sentences=100, telling_sentences=10)
    encoder = SentenceEncoder(tiny_text_encoder(folder/'tiny', items.text[:200]), depths='upper')
    bundle = load_bundle(GenreClassifier(text_encoder=encoder).fit(items[:400]).save(folder/'model'))
    texts = items.text.tolist()
    predict_batch(bundle, texts=texts[:1000])
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1e6, time.perf_counter()
    predict_batch(bundle, texts=texts*(n//2000))
    peak, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1e6, time.perf_counter() - start
    print(f'{n:>8,} {seconds:8.1f} {before:16.2f} {peak:8.2f}', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('n', type=int, nargs='*', help='numbers of items; for texts, multiples of 2,000')
    parser.add_argument('--texts', action='store_true', help='score long synopses')
    parser.add_argument('--here', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here: return (measure_texts if args.texts else measure)(args.n[0], args.here)
    sizes = args.n or ([2000, 20000] if args.texts else [5000, 20000])
    if args.texts: print(f'{"texts":>8} {"score s":>8} {"GB after 1,000":>16} {"peak GB":>8}', flush=True)
    else: print(f'{"items":>8} ' + ' '.join(f'{s + " s":>8}' for s in STEPS) + f' {"all but draw":>10} {"peak GB":>8}', flush=True)
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            environment = {'GENRE_FASTAI_CACHE': folder, 'MPLBACKEND': 'Agg'}
            subprocess.run([sys.executable, '-m', __spec__.name, str(n), '--here', folder, *(['--texts']*args.texts)], check=True, env={**os.environ, **environment})


if __name__ == '__main__': main()
