"""The front door: what the README and the tutorials use, in the order of the road

Everything else is public too, in the module whose name says what it is for: `genre_fastai.data.texts.clean_text`.
Written by hand; names of 0.5.0 can still be asked for, with a warning that says the new one."""

# The items table: from files, by hand, from published sets, or drawn
from .items import ItemsError, genre_counts, genre_matrix, genre_vocab, load_items, save_items
from .data.readers import read_folder, read_table
from .datasets.published import beside_published, read_benchmark
from .datasets.synthetic import best_possible, synthetic_genres, synthetic_items, synthetic_metadata

# View
from .data.show import show_items
from .data.texts import describe_lengths, text_lengths, text_windows
from .view_data import describe_items, plot_cooccurrence, plot_genre_counts, show_oddities

# Prepare
from .data.duplicates import find_duplicates, show_duplicates
from .data.clean import clean_items
from .data.genres import merge_genres, roll_up_genres
from .data.split import check_split, fold_items, split_items
from .data.texts import text_leakage
from .prepare_data import plot_split, quarantine_items

# Judge
from .evaluate.metrics import (calibration_error, format_scores, genre_report, genre_scores, most_confused,
                               paired_bootstrap, score_table, tune_thresholds)
from .evaluate.plots import plot_calibration, plot_confusion
from .evaluate.report import Page
from .evaluate.overlap import genre_overlap
from .clustering import describe_overlap, plot_overlap

# Simple models
from .encoders.image import embed_items
from .encoders.text import tiny_text_encoder
from .baseline_knn import fit_baselines, out_of_fold, score_models
from .classical.text_baselines import fit_text_baselines

# Networks
from .learn.blocks import cover_block, fused_block, poster_block, synopsis_block
from .learn.learner import genre_learner, predict_items
from .train.stages import describe_training, plot_curves
from .fine_tune import learner_probabilities, save_learner

# What happens in them
from .diagnose.activations import Diagnostics, plot_dynamics, plot_layers
from .diagnose.collapse import CollapseAlarm
from .diagnose.data_checks import init_bias, show_input
from .diagnose.probe import plot_verdict
from .diagnose.recipe import check_recipe, collapse_causes, run_checks

# The product
from .predict.bundle import load_bundle
from .predict.classifier import GenreClassifier
from .predict.compare import BaselineModel, LearnerModel, compare, format_comparison, plot_compare

# Why
from .evaluate.mistakes import show_confused, show_top_losses, suspect_labels
from .explain.cam import grad_cam, show_cams
from .explain.neighbours import nearest_items
from .explain.text import highlight_text, text_weights, window_weights

from .runs import rng_for
from .former import former_name as __getattr__
