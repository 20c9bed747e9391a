"""Neural networks from first principles, on NumPy alone.

Read in this order: activations, losses, layers, initialisation, network, optimisers, schedules, privacy, training. The
rest is convenience: scaling, accountant, checkpoint, export.
"""

from airserve.nn.activations import ACTIVATIONS, Activation, activation
from airserve.nn.checkpoint import load_checkpoint, save_checkpoint
from airserve.nn.errors import TrainingError
from airserve.nn.export import export_onnx, predict_for_people
from airserve.nn.initialisation import glorot, he
from airserve.nn.layers import Dense
from airserve.nn.losses import BinaryCrossEntropy, CategoricalCrossEntropy, Loss, MeanSquaredError
from airserve.nn.network import Network
from airserve.nn.optimisers import Adam, GradientDescent, Optimiser
from airserve.nn.privacy import Privacy
from airserve.nn.scaling import Scaling, check_finite, fit_scaling, range_scaling
from airserve.nn.schedules import Constant, Cosine, Dynamic, Schedule
from airserve.nn.training import Data, Epoch, Progress, Trainer

__all__ = [
    "ACTIVATIONS", "Activation", "Adam", "BinaryCrossEntropy", "CategoricalCrossEntropy", "Constant", "Cosine", "Data",
    "Dense", "Dynamic", "Epoch", "GradientDescent", "Loss", "MeanSquaredError", "Network", "Optimiser", "Privacy",
    "Progress", "Scaling", "Schedule", "Trainer", "TrainingError", "activation", "check_finite", "export_onnx",
    "fit_scaling", "glorot", "he", "load_checkpoint", "predict_for_people", "range_scaling", "save_checkpoint",
]  # fmt: skip
