"Vectors: cached, resumed, in the order of the rows"
import multiprocessing, os, signal, subprocess, sys, time
try: import resource
except ImportError: resource = None  # Windows

import numpy as np, pytest, torch
from PIL import Image

from genre_fastai.runs import CacheError, DiskCache
from genre_fastai.items import ItemsError
from genre_fastai.encoders.image import BodyEncoder, ColourEncoder, colour_descriptors, embed_items, load_body
from genre_fastai.data import images
from genre_fastai.data.images import digest_images, scan_images
from genre_fastai.datasets.synthetic import synthetic_items


@pytest.fixture(autouse=True, scope='module')
def one_thread():
    "The same number of threads here and in the processes below: else the last digits of vectors differ"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='module')
def items(tmp_path_factory): return synthetic_items(tmp_path_factory.mktemp('world')/'covers', n=50, n_genres=3, seed=1)


def test_a_call_that_was_cut_goes_on_where_it_stopped(items, tmp_path):
    class Failing(ColourEncoder):
        done = 0
        def encode(self, batch):
            Failing.done += 1
            if Failing.done == 4: raise KeyboardInterrupt
            return batch
    cache = DiskCache(tmp_path/'v.sqlite')
    with pytest.raises(KeyboardInterrupt): embed_items(items, Failing(), cache, bs=8)
    assert len(cache) == 24
    calls = []
    class Counting(ColourEncoder):
        def encode(self, batch): calls.append(len(batch)); return batch
    x = embed_items(items, Counting(), cache, bs=8)
    assert sum(calls) == len({r for r in items.image}) - 24
    assert np.array_equal(x, embed_items(items, 'colours', DiskCache(tmp_path/'other.sqlite')))


class Counting(BodyEncoder):
    "A tiny body with many numbers a picture; counts the pictures that it is given"
    def __init__(self, pause=0, max_file=None):
        super().__init__(load_body('test_resnet', 'random'), depths='all', size=32)
        self.pause, self.max_file, self.n = pause, max_file, 0

    def encode(self, batch):
        time.sleep(self.pause)
        if self.max_file: resource.setrlimit(resource.RLIMIT_FSIZE, (self.max_file, self.max_file))
        self.n += len(batch)
        return super().encode(batch)


def embed_in_a_process(items, path, scans, pause=0, max_file=None, says=None):
    "The work of a process of its own; `max_file`: no file may grow larger than this many bytes, as on a full disk"
    os.environ['GENRE_FASTAI_CACHE'] = str(scans)
    torch.set_num_threads(1)
    try: embed_items(items, Counting(pause, max_file), DiskCache(path), bs=16)
    except CacheError as e: says.send(str(e))


@pytest.fixture(scope='module')
def many(tmp_path_factory):
    "300 items, a folder where their scans are, and the vectors of an undisturbed call"
    folder = tmp_path_factory.mktemp('many')
    items = synthetic_items(folder/'covers', n=300, n_genres=3, seed=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('GENRE_FASTAI_CACHE', str(folder))
        yield items, folder, embed_items(items, Counting(), DiskCache(folder/'whole.sqlite'), bs=16)


@pytest.fixture(scope='module')
def processes():
    "Processes that begin with the imports done"
    if resource is None: pytest.skip('needs SIGKILL and limits on files')
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['genre_fastai.encoders.image', 'genre_fastai.datasets.synthetic'])
    return context


def test_killed_calls_lose_nothing_and_the_next_one_goes_on(many, processes, tmp_path):
    items, scans, whole = many
    rng, cache, stored = np.random.default_rng(0), DiskCache(tmp_path/'v.sqlite'), []
    for part in range(3):
        process = processes.Process(target=embed_in_a_process, args=(items, cache.path, scans, .1))
        process.start()
        moment = rng.uniform(part, part + .8)/3*len(items)                            # in each third of the run
        while len(cache) < moment and process.is_alive(): time.sleep(.005)
        time.sleep(rng.uniform(0, .1))                                                # anywhere in a batch
        process.kill()
        process.join()
        stored.append(len(cache))
    assert process.exitcode in (0, -signal.SIGKILL) and stored == sorted(stored)
    assert any(0 < n < len(items) for n in stored), stored
    rest = Counting()
    assert np.array_equal(embed_items(items, rest, cache, bs=16), whole)
    assert rest.n == len(items) - stored[-1] < len(items)


def test_a_full_disk_is_one_clear_line_and_what_was_stored_stays(many, processes, tmp_path):
    items, scans, whole = many
    cache = DiskCache(tmp_path/'v.sqlite')
    heard, says = processes.Pipe(duplex=False)
    process = processes.Process(target=embed_in_a_process, args=(items, cache.path, scans, 0, 700_000, says))
    process.start()
    process.join(60)
    assert process.exitcode == 0 and heard.poll()
    message = heard.recv()
    assert '\n' not in message and str(cache.path) in message and 'Free some disk space' in message
    stored = len(cache)
    assert 0 < stored < len(items) and stored % 16 == 0
    rest = Counting()
    assert np.array_equal(embed_items(items, rest, cache, bs=16), whole)
    assert rest.n == len(items) - stored


def test_copies_of_a_picture_are_encoded_once(items, tmp_path):
    twice = items.assign(image=items.image.iloc[0])
    cache = DiskCache(tmp_path/'v.sqlite')
    x = embed_items(twice, 'colours', cache)
    assert len(cache) == 1 and (x == x[0]).all()


@pytest.fixture
def opened(monkeypatch, tmp_path):
    "Cold caches, and every call of `PIL.Image.open`"
    monkeypatch.setenv('GENRE_FASTAI_CACHE', str(tmp_path/'cache'))
    calls, really = [], Image.open
    def counted(file, *args, **kwargs):
        calls.append(getattr(file, 'name', file))
        return really(file, *args, **kwargs)
    monkeypatch.setattr(Image, 'open', counted)
    return calls


def test_each_picture_is_opened_once_for_key_and_vector(items, opened):
    first = embed_items(items)
    assert len(opened) == len(set(opened)) == len(items)
    assert np.array_equal(embed_items(items), first) and len(opened) == len(items)      # then not at all


def test_a_copy_under_another_path_is_not_opened(items, opened, tmp_path):
    x = embed_items(items)
    opened.clear()
    for i, path in enumerate(items.image): (tmp_path/f'{i}.jpg').write_bytes(open(path, 'rb').read())
    copies = items.assign(image=[str(tmp_path/f'{i}.jpg') for i in range(len(items))])
    assert np.array_equal(embed_items(copies[::-1])[::-1], x) and not opened


def test_what_was_scanned_is_not_read_for_its_digest(items, opened, monkeypatch):
    scan = scan_images(items)
    monkeypatch.setattr(images, '_digest', lambda file: pytest.fail('read again'))
    assert digest_images(items).tolist() == scan.digest.tolist()


def test_a_file_that_changed_has_another_digest(tmp_path, opened):
    items = synthetic_items(tmp_path/'w', n=3, n_genres=3, seed=3)
    before = digest_images(items)
    with open(items.image[1], 'ab') as file: file.write(b' ')
    assert (digest_images(items) != before).tolist() == [False, True, False] and not opened


def test_depth_size_and_weights_are_part_of_the_key():
    bodies = [load_body('test_resnet', 'random', seed=s) for s in (0, 1)]
    names = {BodyEncoder(b, d, s).name for b in bodies for d in ('last', 'all') for s in (32, 64)}
    assert len(names) == 8


def test_pictures_are_opened_while_the_body_works(items, tmp_path):
    class Both(ColourEncoder):
        opened = 0
        def prepare(self, image):
            Both.opened += 1
            return super().prepare(image)
        def encode(self, batch):
            self.seen = getattr(self, 'seen', 0) + len(batch)
            end = time.monotonic() + 10
            while Both.opened < min(self.seen + 8, 50) and time.monotonic() < end: time.sleep(.002)
            assert Both.opened >= min(self.seen + 8, 50), 'nothing was opened in the meantime'
            return batch
    embed_items(items, Both(), DiskCache(tmp_path/'v.sqlite'), bs=8)


@pytest.mark.parametrize('arch', ['test_resnet', 'test_vit', 'test_convnext'])
def test_bfloat16_keeps_the_direction_of_vectors(items, arch, tmp_path):
    body = load_body(arch, 'random')
    fast, exact = (embed_items(items, BodyEncoder(body, 'all', 64, fast=f), DiskCache(tmp_path/f'{f}.sqlite'))
                   for f in (True, False))
    a, b = fast - exact.mean(0), exact - exact.mean(0)
    assert ((a*b).sum(1)/np.linalg.norm(a, axis=1)/np.linalg.norm(b, axis=1)).min() > .99


def test_missing_pictures_are_named(items):
    with pytest.raises(ItemsError, match='image is empty in 1 of 50'):
        embed_items(items.assign(image=[None, *items.image[1:]]), 'colours')


@pytest.mark.parametrize('size', [(1, 1), (3, 500), (400, 2)])
def test_descriptors_of_any_shape_are_finite(size):
    v = colour_descriptors(Image.new('RGB', size, (200, 30, 40)))
    assert v.shape == (332,) and np.isfinite(v).all()


def test_descriptors_tell_colours_and_directions_apart():
    flat = {c: colour_descriptors(Image.new('RGB', (60, 90), c)) for c in ('red', 'blue')}
    assert np.linalg.norm(flat['red'] - flat['blue']) > 1
    stripes = np.zeros((96, 96, 3), 'uint8'); stripes[::8] = 255
    level, upright = (colour_descriptors(Image.fromarray(s)) for s in (stripes, stripes.transpose(1, 0, 2).copy()))
    assert np.linalg.norm(level - upright) > 1


def test_a_body_that_was_trained_is_another_encoder(items):
    body = load_body('test_resnet', 'random')
    before = BodyEncoder(body, size=64)
    with torch.no_grad(): next(body.parameters()).add_(.1)
    after = BodyEncoder(body, size=64)
    assert before.name != after.name and before.name == BodyEncoder(load_body('test_resnet', 'random'), size=64).name


def test_small_pictures_do_not_depend_on_what_was_in_memory():
    "Dirty memory on purpose: bfloat16 convolutions one column wide would show it"
    code = ("import numpy as np; from genre_fastai.encoders.image import BodyEncoder, load_body;"
            "body = load_body('test_resnet', 'random'); x = np.random.default_rng(0).integers(0, 256, (32, 3, 48, 32), np.uint8);"
            "a, b = (BodyEncoder(body, 'all', (32, 48), fast=f).encode(x) for f in (True, False)); assert np.allclose(a, b)")
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], env=os.environ | {'MALLOC_PERTURB_': '128'},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_vectors_that_are_no_numbers_are_an_error_and_not_remembered(items, tmp_path):
    body, cache = load_body('test_resnet', 'random'), DiskCache(tmp_path/'vectors.sqlite')
    with torch.no_grad(): next(body.model.parameters()).fill_(torch.nan)
    for fast, mend in ((True, 'Try BodyEncoder'), (False, 'Look at its weights')):
        encoder = BodyEncoder(body, size=64, fast=fast)
        if fast and encoder.dtype is None: continue
        with pytest.raises(ValueError, match=f'test_resnet gives no finite vectors for 32 of 32 pictures. {mend}'):
            embed_items(items, encoder, cache)
        assert not cache.get_many([f'{encoder.name}|{digest}' for digest in scan_images(items).digest])
