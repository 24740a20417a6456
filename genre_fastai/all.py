"Every public name, room by room"
from genre_fastai.core import *
from genre_fastai.sources import *
from genre_fastai.images import *
from genre_fastai.synth import *
from genre_fastai.view_data import *
from genre_fastai.dedupe import *
from genre_fastai.prepare_data import *
from genre_fastai.metrics import *
from genre_fastai.bodies import *
from genre_fastai.embed import *
from genre_fastai.report import *
from genre_fastai.baseline_knn import *
from genre_fastai.clustering import *
from genre_fastai.blocks import *
from genre_fastai.models import *
from genre_fastai.learner import *
from genre_fastai.fine_tune import *
