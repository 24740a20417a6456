"""Modules:

- `genre_fastai.all`: The front door: what the README and the tutorials use, in the order of the road
- `genre_fastai.baseline_knn`: Genre by nearest neighbours, and by other simple means: what every model must beat
- `genre_fastai.classical.baselines`: Simple models for vectors: what every other model must beat
- `genre_fastai.classical.calibration`: From scores to probabilities that mean what they say
- `genre_fastai.classical.metadata`: Year, runtime, director, cast: what the other columns of a table say about genres, and whether one says too much
- `genre_fastai.classical.ridge`: A classifier for a few thousand vectors that tunes itself in closed form
- `genre_fastai.classical.stack`: What several models say of the same items becomes one calibrated probability, whichever of them can speak
- `genre_fastai.classical.text_baselines`: Genre by the words of a synopsis: what every deep text model must beat
- `genre_fastai.classical.text_ridge`: A classifier for a few thousand texts: how much alike they are in words, in letters and in meaning
- `genre_fastai.clustering`: Do genres form groups? Which overlap, and how much more than chance?
- `genre_fastai.data.cells`: What one cell of a table says: genres in any form, names, years
- `genre_fastai.data.clean`: Drop or mend what cannot be learnt from, and say so
- `genre_fastai.data.duplicates`: Copies of pictures and texts, and the groups they form
- `genre_fastai.data.genres`: Genres joined, rolled up, reduced to one, and genres within genres
- `genre_fastai.data.images`: Pictures of every kind, opened safely and once
- `genre_fastai.data.merge`: Two tables about the same works made one: matched by title and year, with a report of everything that differs
- `genre_fastai.data.readers`: From your files to the items table: a folder a genre, or a table in whatever form it came
- `genre_fastai.data.show`: Pictures and texts of items, side by side
- `genre_fastai.data.split`: Splits and folds: every genre gets its share, and what is alike stays on one side
- `genre_fastai.data.tables`: Any table as it stands, whatever its encoding
- `genre_fastai.data.texts`: Synopses made fit for use: cleaned, measured, cut into windows, and searched for giveaways
- `genre_fastai.datasets.covers`: Covers and posters drawn with Pillow: palettes, textures, layouts, motifs, lettering
- `genre_fastai.datasets.published`: Published sets of covers, posters and synopses by name, with the figures that papers report on them
- `genre_fastai.datasets.synthetic`: A synthetic world of covers, posters and synopses with known noise, hence a known best possible score
- `genre_fastai.diagnose.activations`: What happens in the layers while a network trains
- `genre_fastai.diagnose.checks`: Checks of how a network learns: answers, gradients, steps, layers, and short trials
- `genre_fastai.diagnose.collapse`: The alarm for a model that says the same of every item
- `genre_fastai.diagnose.data_checks`: Checks of what enters a training: chance, labels, loss, start, input, augmentation
- `genre_fastai.diagnose.probe`: Look into a learner and leave no trace
- `genre_fastai.diagnose.recipe`: Karpathy's recipe as functions: is there anything wrong with this training, and what?
- `genre_fastai.encoders.image`: Pictures to vectors, from any body or from colours alone; worked out once and remembered
- `genre_fastai.encoders.text`: Texts to vectors, by a frozen sentence encoder that needs no download; worked out once and remembered
- `genre_fastai.encoders.weights`: The one place where weights are found, for pictures and for texts
- `genre_fastai.evaluate.human`: How well would you do yourself? Guesses of a person, scored beside a model's
- `genre_fastai.evaluate.metrics`: Scores with intervals, thresholds per genre and calibration: one judge for every model
- `genre_fastai.evaluate.mistakes`: What a model gets wrong, and where the labels may be wrong
- `genre_fastai.evaluate.overlap`: Do genres form groups, which overlap, and how much more than by chance?
- `genre_fastai.evaluate.plots`: Confusion and calibration as pictures
- `genre_fastai.evaluate.report`: One HTML file from headings, sentences, tables and pictures: to keep, to send, to read on a phone
- `genre_fastai.explain.cam`: Where a network looks, and what it would like to see
- `genre_fastai.explain.neighbours`: Which items of the training a model is reminded of
- `genre_fastai.explain.text`: Which sentences, words and windows of a text speak for a genre
- `genre_fastai.fine_tune`: Plain fastai first, then our own learner, against everything simple
- `genre_fastai.former`: Names of the first edition, which stay importable for one version and say what they are called now
- `genre_fastai.items`: The items table: one row an item, with a picture, a text or both, and its genres
- `genre_fastai.learn.blocks`: fastai DataBlocks for covers, posters, synopses, and pictures and texts together
- `genre_fastai.learn.learner`: `genre_learner`: a fastai Learner with the right loss, class weights, metrics and seeds
- `genre_fastai.learn.models`: A small CNN from scratch, heads on pretrained bodies, pooling over a text's windows, and pictures and texts joined
- `genre_fastai.predict.bundle`: Save and load a model without pickle: safetensors, JSON and a model card
- `genre_fastai.predict.classifier`: `GenreClassifier`: from items to a judged, saved model in three lines
- `genre_fastai.predict.compare`: One table for any set of models: score, training time, speed, latency, memory, parameters
- `genre_fastai.predict.leaderboard`: A model beside everything simpler, and what each kind of input adds
- `genre_fastai.predict.modalities`: One class for each thing a model can read: pictures, texts, metadata, networks, and whatever you add
- `genre_fastai.prepare_data`: Clean the items, say what was done, and split them so that nothing leaks
- `genre_fastai.runs`: Atomic files, a cache on disk, seeds and run folders: what every long piece of work stands on
- `genre_fastai.state`: What a fitted thing needs to live again: facts for JSON, arrays for safetensors, a name that finds its class
- `genre_fastai.train.checkpoints`: What a run writes down after each epoch, so that nothing is lost when it is stopped
- `genre_fastai.train.stages`: Training in stages: head, top blocks, all, each from the best weights so far
- `genre_fastai.view_data`: Look before any model: what is there, what is odd, and what a model could learn from"""

from .former import FormerModules

__version__ = '0.6.0'
FormerModules.install()
