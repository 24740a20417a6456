"Where weights come from, and what is refused"
import pytest, timm, torch
from safetensors.torch import save_file

from genre_fastai import bodies
from genre_fastai.bodies import WeightsError, body_config, load_body, resolve_weights


@pytest.fixture
def folder(tmp_path, monkeypatch):
    "A weights folder with one tiny network, named by the environment"
    torch.manual_seed(0)
    save_file(timm.create_model('test_resnet', num_classes=3).state_dict(), tmp_path/'test_resnet.safetensors', metadata={'mean': '0.1,0.2,0.3', 'size': '48'})
    monkeypatch.setenv('GENRE_FASTAI_WEIGHTS', str(tmp_path))
    return tmp_path


def test_folder_comes_before_the_hub(folder, monkeypatch):
    monkeypatch.setattr(bodies, '_hub_file', lambda repo: pytest.fail('the hub was asked'))
    found = resolve_weights('test_resnet')
    assert (found.source, found.mean, found.size) == ('folder', (.1, .2, .3), 48)


def test_path_comes_before_the_folder(folder, tmp_path):
    other = tmp_path/'other.safetensors'
    save_file(timm.create_model('test_resnet', num_classes=3).state_dict(), other)
    assert resolve_weights('test_resnet', other).source == 'file'
    assert resolve_weights('test_resnet', other).digest != resolve_weights('test_resnet').digest


def test_hub_comes_last_and_is_loaded_like_a_file(folder, monkeypatch):
    monkeypatch.delenv('GENRE_FASTAI_WEIGHTS')
    monkeypatch.setattr(bodies, '_hub_file', lambda repo: (str(folder/'test_resnet.safetensors'), None))
    body = load_body('test_resnet')
    assert body.weights.source == 'hub' and body(torch.rand(1, 3, 48, 48)).shape == (1, body.n_out)


def test_nothing_found_lists_what_was_tried(tmp_path, monkeypatch):
    monkeypatch.setenv('GENRE_FASTAI_WEIGHTS', str(tmp_path))
    monkeypatch.setattr(bodies, '_hub_file', lambda repo: (None, 'cannot be reached'))
    with pytest.raises(WeightsError) as e: load_body('resnet18')
    message = str(e.value)
    for part in ('has no resnet18.safetensors', 'timm/resnet18', 'cannot be reached', "encoder='colours'", "weights='random'"): assert part in message
    assert '\n' not in message


def test_offline_switch_is_respected(monkeypatch):
    monkeypatch.setattr(bodies.constants, 'HF_HUB_OFFLINE', True)
    path, why = bodies._hub_file('timm/no_such_repository')
    assert path is None and 'HF_HUB_OFFLINE' in why


@pytest.mark.parametrize('name', ['resnet81', 'convnext_tini', 'Mobilenetv2_100'])
def test_unknown_body_gets_the_nearest_names(name):
    with pytest.raises(WeightsError, match='Nearest names'): body_config(name)


def test_weights_of_another_network_are_refused(folder):
    for arch in ('test_vit', 'test_efficientnet', 'resnet18'):
        with pytest.raises(WeightsError, match='do not fit'): load_body(arch, folder/'test_resnet.safetensors')


def test_incomplete_weights_are_refused(folder):
    state = timm.create_model('test_resnet', num_classes=3).state_dict()
    del state['layer1.0.conv1.weight']
    save_file(state, folder/'part.safetensors')
    with pytest.raises(WeightsError, match='layer1.0.conv1.weight'): load_body('test_resnet', folder/'part.safetensors')


def test_damaged_file_is_refused(folder):
    (folder/'damaged.safetensors').write_bytes((folder/'test_resnet.safetensors').read_bytes()[:1000])
    with pytest.raises(WeightsError, match='not a readable safetensors'): load_body('test_resnet', folder/'damaged.safetensors')


@pytest.mark.parametrize('arch', ['test_resnet', 'test_vit', 'test_efficientnet', 'test_convnext', 'test_mambaout', 'test_byobnet'])
@pytest.mark.parametrize('depths', ['last', 'all'])
def test_every_family_gives_vectors(arch, depths):
    body = load_body(arch, 'random').eval()
    size = body.weights.size
    with torch.no_grad(): v = body.vectors(torch.rand(2, 3, size, size), depths)
    assert v.ndim == 2 and len(v) == 2 and torch.isfinite(v).all()
    assert depths == 'all' or v.shape[1] == body.n_out


def test_random_weights_depend_on_the_seed_alone():
    torch.manual_seed(5)
    a = load_body('test_resnet', 'random', seed=1).state_dict()
    state = torch.get_rng_state()
    b = load_body('test_resnet', 'random', seed=1).state_dict()
    assert torch.equal(state, torch.get_rng_state()), 'the global generator was touched'
    assert all(torch.equal(a[k], b[k]) for k in a)
