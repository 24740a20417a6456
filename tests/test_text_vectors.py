"Sentence vectors: equal to transformers' own, streamed, resumed, and made by whole weights only"
import json, shutil, tracemalloc

import numpy as np, pandas as pd, pytest, torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from genre_fastai.encoders import text as module
from genre_fastai.encoders.weights import WeightsError
from genre_fastai.runs import DiskCache
from genre_fastai.items import ItemsError, make_items
from genre_fastai.encoders.text import SentenceEncoder, embed_texts, embed_windows
from genre_fastai.encoders.weights import PACKAGE

transformers = pytest.importorskip('transformers', reason="needs transformers: pip install 'genre_fastai[offline]'")
WORDS = 'the spy loves a queen and bakes cake for nobody'.split()


def tiny_folder(folder, kind='bert'):
    "A tiny random transformer of a kind, with a tokenizer that cuts and fills up, as that of MiniLM does"
    sizes = dict(vocab_size=20, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32,
                 pad_token_id=0,
                 max_position_embeddings=66)
    if kind == 'distilbert':
        sizes = dict(vocab_size=20, dim=16, n_layers=4, n_heads=2, hidden_dim=32, pad_token_id=0,
                     max_position_embeddings=66)
    torch.manual_seed(0)
    transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **sizes)).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(['[PAD]', '[CLS]', '[SEP]', '[UNK]', *WORDS])},
                                           unk_token='[UNK]'))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing('[CLS] $A [SEP]', None, [('[CLS]', 1), ('[SEP]', 2)])
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(folder/'tokenizer.json'))
    return folder


@pytest.fixture(scope='module')
def folder(tmp_path_factory): return tiny_folder(tmp_path_factory.mktemp('bert'))

def tiny(folder, **kwargs): return SentenceEncoder(folder, **{'max_length': 16, 'stride': 4, 'fast': False, **kwargs})

@pytest.fixture(scope='module')
def encoder(folder): return tiny(folder)

@pytest.fixture
def cache(tmp_path): return DiskCache(tmp_path/'v.sqlite')

def some_texts(n, length=12, seed=0):
    rng = np.random.default_rng(seed)
    return [' '.join(rng.choice(WORDS, rng.integers(1, length))) for _ in range(n)]


@pytest.mark.parametrize('kind', ['bert', 'distilbert', 'roberta', 'mpnet'])
def test_vectors_are_those_of_transformers(kind, tmp_path, cache):
    folder = tiny_folder(tmp_path, kind)
    theirs, tokenizer = transformers.AutoModel.from_pretrained(folder).eval(), Tokenizer.from_file(str(folder/'tokenizer.json'))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    texts = some_texts(20)
    last, upper = (embed_texts(texts, tiny(folder, depths=d), cache=cache) for d in ('last', 'upper'))
    for text, a, b in zip(texts, last, upper):
        with torch.inference_mode():
            states = theirs(input_ids=torch.tensor([tokenizer.encode(text).ids]),
                            output_hidden_states=True).hidden_states
        means = [h[0].mean(0).numpy() for h in states]
        assert np.abs(a - means[-1]).max() < 1e-5
        assert np.abs(b - np.concatenate(means[2:])).max() < 1e-5


def test_every_token_of_a_long_text_counts(encoder, cache):
    text = ' '.join(['spy']*100)
    (windows,) = embed_windows([text], encoder, cache)
    assert len(windows) > 8
    other = embed_windows([text + ' cake'], encoder, cache)[0]
    assert np.abs(windows[-1] - other[-1]).max() > 1e-3
    poolings = {p: embed_texts([text], encoder, p, cache)[0] for p in ('mean', 'max', 'first', 'first+mean')}
    assert np.allclose(poolings['mean'], windows.mean(0), atol=1e-6) and np.array_equal(poolings['max'], windows.max(0))
    assert np.array_equal(poolings['first+mean'], np.concatenate([windows[0], windows.mean(0)]))
    assert len(encoder.prepare([text])[0]) == len(windows)
    with pytest.raises(ValueError, match="'median'; use one of"): embed_texts([text], encoder, 'median', cache)


def test_only_so_many_windows(folder, encoder, cache):
    text = ' '.join(WORDS*10)
    (cut,) = embed_windows([text], tiny(folder, max_windows=2), cache)
    assert np.allclose(cut, embed_windows([text], encoder, cache)[0][:2], atol=1e-6)


def test_odd_texts(encoder, cache):
    texts = ['the spy', '', None, 'the spy', float('nan'), '\ud800 cake', '🍰 كعكة', '   ']
    x = embed_texts(texts, encoder, cache=cache)
    assert x.shape == (8, 16) and np.isfinite(x).all() and x.dtype == np.float32
    assert np.array_equal(x[0], x[3]) and np.array_equal(x[1], x[2]) and np.array_equal(x[1], x[4])
    assert embed_texts([], encoder, cache=cache).shape == (0, 16) and embed_windows([], encoder, cache) == []
    with pytest.raises(ItemsError, match='Pass a list'): embed_texts('the spy', encoder, cache=cache)
    with pytest.raises(ItemsError): embed_texts(make_items(text=['the spy', None]), encoder, cache=cache)
    assert np.array_equal(embed_texts(pd.Series(texts[:2], index=[7, 3]), encoder, cache=cache), x[:2])


def test_ten_million_characters_are_cut_first(encoder, cache):
    with pytest.warns(UserWarning, match='1 of 2 texts have more than 100,000 characters') as caught:
        x = embed_texts(['the spy ', 'the spy '*1_250_000], encoder, cache=cache)
    assert len(x) == 2 and caught[0].filename == __file__


def test_another_order_and_another_batch_change_nothing(encoder, cache, tmp_path):
    texts = some_texts(60, 60)
    x = embed_texts(texts, encoder, cache=cache)
    assert np.array_equal(x[::-1], embed_texts(texts[::-1], encoder, cache=cache))
    alone = np.concatenate([embed_texts([t], encoder, cache=DiskCache(tmp_path/'alone.sqlite')) for t in texts])
    assert np.allclose(x, alone, atol=1e-5)
    windows = [ids for of_text in encoder.prepare(texts) for ids in of_text]
    assert np.allclose(encoder.encode(windows, max_tokens=1), encoder.encode(windows), atol=1e-5)


def test_a_call_that_was_cut_goes_on_where_it_stopped(folder, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(module, '_SHARD', 1000)
    texts, encoder, encode, seen = some_texts(80), tiny(folder), SentenceEncoder.encode, []
    whole = embed_texts(texts, encoder, cache=DiskCache(tmp_path/'whole.sqlite'))
    def failing(self, windows):
        if len(seen) == 3: raise KeyboardInterrupt
        seen.append(len(windows))
        return encode(self, windows)
    monkeypatch.setattr(SentenceEncoder, 'encode', failing)
    with pytest.raises(KeyboardInterrupt): embed_texts(texts, encoder, cache=cache)
    assert len(cache) == sum(seen) > 0
    def counting(self, windows):
        seen.append(len(windows))
        return encode(self, windows)
    monkeypatch.setattr(SentenceEncoder, 'encode', counting)
    assert np.array_equal(embed_texts(texts, encoder, cache=cache),
                          whole)     # to the last digit: the shards are the same
    assert sum(seen) == len(set(texts)) and len(seen) > 4


class Wide:
    "Stands for an encoder whose windows need much memory: 80 kB a text, of which 4 kB are the result"
    name, n_out = 'wide', 1000
    def prepare(self, texts): return [[0]*20 for _ in texts]
    def encode(self, windows): return np.ones((len(windows), self.n_out), np.float32)


def test_memory_does_not_grow_with_the_number_of_texts(tmp_path):
    def peak(n):
        "Bytes beyond the result"
        texts = [f'{i} {"x"*2000}' for i in range(n)]
        tracemalloc.start()
        try:
            x = embed_texts(texts, Wide(), cache=DiskCache(tmp_path/f'{n}.sqlite'))
            return tracemalloc.get_traced_memory()[1] - x.nbytes
        finally: tracemalloc.stop()
    small, large = peak(200), peak(2000)
    assert large - small < 4e6 < 1800*80_000/30     # windows of 1,800 texts are 144 MB


def test_the_cache_tells_encoders_apart(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path/'other')
    state = load_file(other/'model.safetensors')
    state['encoder.layer.0.output.dense.bias'] += 1
    save_file(state, other/'model.safetensors')
    names = [tiny(folder).name, tiny(other).name, tiny(folder, depths='upper').name, tiny(folder, max_length=12).name,
             tiny(folder, stride=5).name, tiny(folder, max_windows=1).name]
    assert len(set(names)) == len(names)
    assert tiny(shutil.copytree(folder, tmp_path/'copy')).name == names[0]


def test_bfloat16_where_the_hardware_has_it(folder, cache, monkeypatch):
    texts = some_texts(10)
    exact = embed_texts(texts, tiny(folder), cache=cache)
    monkeypatch.setattr(module, 'mixed_dtype', lambda device: torch.bfloat16)
    fast, dtypes = tiny(folder, fast=True), []
    hook = fast.body.model.encoder.layer[0].output.dense.register_forward_hook(lambda m, i, o: dtypes.append(o.dtype))
    x = embed_texts(texts, fast, cache=cache)
    hook.remove()
    assert set(dtypes) == {torch.bfloat16} and 'bfloat16' in fast.name and x.dtype == np.float32
    error = np.linalg.norm(x - exact, axis=1)/np.linalg.norm(exact, axis=1)
    assert 0 < error.max() < .03


def test_loading_leaves_the_random_numbers_alone(folder):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    tiny(folder)
    assert torch.equal(torch.rand(1), expected)


def test_wrong_settings_are_refused(folder):
    with pytest.raises(ValueError, match='reads 66 tokens at most'): tiny(folder, max_length=67)
    with pytest.raises(ValueError, match="use 'last' or 'upper'"): tiny(folder, depths='all')


def test_no_weight_is_left_to_chance(folder, tmp_path):
    broken = shutil.copytree(folder, tmp_path/'broken')
    state = load_file(broken/'model.safetensors')
    save_file({k: v for k, v in state.items() if 'layer.2' not in k}, broken/'model.safetensors')
    with pytest.raises(WeightsError, match=r'missing, unknown or of another shape: .*encoder\.layer\.2'): tiny(broken)
    (broken/'model.safetensors').write_bytes(b'nothing')
    with pytest.raises(WeightsError, match='make no encoder'): tiny(broken)
    shutil.copy(folder/'model.safetensors', broken)
    (broken/'config.json').write_text(json.dumps({'model_type': 'no such thing'}))
    with pytest.raises(WeightsError, match='make no encoder|cannot be used'): tiny(broken)
    (broken/'tokenizer.json').unlink()
    with pytest.raises(WeightsError, match='has no tokenizer.json'): tiny(broken)


def test_the_packaged_encoder_knows_what_is_alike(cache):
    pytest.importorskip(PACKAGE, reason="needs the packaged encoder: pip install 'genre_fastai[offline]'")
    x = embed_texts(['A detective finds the thief.', 'An inspector arrests a burglar.',
                     'A pastry cook opens a bakery.'], cache=cache)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    assert x[0] @ x[1] > .3 > .1 > x[0] @ x[2]
